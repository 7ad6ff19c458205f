//! Bytes of the source: read by position, unpacked where they are packed, and never more than allowed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::zstd::Zstd;

/// The source. It is never closed: the process ends with it open.
pub type Source = &'static File;

/// Packed input is read in pieces of this length, in bytes.
const PIECE: usize = 128 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A part of the source.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    source: Source,
    at: u64,
    end: u64,
}

impl Window {
    /// The part from `at` to `end`.
    pub fn new(source: Source, at: u64, end: u64) -> Self {
        Self { source, at, end }
    }

    /// All of the source.
    pub fn all(source: Source, length: u64) -> Self {
        Self::new(source, 0, length)
    }

    /// The part of it with this place and length.
    pub fn part(&self, at: u64, length: u64) -> Result<Self, Error> {
        let at = self.at.checked_add(at).ok_or(Error::Truncated)?;
        let end = at.checked_add(length).filter(|end| *end <= self.end);
        Ok(Self::new(self.source, at, end.ok_or(Error::Truncated)?))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.source.read_at(&mut buffer[..most], self.at)?;
        self.at += u64::try_from(read).map_err(io::Error::other)?;
        Ok(read)
    }
}

enum Bytes {
    /// As they are, so that they can be skipped without being read.
    Plain(Window),
    Through(Box<dyn Read>),
}

/// A sequence of bytes, unpacked.
pub struct Stream {
    bytes: Bytes,
    /// So many have been read or skipped.
    position: u64,
    most: u64,
    hash: Option<Sha256>,
}

impl Stream {
    /// What is in `window`, unpacked if it is packed; more than `most` bytes are an error.
    pub fn of_window(window: Window, most: u64) -> Result<Self, Error> {
        let mut head = [0; 4];
        let known = fill(&mut { window }, &mut head)?;
        let bytes = match unpacker(&head[..known], window) {
            Some(unpacked) => Bytes::Through(unpacked),
            None => Bytes::Plain(window),
        };
        Ok(Self { bytes, position: 0, most, hash: None })
    }

    /// What is in `window`, as it is.
    pub fn plain(window: Window, most: u64) -> Self {
        Self { bytes: Bytes::Plain(window), position: 0, most, hash: None }
    }

    /// What comes from `reader`, unpacked if it is packed.
    pub fn of_reader(mut reader: impl Read + 'static, most: u64) -> Result<Self, Error> {
        let mut head = [0; 4];
        let known = fill(&mut reader, &mut head)?;
        let whole = Cursor::new(head[..known].to_vec()).chain(reader);
        let bytes = match &head[..known] {
            packed if is_packed(packed) => unpacker(packed, whole),
            _ => Some(Box::new(whole) as Box<dyn Read>),
        };
        let bytes = bytes.ok_or(Error::NoArchive)?;
        Ok(Self { bytes: Bytes::Through(bytes), position: 0, most, hash: None })
    }

    /// The same, with everything that is read taken into a SHA-256.
    #[must_use]
    pub fn hashed(mut self) -> Self {
        self.hash = Some(Sha256::new());
        self
    }

    /// The window that the bytes come from as they are, if they do.
    pub fn window(&self) -> Option<Window> {
        match &self.bytes {
            Bytes::Plain(window) => Some(*window),
            Bytes::Through(_) => None,
        }
    }

    /// So many bytes have been read or skipped.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads until `buffer` is full or the end is reached. Returns the number of bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = match &mut self.bytes {
            Bytes::Plain(window) => fill(window, buffer)?,
            Bytes::Through(reader) => fill(reader, buffer)?,
        };
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..read]);
        }
        self.advance(read as u64)?;
        Ok(read)
    }

    /// Fills `buffer`, or fails.
    pub fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.fill(buffer)? == buffer.len() { Ok(()) } else { Err(Error::Truncated) }
    }

    /// Skips `count` bytes, or fails.
    pub fn skip(&mut self, count: u64) -> Result<(), Error> {
        if let (Bytes::Plain(window), None) = (&mut self.bytes, &self.hash) {
            window.at = window
                .at
                .checked_add(count)
                .filter(|at| *at <= window.end)
                .ok_or(Error::Truncated)?;
            return self.advance(count);
        }
        let mut left = count;
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.exactly(&mut buffer[..most])?;
            left -= most as u64;
        }
        Ok(())
    }

    /// Reads what is left if it is packed: only at its end it is known to be whole.
    pub fn finish(mut self) -> Result<(), Error> {
        let mut buffer = [0; 16 << 10];
        while matches!(self.bytes, Bytes::Through(_)) && self.fill(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads what is left, and returns the SHA-256 of everything.
    pub fn into_hash(mut self) -> Result<[u8; 32], Error> {
        let mut buffer = [0; 16 << 10];
        while self.fill(&mut buffer)? > 0 {}
        Ok(self.hash.unwrap_or_default().finalize().into())
    }

    fn advance(&mut self, count: u64) -> Result<(), Error> {
        self.position = self.position.checked_add(count).ok_or(Error::Bomb)?;
        if self.position > self.most { Err(Error::Bomb) } else { Ok(()) }
    }
}

fn is_packed(head: &[u8]) -> bool {
    head.starts_with(GZIP) || head.starts_with(ZSTD)
}

fn unpacker(head: &[u8], packed: impl Read + 'static) -> Option<Box<dyn Read>> {
    let packed = BufReader::with_capacity(PIECE, packed);
    match head {
        head if head.starts_with(GZIP) => Some(Box::new(MultiGzDecoder::new(packed))),
        head if head.starts_with(ZSTD) => Some(Box::new(Zstd::new(packed))),
        _ => None,
    }
}

/// Reads until `buffer` is full or `reader` is at its end.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::of_reading(error)),
        }
    }
    Ok(filled)
}
