//! Target `archive`: what somebody gives `casemate image build`, through the readers of tar, gzip,
//! zstd and container images and the writer of squashfs, to an image that is inspected.
//!
//! What is built twice over has to be the same, and hold what was counted; what is refused has a
//! reason of one line; and neither takes long, nor more output than the source allows.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::build::{self, Built};
use image::config;
use image::error::Error;
use image::inspect::inspect;
use image::source::Window;
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest, Sha256};

use crate::bytes::Bytes;
use crate::clock;
use crate::tar;

/// How long a source may take, even under a sanitizer.
const LIMIT: Duration = Duration::from_secs(2);
/// The most bytes of content of an image.
const MOST: u64 = 1 << 20;
/// What an image of so much takes beyond it, with an inode and a name for each entry.
const BESIDE: u64 = 1 << 20;

/// The source and two images; the library wants files that are there for ever.
struct Rig {
    source: &'static File,
    images: [&'static File; 2],
}

thread_local! {
    static RIG: RefCell<Rig> = {
        let file = || -> &'static File {
            Box::leak(Box::new(memfd_create("image", MemfdFlags::CLOEXEC).unwrap().into()))
        };
        RefCell::new(Rig { source: file(), images: [file(), file()] })
    };
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    // What became of it is checked already.
    let _ = drive(bytes);
}

/// Runs one program; an error is why its source is refused.
pub fn drive(bytes: &[u8]) -> Result<Built, String> {
    let mut program = Bytes::new(bytes);
    let knobs = program.byte();
    let source = source(knobs, &mut program);
    let plain = knobs & 8 != 0;
    RIG.with_borrow_mut(|Rig { source: file, images: [first, second] }| {
        let begun = clock::busy();
        let built = build(file, &source, first, plain).map_err(|error| reason(&error));
        let took = clock::busy() - begun;
        assert!(took < LIMIT, "the source took {:?}", took);
        if let Ok(built) = &built {
            check(first, built);
        }
        // Half of all programs once more: packing takes most of the time.
        if knobs & 0x10 == 0 {
            let again = build(file, &source, second, plain).map_err(|error| reason(&error));
            assert_eq!(built, again, "what is built again is not what was built");
            let length = built.as_ref().map_or(0, |built| built.length);
            assert!(
                contents(first, length) == contents(second, length),
                "two images of one source"
            );
        }
        built
    })
}

/// What the program stands for: bytes as they are, an archive, or one that is packed or wrapped.
fn source(knobs: u8, program: &mut Bytes<'_>) -> Vec<u8> {
    match knobs & 7 {
        0 => program.take(usize::MAX).to_vec(),
        1 | 2 => tar::archive(program),
        3 => packed(&tar::archive(program)),
        // A zstd frame that holds its content as it is.
        4 => stored(&tar::archive(program)),
        5 => container(program, |layer| layer),
        6 => container(program, |layer| packed(&layer)),
        _ => packed(&container(program, |layer| layer)),
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Magic, a frame header for a window of 256 KiB and no length, then raw blocks (RFC 8878 §3.1.1).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 8 << 3];
    let mut chunks = bytes.chunks(64 << 10).peekable();
    while let Some(chunk) = chunks.next() {
        let last = u32::from(chunks.peek().is_none());
        let head = u32::try_from(chunk.len()).unwrap() << 3 | last;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(chunk);
    }
    frame
}

/// What `docker save` writes of up to three layers; each part of it may be a little wrong.
fn container(program: &mut Bytes<'_>, pack: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut outer = Vec::new();
    let (mut names, mut digests) = (Vec::new(), Vec::new());
    for number in 0..=program.below(3) {
        let layer = tar::archive(program);
        let digest: String =
            Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
        digests.push(format!("\"sha256:{digest}\""));
        names.push(format!("\"{number}/layer.tar\""));
        tar::plain(&mut outer, format!("{number}/layer.tar").as_bytes(), &pack(layer));
    }
    let (names, digests) = (names.join(","), digests.join(","));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"],"Env":["A=b"]}},"rootfs":{{"diff_ids":[{digests}]}}}}"#
    );
    let manifest = format!(r#"[{{"Config":"config.json","Layers":[{names}]}}]"#);
    for (name, text) in [("config.json", config), ("manifest.json", manifest)] {
        let mut text = text.into_bytes();
        if program.rarely() {
            let at = program.below(text.len());
            text[at] = program.byte();
        }
        tar::plain(&mut outer, name.as_bytes(), &text);
    }
    outer.resize(outer.len() + 1024, 0);
    outer
}

fn build(
    source: &'static File,
    bytes: &[u8],
    image: &'static File,
    plain: bool,
) -> Result<Built, Error> {
    for file in [source, image] {
        file.set_len(0).unwrap();
    }
    source.write_all_at(bytes, 0).unwrap();
    let mut told = 0;
    let built = build::build(source, bytes.len() as u64, image, MOST, plain, |done, all| {
        assert!(told <= done && done <= all && all <= MOST, "{done} of {all} after {told}");
        told = done;
    });
    assert!(image.metadata().unwrap().len() <= MOST + BESIDE, "the image is larger than it may be");
    built
}

fn contents(image: &File, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    image.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The image is one, and holds what was counted while it was built.
fn check(image: &'static File, built: &Built) {
    let window = Window::all(image, built.length);
    let (shape, counts) = inspect(window).expect("what was built can be read");
    assert_eq!(counts, Some(built.counts));
    assert!(built.length.is_multiple_of(4096) && shape.bytes <= built.length);
    assert!(built.counts.content <= MOST);
    config::execution(window, built.length).expect("its configuration can be read");
}

/// What is said of what cannot be built, or read: one line, and not a long one.
pub fn reason(error: &Error) -> String {
    // The files are there, and have room.
    assert!(!matches!(error, Error::Write(_)), "{error:?}");
    if let Error::Read(error) = error {
        assert_ne!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    let text = error.to_string();
    // It may have two names in it, 80 bytes of each, escaped.
    assert!(!text.is_empty() && text.len() < 1000 && !text.contains(char::is_control), "{text:?}");
    text
}
