//! Metadata: a sequence of bytes in packed blocks of 8 KiB, each with its length before it.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::output::Output;
use crate::error::Error;

/// Length of a block before it is packed, in bytes.
pub const BLOCK: usize = 8 << 10;
/// Marks the length of a block that is not packed.
pub const NOT_PACKED: u16 = 1 << 15;

/// Packs blocks, each by itself.
pub struct Packer {
    deflate: Compress,
    packed: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

impl Packer {
    /// A packer at the level that most tools have by default.
    pub fn new() -> Self {
        Self { deflate: Compress::new(Compression::new(6), true), packed: Vec::new() }
    }

    /// The packed bytes, if they are fewer.
    pub fn pack(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.deflate.reset();
        // With room for one byte less than there are, what does not get shorter does not end.
        self.packed.resize(bytes.len().saturating_sub(1), 0);
        let status = self.deflate.compress(bytes, &mut self.packed, FlushCompress::Finish);
        let length = usize::try_from(self.deflate.total_out()).ok()?;
        matches!(status, Ok(Status::StreamEnd)).then(|| &self.packed[..length])
    }
}

/// Metadata being written.
#[derive(Default)]
pub struct Metadata {
    packer: Packer,
    written: Vec<u8>,
    block: Vec<u8>,
}

impl Metadata {
    /// The place of the next byte: that of its block, and in the unpacked block.
    pub fn position(&self) -> Result<(u32, u16), Error> {
        let block = u32::try_from(self.written.len()).map_err(|_| Error::Format("metadata"))?;
        let offset = u16::try_from(self.block.len()).map_err(|_| Error::Format("metadata"))?;
        Ok((block, offset))
    }

    /// Appends bytes.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.flush();
            }
        }
    }

    /// Everything, packed.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.flush();
        self.written
    }

    fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let (bytes, mark) = match self.packer.pack(&self.block) {
            Some(packed) => (packed, 0),
            None => (&self.block[..], NOT_PACKED),
        };
        // A block is at most 8 KiB long.
        let length = u16::try_from(bytes.len()).unwrap_or(0) | mark;
        self.written.extend(length.to_le_bytes());
        self.written.extend_from_slice(bytes);
        self.block.clear();
    }
}

/// One reference to a place in metadata.
pub fn reference((block, offset): (u32, u16)) -> u64 {
    u64::from(block) << 16 | u64::from(offset)
}

/// Writes a table: its entries as metadata, then the place of each block. Returns where those places
/// are. No entry crosses a block, because the length of each divides that of a block.
pub fn write_table(output: &mut Output, entries: &[u8]) -> Result<u64, Error> {
    let places = write_blocks(output, entries)?;
    output.append(&places)
}

/// Writes entries as metadata. Returns the place of each block.
pub fn write_blocks(output: &mut Output, entries: &[u8]) -> Result<Vec<u8>, Error> {
    let mut places = Vec::new();
    for block in entries.chunks(BLOCK) {
        let mut metadata = Metadata::default();
        metadata.append(block);
        places.extend(output.append(&metadata.into_bytes())?.to_le_bytes());
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_gets_shorter_is_packed() {
        let mut packer = Packer::new();
        assert!(packer.pack(&[7; 4096]).is_some_and(|packed| packed.len() < 100));
        assert_eq!(packer.pack(b"abc"), None);
        assert_eq!(packer.pack(&[]), None);
        let again = packer.pack(&[7; 4096]).map(<[u8]>::to_vec);
        assert_eq!(again, Packer::new().pack(&[7; 4096]).map(<[u8]>::to_vec));
    }

    #[test]
    fn a_position_is_that_of_the_next_byte() {
        let mut metadata = Metadata::default();
        assert_eq!(metadata.position().unwrap(), (0, 0));
        metadata.append(&[1; 100]);
        assert_eq!(metadata.position().unwrap(), (0, 100));
        metadata.append(&[1; BLOCK - 100]);
        let (block, offset) = metadata.position().unwrap();
        assert!(block > 2 && offset == 0);
        metadata.append(&[2; 5]);
        let bytes = metadata.into_bytes();
        assert_eq!(bytes[block as usize..][..2], (5 | NOT_PACKED).to_le_bytes());
        assert_eq!(bytes[block as usize + 2..], [2; 5]);
    }
}
