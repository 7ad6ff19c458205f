//! Synthetic kernel images for the loader's tests, as small as the formats allow.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that exists only as a descriptor.
pub fn file(bytes: &[u8]) -> File {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("casemate-boot-{}-{n}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub fn put(image: &mut [u8], at: usize, value: &[u8]) {
    image[at..at + value.len()].copy_from_slice(value);
}

/// A program header: type, file offset, address, bytes in the file, bytes in memory.
pub fn segment(kind: u32, offset: u64, address: u64, filesz: u64, memsz: u64) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), 7_u32.to_le_bytes()].concat();
    for word in [offset, address, address, filesz, memsz, 4] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

pub fn elf_of(entry: u64, segments: &[Vec<u8>], content: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 16, &[2, 0, 62, 0, 1]);
    put(&mut image, 24, &entry.to_le_bytes());
    put(&mut image, 32, &64_u64.to_le_bytes());
    put(&mut image, 54, &56_u16.to_le_bytes());
    put(&mut image, 56, &u16::try_from(segments.len()).unwrap().to_le_bytes());
    put(&mut image, 64, &segments.concat());
    image.extend(content);
    image
}

/// An ELF kernel with two segments; the second has a page of memory more than of bytes.
pub fn elf() -> Vec<u8> {
    let segments = [
        segment(1, 0x1000, 0x10_0000, 0x200, 0x200),
        segment(1, 0x1200, 0x20_0000, 0x100, 0x1100),
        segment(1, 0x1234, 0, 0, 0),
    ];
    elf_of(0x10_0010, &segments, &[0xAB; 0x300])
}

pub fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap().to_le_bytes();
    let mut note = [len(name), len(desc), kind.to_le_bytes()].concat();
    for part in [name, desc] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// The same with a note segment.
pub fn elf_with_notes(notes: &[u8]) -> Vec<u8> {
    let segments =
        [segment(1, 0x1000, 0x10_0000, 0x200, 0x200), segment(4, 0x1200, 0, notes.len() as u64, 0)];
    elf_of(0x10_0010, &segments, &[&[0xAB; 0x200], notes].concat())
}

pub fn elf_pvh() -> Vec<u8> {
    let other = note(b"Linux\0", 257, b"salt!");
    elf_with_notes(&[other, note(b"Xen\0", 18, &0x10_0020_u32.to_le_bytes())].concat())
}

/// A relocatable bzImage for 2 MiB, that unpacks itself into 1 MiB, with one setup sector.
pub fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    image.extend([0xCD; 0x1000]);
    put(&mut image, 0x1F1, &[1]);
    put(&mut image, 0x1F4, &0x100_u32.to_le_bytes());
    put(&mut image, 0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(&mut image, 0x202, b"HdrS\x0F\x02");
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x214, &0x10_0000_u32.to_le_bytes());
    put(&mut image, 0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 21, 1, 0]);
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    image
}

pub fn changed(mut image: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    put(&mut image, at, value);
    image
}
