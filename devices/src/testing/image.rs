//! A disk in memory that fails on demand.

use std::io;

use vm_memory::VolatileSlice;

use crate::disk::Disk;

/// What a device asked of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A read at this offset of this many bytes.
    Read(u64, usize),
    /// A write at this offset of this many bytes.
    Write(u64, usize),
    /// A flush.
    Flush,
}

/// A disk image in memory. It behaves until told otherwise.
#[derive(Debug)]
pub struct Image {
    /// The contents.
    pub bytes: Vec<u8>,
    /// The most bytes that one transfer moves.
    pub most: usize,
    /// Errors for the next operations, one each in turn; `None` lets one pass.
    pub errors: Vec<Option<i32>>,
    /// What was asked so far.
    pub log: Vec<Operation>,
}

impl Image {
    /// A disk with these contents.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, most: usize::MAX, errors: Vec::new(), log: Vec::new() }
    }

    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        self.log.push(operation);
        let error = if self.errors.is_empty() { None } else { self.errors.remove(0) };
        error.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
    }

    /// Calls `copy` for each piece of `regions` with the image's bytes at `offset`.
    fn transfer(
        &mut self,
        regions: &[VolatileSlice<'_>],
        offset: u64,
        copy: impl Fn(&VolatileSlice<'_>, &mut [u8]),
    ) -> usize {
        let start = usize::try_from(offset).unwrap().min(self.bytes.len());
        let rest = &mut self.bytes[start..];
        let len = rest.len().min(self.most);
        let mut rest = &mut rest[..len];
        for region in regions {
            let piece = region.subslice(0, region.len().min(rest.len())).unwrap();
            let (now, later) = rest.split_at_mut(piece.len());
            copy(&piece, now);
            rest = later;
        }
        len - rest.len()
    }
}

fn sum(regions: &[VolatileSlice<'_>]) -> usize {
    regions.iter().map(VolatileSlice::len).sum()
}

impl Disk for Image {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.begin(Operation::Read(offset, sum(regions)))?;
        Ok(self.transfer(regions, offset, |to, from| to.copy_from(from)))
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.begin(Operation::Write(offset, sum(regions)))?;
        Ok(self.transfer(regions, offset, |from, to| {
            from.copy_to(to);
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin(Operation::Flush)
    }
}
