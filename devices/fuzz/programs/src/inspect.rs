//! Target `inspect`: squashfs images that somebody made, through `casemate image inspect`.
//!
//! A program says what the super block and the inode table hold, so that packing is nothing that a
//! mutation could break; or it is the image itself. Whatever it is, it is read in bounded time, what
//! is counted adds up, and what is refused has a reason.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::config::{self, LENGTH_MAX};
use image::execution::Execution;
use image::inspect::inspect;
use image::source::Window;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::archive::reason;
use crate::bytes::Bytes;
use crate::clock;

/// How long an image may take, even under a sanitizer.
const LIMIT: Duration = Duration::from_secs(2);
const SUPER_BLOCK: usize = 96;
/// The longest block of an inode table, unpacked.
const BLOCK: usize = 8 << 10;

thread_local! {
    static FILE: RefCell<&'static File> =
        RefCell::new(Box::leak(Box::new(memfd_create("image", MemfdFlags::CLOEXEC).unwrap().into())));
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    // What became of it is checked already.
    let _ = drive(bytes);
}

/// Runs one program; an error is why its image is refused.
pub fn drive(bytes: &[u8]) -> Result<(), String> {
    let mut program = Bytes::new(bytes);
    let image = match program.byte() {
        0xff => program.take(usize::MAX).to_vec(),
        knobs => made(knobs, &mut program),
    };
    FILE.with_borrow(|file| {
        file.set_len(0).unwrap();
        file.write_all_at(&image, 0).unwrap();
        let window = Window::all(file, image.len() as u64);
        let begun = clock::busy();
        let inspected = inspect(window);
        let took = clock::busy() - begun;
        assert!(took < LIMIT, "the image took {:?}", took);
        let (shape, counts) = inspected.map_err(|error| reason(&error))?;
        assert!(shape.bytes <= image.len() as u64);
        if let Some(counts) = counts {
            let kinds =
                [counts.files, counts.directories, counts.symlinks, counts.devices, counts.others];
            assert_eq!(kinds.iter().sum::<u64>(), shape.inodes, "{counts:?}");
            assert_eq!(counts.inodes, shape.inodes);
        }
        // It is at the end of the image, wherever the file system says that it ends.
        let length = image.len() as u64;
        if let Some(config) = config::read(window, length).map_err(|error| reason(&error))? {
            let text = config::to_text(&config).map_err(|error| reason(&error))?;
            assert!(text.len() <= 6 * LENGTH_MAX && text.is_ascii());
            let execution = config::execution(window, length).map_err(|error| reason(&error))?;
            let told = execution.encode();
            assert!(told.len() <= 6 * LENGTH_MAX);
            assert_eq!(Execution::decode(&told), Some(execution));
        }
        Ok(())
    })
}

/// An image with an inode table of the program's, a container's configuration behind it, and the
/// super block to go with them, which is wrong in one place now and then.
fn made(knobs: u8, program: &mut Bytes<'_>) -> Vec<u8> {
    let inodes = if program.rarely() { program.word() } else { program.byte().into() };
    let wrong = program.rarely().then(|| (program.below(SUPER_BLOCK - 8), program.edge()));
    let config = match knobs >> 4 & 3 {
        0 => program.below(64),
        _ => 0,
    };
    let config = program.take(config).to_vec();
    let table = table(knobs, program.take(usize::MAX));
    let end = (SUPER_BLOCK + table.len()) as u64;
    let mut image = vec![0; SUPER_BLOCK];
    image[..4].copy_from_slice(b"hsqs");
    image[4..8].copy_from_slice(&inodes.to_le_bytes());
    image[12..16].copy_from_slice(&(128u32 << 10).to_le_bytes());
    image[20] = if knobs & 3 == 3 { 6 } else { 1 };
    image[28] = 4;
    for (at, place) in [(40, end), (64, SUPER_BLOCK as u64), (72, end)] {
        image[at..at + 8].copy_from_slice(&place.to_le_bytes());
    }
    if let Some((at, number)) = wrong {
        image[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    image.extend(table);
    if !config.is_empty() {
        image.resize(image.len().next_multiple_of(4096), 0);
        image.extend(&config);
        image.extend((config.len() as u64).to_le_bytes());
        image.extend(b"casemate-config\0");
    }
    image
}

/// Blocks of the inode table: as they are, packed, or the program's own word for it.
fn table(knobs: u8, bytes: &[u8]) -> Vec<u8> {
    const NOT_PACKED: u16 = 1 << 15;
    let mut table = Vec::new();
    for block in bytes.chunks(if knobs & 8 != 0 { 64 } else { BLOCK }) {
        let (block, flag) = match knobs & 7 {
            0..=2 => (block.to_vec(), NOT_PACKED),
            4 | 5 => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(block).unwrap();
                (encoder.finish().unwrap(), 0)
            }
            _ => (block.to_vec(), 0),
        };
        let len = u16::try_from(block.len()).unwrap() | flag;
        table.extend(len.to_le_bytes());
        table.extend(block);
    }
    table
}
