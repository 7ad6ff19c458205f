//! A file of untrusted content: every access is checked against its length first.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use vm_memory::{
    ByteValued, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, ReadVolatile,
    VolatileMemoryError,
};

use super::Error;

pub struct Source<'a> {
    file: &'a mut File,
    len: u64,
    what: &'static str,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a mut File, what: &'static str) -> Result<Self, Error> {
        let len = file.seek(SeekFrom::End(0)).map_err(|source| Error::Read { what, source })?;
        Ok(Self { file, len, what })
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fails unless `part`, `len` bytes from `at`, lies within the file.
    pub fn check(&self, at: u64, len: u64, part: &'static str) -> Result<(), Error> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            end => Err(Error::Truncated {
                what: self.what,
                part,
                len: self.len,
                end: end.unwrap_or(u64::MAX),
            }),
        }
    }

    /// Fills `buffer` from offset `at`.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buffer, at)
            .map_err(|source| Error::Read { what: self.what, source })
    }

    /// A header at offset `at`.
    pub fn header<T: ByteValued + Default>(&self, at: u64, part: &'static str) -> Result<T, Error> {
        let mut header = T::default();
        self.check(at, size_of::<T>() as u64, part)?;
        self.read(at, header.as_mut_slice())?;
        Ok(header)
    }

    /// Copies `len` bytes from offset `at` to guest address `to`, with no buffer between.
    pub fn copy(
        &mut self,
        at: u64,
        len: u64,
        mem: &GuestMemoryMmap<()>,
        to: u64,
    ) -> Result<(), Error> {
        self.file
            .seek(SeekFrom::Start(at))
            .map_err(|source| Error::Read { what: self.what, source })?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut slice = mem.get_slice(GuestAddress(to), len)?;
        self.file.read_exact_volatile(&mut slice).map_err(|error| match error {
            VolatileMemoryError::IOError(source) => Error::Read { what: self.what, source },
            other => Error::Memory(other.into()),
        })
    }
}
