//! What a kernel image says of itself, at fixed places or as plain text.
//!
//! | field of a bzImage (Documentation/arch/x86/boot.rst) | offset |
//! |---|---|
//! | boot_flag, header | 0x1FE, 0x202 |
//! | version of the protocol | 0x206 |
//! | kernel_version: where its text is, less 0x200 | 0x20E |
//! | xloadflags, bit 0: there is a 64-bit entry | 0x236 |
//!
//! An ELF image has the text `Linux version …` somewhere. It is looked for in pieces, and no further than
//! [`MOST`].

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// The longest text of a version, in bytes.
const VERSION: usize = 64;
/// The most bytes of an ELF image that are looked at.
const MOST: u64 = 1 << 30;
const PIECE: usize = 1 << 20;
const BANNER: &[u8] = b"Linux version ";

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A bzImage with a 64-bit entry.
    Bzimage,
    /// A bzImage without one, which casemate does not boot.
    #[serde(rename = "bzimage-without-64-bit-entry")]
    Bzimage32,
    /// An ELF image for x86-64.
    Elf,
    /// Something else.
    Unknown,
}

/// The format, and the version, as far as the image tells.
pub fn look(mut file: File) -> Result<(Format, Option<String>)> {
    let mut head = Vec::new();
    file.by_ref().take(64 << 10).read_to_end(&mut head).context("cannot read it")?;
    if head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && head.get(0x202..0x206) == Some(b"HdrS") {
        let protocol = word(&head, 0x206).unwrap_or(0);
        let long = word(&head, 0x236).is_some_and(|flags| flags & 1 == 1);
        let format = if protocol >= 0x20c && long { Format::Bzimage } else { Format::Bzimage32 };
        let at = word(&head, 0x20e).filter(|at| *at != 0).map(|at| usize::from(at) + 0x200);
        return Ok((format, at.and_then(|at| version(head.get(at..)?))));
    }
    // 64 bits, little endian; an executable or a position-independent one; for x86-64.
    let is_elf = head.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1])
        && matches!(word(&head, 16), Some(2 | 3))
        && word(&head, 18) == Some(62);
    if !is_elf {
        return Ok((Format::Unknown, None));
    }
    Ok((Format::Elf, search(head, file)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

/// The version behind the first banner in `seen` and the rest of `file`.
fn search(mut seen: Vec<u8>, file: File) -> Result<Option<String>> {
    let mut file = file.take(MOST);
    loop {
        let found = seen.windows(BANNER.len()).position(|window| window == BANNER);
        let text = found.and_then(|at| seen.get(at + BANNER.len()..));
        if let Some(text) = text.filter(|text| text.len() >= VERSION) {
            return Ok(version(text));
        }
        // What may be the beginning of one stays.
        seen.drain(..seen.len().saturating_sub(BANNER.len() + VERSION));
        let before = seen.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut seen).context("cannot read it")?;
        if seen.len() == before {
            return Ok(text_at_end(&seen));
        }
    }
}

fn text_at_end(seen: &[u8]) -> Option<String> {
    let at = seen.windows(BANNER.len()).position(|window| window == BANNER)?;
    version(seen.get(at + BANNER.len()..)?)
}

/// The first word of `text`, if it is what a version is made of: then it is harmless to print.
fn version(text: &[u8]) -> Option<String> {
    let text = text.get(..VERSION).unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_graphic())?;
    let version = std::str::from_utf8(text.get(..end)?).ok()?;
    let plain =
        version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_~".contains(&byte));
    (plain && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn looked(bytes: &[u8]) -> (Format, Option<String>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        look(file).unwrap()
    }

    fn bzimage(protocol: u16, flags: u8, at: u16, text: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x1000];
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&protocol.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&at.to_le_bytes());
        image[0x236] = flags;
        image[0x800..0x800 + text.len()].copy_from_slice(text);
        image
    }

    fn elf() -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        image[16] = 2;
        image[18] = 62;
        image
    }

    #[test]
    fn bzimages() {
        let some = |text: &str| Some(text.to_owned());
        let text = b"6.1.0-9-amd64 (x@y) #1\0";
        let rows = [
            (bzimage(0x20f, 1, 0x600, text), Format::Bzimage, some("6.1.0-9-amd64")),
            (bzimage(0x20b, 1, 0x600, text), Format::Bzimage32, some("6.1.0-9-amd64")),
            (bzimage(0x20f, 2, 0x600, text), Format::Bzimage32, some("6.1.0-9-amd64")),
            (bzimage(0x20f, 1, 0, text), Format::Bzimage, None),
            (bzimage(0x20f, 1, 0xffff, text), Format::Bzimage, None),
            (bzimage(0x20f, 1, 0x600, b"6.1/../../etc \0"), Format::Bzimage, None),
            (bzimage(0x20f, 1, 0x600, b"6\x1b[2J \0"), Format::Bzimage, some("6")),
            (bzimage(0x20f, 1, 0x600, &[b'6'; 200]), Format::Bzimage, None),
        ];
        for (image, format, version) in rows {
            assert_eq!(looked(&image), (format, version));
        }
        let image = bzimage(0x20f, 1, 0x600, text);
        for length in 0..image.len() {
            // Cut off anywhere, it is looked at without harm.
            looked(&image[..length]);
        }
    }

    #[test]
    fn elf_images_wherever_the_banner_is() {
        for at in [64, (64 << 10) - 7, (64 << 10) + PIECE - 20, 3 << 20] {
            let mut image = elf();
            image.resize(at, 0);
            image.extend(b"Linux version 6.12.1 (a@b)\n");
            assert_eq!(looked(&image), (Format::Elf, Some("6.12.1".to_owned())), "{at}");
            image.resize(5 << 20, 0);
            assert_eq!(looked(&image), (Format::Elf, Some("6.12.1".to_owned())), "{at}");
        }
        assert_eq!(looked(&elf()), (Format::Elf, None));
    }

    #[test]
    fn other_files() {
        let mut arm = elf();
        arm[18] = 183;
        for bytes in [&b""[..], b"#!/bin/sh\n", &arm, &elf()[..10]] {
            assert_eq!(looked(bytes), (Format::Unknown, None));
        }
    }
}
