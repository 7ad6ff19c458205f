//! The image: written from its beginning to its end, up to a limit, by position.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::Error;

/// The image being written.
#[derive(Debug)]
pub struct Output {
    file: &'static File,
    at: u64,
    most: u64,
}

impl Output {
    /// Writes to `file` from `at` on; the image may be `most` bytes long.
    pub fn new(file: &'static File, at: u64, most: u64) -> Self {
        Self { file, at, most }
    }

    /// Where the next bytes go.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Appends bytes. Returns where they are.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let at = self.at;
        let end = at.checked_add(bytes.len() as u64).filter(|end| *end <= self.most);
        let end = end.ok_or(Error::Bomb)?;
        self.write_at(bytes, at)?;
        self.at = end;
        Ok(at)
    }

    /// Appends zeroes up to a multiple of `alignment`.
    pub fn align(&mut self, alignment: u64) -> Result<(), Error> {
        let missing = self.at.next_multiple_of(alignment) - self.at;
        let zeroes = vec![0; usize::try_from(missing).unwrap_or(0)];
        self.append(&zeroes).map(|_| ())
    }

    /// Writes bytes where there is room for them.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.file.write_all_at(bytes, at).map_err(Error::Write)
    }
}
