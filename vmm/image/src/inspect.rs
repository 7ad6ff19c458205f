//! What is in a squashfs image, from its super block and its inode table.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::FrameDecoder;

use crate::error::Error;
use crate::source::Window;
use crate::squashfs::metadata::{BLOCK, NOT_PACKED};
use crate::squashfs::{MAGIC, SUPER_BLOCK, ZLIB};
use crate::word::{Counts, Shape};

/// Number of zstd among the compressors.
const ZSTD: u16 = 6;
/// The longest inode table, packed, in bytes: that of some ten million files.
const TABLE_MAX: u64 = 256 << 20;

const DAMAGED: Error = Error::Image("its inode table makes no sense");

/// What an image is, and what is in it unless its compressor is neither zlib nor zstd.
pub fn inspect(image: Window) -> Result<(Shape, Option<Counts>), Error> {
    let mut block = [0; SUPER_BLOCK];
    image
        .part(0, SUPER_BLOCK as u64)
        .map_err(|_| Error::NoImage)?
        .read_exact(&mut block)
        .map_err(Error::Read)?;
    let long = |at: usize| number(&block[at..at + 4]);
    let place = |at: usize| number(&block[at..at + 8]);
    let short = |at: usize| number(&block[at..at + 2]);
    if long(0) != u64::from(MAGIC) || short(28) != 4 {
        return Err(Error::NoImage);
    }
    let shape = Shape {
        compressor: short(20),
        block: long(12),
        time: long(8),
        bytes: place(40),
        inodes: long(4),
    };
    let is_block = shape.block.is_power_of_two() && (4096..=1 << 20).contains(&shape.block);
    if !is_block || image.part(0, shape.bytes).is_err() {
        return Err(Error::Image("its super block makes no sense"));
    }
    let (start, end) = (place(64), place(72));
    let length = end.checked_sub(start).filter(|length| *length <= TABLE_MAX).ok_or(DAMAGED)?;
    let table = image.part(start, length).map_err(|_| DAMAGED)?;
    let unpack: fn(&[u8]) -> Option<Vec<u8>> = match u16::try_from(shape.compressor) {
        Ok(ZLIB) => zlib,
        Ok(ZSTD) => zstd,
        _ => return Ok((shape, None)),
    };
    let mut inodes = Inodes { table, left: length, unpack, bytes: Vec::new(), at: 0 };
    let mut counts = Counts { inodes: shape.inodes, ..Counts::default() };
    for _ in 0..shape.inodes {
        inodes.count(shape.block, &mut counts)?;
    }
    Ok((shape, Some(counts)))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The inode table, unpacked a block at a time.
struct Inodes {
    table: Window,
    left: u64,
    unpack: fn(&[u8]) -> Option<Vec<u8>>,
    bytes: Vec<u8>,
    at: usize,
}

impl Inodes {
    /// Takes the next inode into account.
    fn count(&mut self, block: u64, counts: &mut Counts) -> Result<(), Error> {
        /// The head of every inode: kind, permissions, owners, time, number.
        const HEAD: u64 = 14;
        /// A file whose end is in a block of its own.
        const NO_FRAGMENT: u64 = 0xffff_ffff;
        let kind = self.number(2)?;
        self.skip(HEAD)?;
        let mut links = |links: u64| counts.hard_links += links.saturating_sub(1);
        match kind {
            1 => {
                counts.directories += 1;
                self.skip(16)
            }
            8 => {
                counts.directories += 1;
                self.skip(16)?;
                let index = self.number(2)?;
                self.skip(6)?;
                for _ in 0..index {
                    self.skip(8)?;
                    let name = self.number(4)?;
                    self.skip(name + 1)?;
                }
                Ok(())
            }
            2 | 9 => {
                counts.files += 1;
                let (size, fragment) = if kind == 2 {
                    self.skip(4)?;
                    let fragment = self.number(4)?;
                    self.skip(4)?;
                    (self.number(4)?, fragment)
                } else {
                    self.skip(8)?;
                    let size = self.number(8)?;
                    self.skip(8)?;
                    links(self.number(4)?);
                    let fragment = self.number(4)?;
                    self.skip(8)?;
                    (size, fragment)
                };
                counts.content = counts.content.checked_add(size).ok_or(DAMAGED)?;
                let blocks =
                    if fragment == NO_FRAGMENT { size.div_ceil(block) } else { size / block };
                self.skip(blocks * 4)
            }
            3 | 10 => {
                counts.symlinks += 1;
                links(self.number(4)?);
                let length = self.number(4)?;
                self.skip(length + if kind == 10 { 4 } else { 0 })
            }
            4 | 5 | 11 | 12 => {
                counts.devices += 1;
                links(self.number(4)?);
                self.skip(if kind > 5 { 8 } else { 4 })
            }
            6 | 7 | 13 | 14 => {
                counts.others += 1;
                links(self.number(4)?);
                self.skip(if kind > 7 { 4 } else { 0 })
            }
            _ => Err(DAMAGED),
        }
    }

    /// The next number of `length` bytes.
    fn number(&mut self, length: usize) -> Result<u64, Error> {
        while self.bytes.len() - self.at < length {
            self.next_block()?;
        }
        let found = number(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Ok(found)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        loop {
            let there = self.bytes.len() - self.at;
            match usize::try_from(count) {
                Ok(count) if count <= there => {
                    self.at += count;
                    return Ok(());
                }
                _ => {
                    self.at += there;
                    count -= there as u64;
                    self.next_block()?;
                }
            }
        }
    }

    fn next_block(&mut self) -> Result<(), Error> {
        let head = self.read(2)?;
        let head = u16::try_from(number(&head)).unwrap_or(0);
        let length = head & !NOT_PACKED;
        if usize::from(length) > BLOCK {
            return Err(DAMAGED);
        }
        let block = self.read(u64::from(length))?;
        let block = if head & NOT_PACKED != 0 { Some(block) } else { (self.unpack)(&block) };
        let block = block.filter(|block| !block.is_empty()).ok_or(DAMAGED)?;
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend(block);
        Ok(())
    }

    fn read(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        self.left = self.left.checked_sub(length).ok_or(DAMAGED)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| DAMAGED)?];
        self.table.read_exact(&mut bytes).map_err(Error::of_reading)?;
        Ok(bytes)
    }
}

fn zlib(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(BLOCK);
    let mut inflate = Decompress::new(true);
    let status = inflate.decompress_vec(packed, &mut bytes, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(bytes)
}

fn zstd(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; BLOCK];
    let length = FrameDecoder::new().decode_all(packed, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}
