//! Contents: blocks of 128 KiB, each packed by itself; the ends of files share blocks, the fragments.
//! A block of zeroes takes no room at all.

use super::BLOCK;
use super::metadata::Packer;
use super::output::Output;
use crate::error::Error;

/// Marks the length of a block that is not packed, because that would have made it longer.
const NOT_PACKED: u32 = 1 << 24;

/// Where a file's end is among the fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Number of the fragment.
    pub index: u32,
    /// Where in it the file's end begins, in bytes.
    pub offset: u32,
}

/// Where a file's content is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Where its blocks begin.
    pub start: u64,
    /// Length of each block in the image; 0: all zeroes.
    pub blocks: Vec<u32>,
    /// Where its end is.
    pub fragment: Option<Fragment>,
    /// Length of all its blocks of zeroes in bytes.
    pub sparse: u64,
}

/// Writes contents.
pub struct Data {
    output: Output,
    packer: Packer,
    /// Ends of files that are not written yet.
    ends: Vec<u8>,
    /// Place and length of each fragment.
    fragments: Vec<(u64, u32)>,
}

impl Data {
    /// Writes to `output`.
    pub fn new(output: Output) -> Self {
        Self {
            output,
            packer: Packer::new(),
            ends: Vec::with_capacity(BLOCK),
            fragments: Vec::new(),
        }
    }

    /// Writes a file's content. `fill` fills the buffer that it gets as far as there is content.
    pub fn write(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, Error>,
    ) -> Result<Content, Error> {
        let mut content = Content { start: self.output.position(), ..Content::default() };
        let mut buffer = vec![0; BLOCK];
        loop {
            let length = fill(&mut buffer)?;
            if length < BLOCK {
                content.fragment = self.keep(&buffer[..length])?;
                return Ok(content);
            }
            if buffer.iter().all(|byte| *byte == 0) {
                content.blocks.push(0);
                content.sparse += BLOCK as u64;
            } else {
                content.blocks.push(write_block(&mut self.output, &mut self.packer, &buffer)?.1);
            }
        }
    }

    /// Writes the ends of files that are still kept.
    pub fn flush(&mut self) -> Result<(), Error> {
        if !self.ends.is_empty() {
            let block = write_block(&mut self.output, &mut self.packer, &self.ends)?;
            self.fragments.push(block);
            self.ends.clear();
        }
        Ok(())
    }

    /// The output, and place and length of each fragment.
    pub fn into_parts(self) -> (Output, Vec<(u64, u32)>) {
        (self.output, self.fragments)
    }

    fn keep(&mut self, end: &[u8]) -> Result<Option<Fragment>, Error> {
        if end.is_empty() {
            return Ok(None);
        }
        if self.ends.len() + end.len() > BLOCK {
            self.flush()?;
        }
        let too_many = |_| Error::Format("number of fragments");
        let index = u32::try_from(self.fragments.len()).map_err(too_many)?;
        let offset = u32::try_from(self.ends.len()).map_err(too_many)?;
        self.ends.extend_from_slice(end);
        Ok(Some(Fragment { index, offset }))
    }
}

fn write_block(
    output: &mut Output,
    packer: &mut Packer,
    bytes: &[u8],
) -> Result<(u64, u32), Error> {
    let (packed, mark) = match packer.pack(bytes) {
        Some(packed) => (packed, 0),
        None => (bytes, NOT_PACKED),
    };
    let at = output.append(packed)?;
    let length = u32::try_from(packed.len()).map_err(|_| Error::Format("block"))?;
    Ok((at, length | mark))
}

/// The fragments as the image has them.
pub fn fragment_entries(fragments: &[(u64, u32)]) -> Vec<u8> {
    let entry = |(at, length): &(u64, u32)| {
        let mut entry = at.to_le_bytes().to_vec();
        entry.extend(length.to_le_bytes());
        entry.extend([0; 4]);
        entry
    };
    fragments.iter().flat_map(entry).collect()
}
