//! Copy-on-write: a base that is only read, and a file for what is written.
//!
//! A block is in the file at the same place as in the base, from the first write to it on; a bit says
//! so for each. A write that leaves some of a block as it was copies that from the base first. The file
//! is sparse, and gone with the run: a flush has nothing to make durable.
//!
//! Invariants: the base is never written. No more blocks are taken than may be, and what does not fit is
//! [`io::ErrorKind::StorageFull`]. All of the memory is allocated by [`Overlay::new`].

use std::io::{self, ErrorKind};

use vm_memory::VolatileSlice;

use crate::disk::Disk;

/// Bytes in a block: a page of the host, and a block of most file systems.
pub const BLOCK: u64 = 4096;
/// The largest base in bytes: its bits take 32 MiB.
pub const SIZE_MAX: u64 = 1 << 40;

/// A base and what has been written since.
#[derive(Debug)]
pub struct Overlay<B, T> {
    base: B,
    top: T,
    /// Size of the disk in bytes.
    size: u64,
    /// A bit for each block: it is in `top`.
    present: Vec<u64>,
    /// Blocks that may still be taken.
    left: u64,
    block: Vec<u8>,
}

impl<B: Disk, T: Disk> Overlay<B, T> {
    /// What is in `base`, `size` bytes long and at most [`SIZE_MAX`], until something else is written;
    /// that goes to `top`, an empty file, in which it takes at most `most` bytes.
    pub fn new(base: B, top: T, size: u64, most: u64) -> Self {
        let size = size.min(SIZE_MAX);
        let words = usize::try_from(size.div_ceil(BLOCK).div_ceil(64)).unwrap_or(0);
        let block = vec![0; usize::try_from(BLOCK).unwrap_or(0)];
        Self { base, top, size, present: vec![0; words], left: most / BLOCK, block }
    }

    fn has(&self, block: u64) -> bool {
        let word = usize::try_from(block / 64).ok().and_then(|word| self.present.get(word));
        word.is_some_and(|word| word & (1 << (block % 64)) != 0)
    }

    /// Takes note that `count` blocks are in the file from now on.
    fn take(&mut self, first: u64, count: u64) {
        for block in first..first.saturating_add(count) {
            let word = usize::try_from(block / 64).ok().and_then(|at| self.present.get_mut(at));
            if let Some(word) = word {
                *word |= 1 << (block % 64);
            }
        }
        self.left = self.left.saturating_sub(count);
    }

    /// How many of `wanted` bytes at `offset` are in the same place as the first.
    fn run(&self, offset: u64, wanted: u64) -> u64 {
        let end = offset.saturating_add(wanted).min(self.size);
        let here = self.has(offset / BLOCK);
        let mut at = offset;
        while at < end && self.has(at / BLOCK) == here {
            at = (at / BLOCK + 1) * BLOCK;
        }
        at.min(end) - offset.min(end)
    }

    /// Copies a block from the base, so that a part of it can be written.
    fn copy_up(&mut self, block: u64) -> io::Result<()> {
        if self.left == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let at = block * BLOCK;
        let len = usize::try_from(BLOCK.min(self.size.saturating_sub(at))).unwrap_or(0);
        let bytes = self.block.get_mut(..len).ok_or(ErrorKind::InvalidInput)?;
        let bytes = VolatileSlice::from(bytes);
        in_full(len, |done| self.base.read(&[part(&bytes, done)?], at + done as u64))?;
        in_full(len, |done| self.top.write(&[part(&bytes, done)?], at + done as u64))?;
        self.take(block, 1);
        Ok(())
    }

    /// Writes whole blocks that are not in the file yet; returns the bytes of those it wrote. None: the
    /// first is not written in full.
    fn write_whole(
        &mut self,
        regions: &[VolatileSlice<'_>],
        offset: u64,
        run: u64,
    ) -> io::Result<Option<usize>> {
        let to_the_end = offset + run == self.size;
        let whole = if to_the_end { run.div_ceil(BLOCK) } else { run / BLOCK };
        if !offset.is_multiple_of(BLOCK) || whole == 0 {
            return Ok(None);
        }
        if self.left == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let len = run.min(whole.min(self.left) * BLOCK);
        let written = self.top.write(&front(regions, len), offset)? as u64;
        let to_the_end = offset + written == self.size;
        let done = if to_the_end { written.div_ceil(BLOCK) } else { written / BLOCK };
        self.take(offset / BLOCK, done);
        let bytes = usize::try_from(written.min(done * BLOCK)).unwrap_or(0);
        Ok((bytes > 0).then_some(bytes))
    }
}

impl<B: Disk, T: Disk> Disk for Overlay<B, T> {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let part = front(regions, self.run(offset, length(regions)));
        if self.has(offset / BLOCK) {
            self.top.read(&part, offset)
        } else {
            self.base.read(&part, offset)
        }
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let run = self.run(offset, length(regions));
        if run == 0 {
            return Ok(0);
        }
        let block = offset / BLOCK;
        if !self.has(block) {
            if let Some(written) = self.write_whole(regions, offset, run)? {
                return Ok(written);
            }
            self.copy_up(block)?;
        }
        let part = front(regions, self.run(offset, run));
        self.top.write(&part, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calls `step` with the bytes done so far until all are.
fn in_full(len: usize, mut step: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        match step(done) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is left of `bytes` after `done` of them.
fn part<'a>(bytes: &VolatileSlice<'a>, done: usize) -> io::Result<VolatileSlice<'a>> {
    bytes.offset(done).map_err(|_| ErrorKind::InvalidInput.into())
}

fn length(regions: &[VolatileSlice<'_>]) -> u64 {
    regions.iter().map(|region| region.len() as u64).sum()
}

/// The first `len` bytes of `regions`.
fn front<'a>(regions: &[VolatileSlice<'a>], len: u64) -> Vec<VolatileSlice<'a>> {
    let mut left = usize::try_from(len).unwrap_or(usize::MAX);
    let mut front = Vec::with_capacity(regions.len());
    for region in regions {
        let count = region.len().min(left);
        // A part of the region from its beginning always exists.
        let Ok(part) = region.subslice(0, count) else { break };
        if count > 0 {
            front.push(part);
        }
        left -= count;
    }
    front
}
