//! What the process tells the launcher once it is sealed: records of a fixed size on the status pipe.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | kind |
//! | 2–3 | length of the text, little endian |
//! | 8–135 | sixteen numbers of 64 bits, little endian |
//! | 136– | text |
//!
//! A record is written at once (it is shorter than `PIPE_BUF`).

/// Length of a record in bytes.
pub const WORD: usize = 512;
const NUMBERS: usize = 16;
const TEXT_AT: usize = 8 + NUMBERS * 8;

/// How many there are of each kind of thing in an image, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Inodes of all kinds.
    pub inodes: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Device nodes.
    pub devices: u64,
    /// FIFOs and sockets.
    pub others: u64,
    /// Names of files beyond each one's first.
    pub hard_links: u64,
    /// What is in the files, in bytes.
    pub content: u64,
}

/// What an image's super block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Number of the compressor.
    pub compressor: u64,
    /// Length of a block in bytes.
    pub block: u64,
    /// Time of the file system, in seconds since 1970.
    pub time: u64,
    /// Length of the file system in bytes, without what follows it.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// So many bytes of so many are written.
    Progress(u64, u64),
    /// The image is complete: what is in it, its length, and how many attributes it cannot hold.
    Built(Counts, u64, u64),
    /// What the image is, and what is in it unless its compressor is not known.
    Inspected(Shape, Option<Counts>),
    /// What the guest has written came out: so many files, and so many bytes in them.
    Unpacked(u64, u64),
    /// How the image wants to be run is told.
    Told,
    /// It cannot be done, and why.
    Failed(String),
}

impl Counts {
    fn to_numbers(self) -> [u64; 8] {
        let Self { inodes, files, directories, symlinks, devices, others, hard_links, content } =
            self;
        [inodes, files, directories, symlinks, devices, others, hard_links, content]
    }

    fn from_numbers(numbers: &[u64; NUMBERS]) -> Self {
        let [inodes, files, directories, symlinks, devices, others, hard_links, content, ..] =
            *numbers;
        Self { inodes, files, directories, symlinks, devices, others, hard_links, content }
    }
}

impl Word {
    /// The record as bytes. Text that is too long is cut off.
    pub fn encode(&self) -> [u8; WORD] {
        let mut numbers = [0; NUMBERS];
        let mut text: &[u8] = &[];
        let kind = match self {
            Self::Progress(done, all) => {
                numbers[..2].copy_from_slice(&[*done, *all]);
                1
            }
            Self::Built(counts, length, left_out) => {
                numbers[..8].copy_from_slice(&counts.to_numbers());
                numbers[8..10].copy_from_slice(&[*length, *left_out]);
                2
            }
            Self::Inspected(shape, counts) => {
                let Shape { compressor, block, time, bytes, inodes } = *shape;
                numbers[..8].copy_from_slice(&counts.unwrap_or_default().to_numbers());
                numbers[8..13].copy_from_slice(&[compressor, block, time, bytes, inodes]);
                if counts.is_some() { 3 } else { 4 }
            }
            Self::Unpacked(files, bytes) => {
                numbers[..2].copy_from_slice(&[*files, *bytes]);
                6
            }
            Self::Failed(reason) => {
                text = reason.as_bytes();
                5
            }
            Self::Told => 7,
        };
        let text = text.get(..WORD - TEXT_AT).unwrap_or(text);
        let mut bytes = [0; WORD];
        bytes[0] = kind;
        if let Ok(length) = u16::try_from(text.len()) {
            bytes[2..4].copy_from_slice(&length.to_le_bytes());
        }
        for (place, number) in bytes[8..TEXT_AT].as_chunks_mut().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text);
        bytes
    }

    /// Reads a record; `None` for what no process of ours writes.
    pub fn decode(bytes: &[u8; WORD]) -> Option<Self> {
        let mut numbers = [0; NUMBERS];
        for (number, place) in numbers.iter_mut().zip(bytes[8..TEXT_AT].as_chunks().0) {
            *number = u64::from_le_bytes(*place);
        }
        let shape = || {
            let &[compressor, block, time, bytes, inodes] = &numbers[8..13] else { return None };
            Some(Shape { compressor, block, time, bytes, inodes })
        };
        Some(match bytes[0] {
            1 => Self::Progress(numbers[0], numbers[1]),
            2 => Self::Built(Counts::from_numbers(&numbers), numbers[8], numbers[9]),
            3 => Self::Inspected(shape()?, Some(Counts::from_numbers(&numbers))),
            4 => Self::Inspected(shape()?, None),
            6 => Self::Unpacked(numbers[0], numbers[1]),
            5 => {
                let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
                let text = bytes[TEXT_AT..].get(..length)?;
                Self::Failed(String::from_utf8_lossy(text).into_owned())
            }
            7 => Self::Told,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_way() {
        let counts = Counts { inodes: 1, files: 2, content: u64::MAX, ..Counts::default() };
        let shape = Shape { compressor: 1, block: 2, time: 3, bytes: 4, inodes: 5 };
        let words = [
            Word::Progress(1, u64::MAX),
            Word::Unpacked(1, u64::MAX),
            Word::Built(counts, 7, 8),
            Word::Inspected(shape, Some(counts)),
            Word::Inspected(shape, None),
            Word::Told,
            Word::Failed("x".repeat(WORD - TEXT_AT)),
        ];
        for word in words {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        let mut wrong = Word::Failed("x".to_owned()).encode();
        wrong[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Word::decode(&wrong), None);
        assert_eq!(Word::decode(&[0; WORD]), None);
    }
}
