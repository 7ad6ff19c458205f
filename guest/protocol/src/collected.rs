//! What comes out of a guest: a disk with a mark, and behind it a tar archive.
//!
//! The agent writes the mark last, so that a disk without one holds nothing that is complete.
//!
//! | byte | meaning |
//! |---|---|
//! | 0–15 | `casemate-output1` |
//! | 16 | 1: complete, 2: failed |
//! | 18–19 | length of the text, little endian |
//! | 24–31 | length of the archive in bytes, little endian |
//! | 32–511 | text: why it failed |
//! | 4096– | the archive |

/// Length of the mark in bytes.
pub const MARK: usize = 512;
/// Where the archive begins, in bytes.
pub const ARCHIVE: u64 = 4096;

const MAGIC: &[u8; 16] = b"casemate-output1";
const TEXT: usize = 32;

/// What the agent says of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is complete, and so long.
    Complete(u64),
    /// There is none, for this reason.
    Failed(String),
}

impl Mark {
    /// The mark as bytes. Text that is too long is cut off.
    pub fn encode(&self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..16].copy_from_slice(MAGIC);
        match self {
            Self::Complete(length) => {
                bytes[16] = 1;
                bytes[24..32].copy_from_slice(&length.to_le_bytes());
            }
            Self::Failed(text) => {
                let text = text.as_bytes();
                let text = text.get(..MARK - TEXT).unwrap_or(text);
                bytes[16] = 2;
                if let Ok(length) = u16::try_from(text.len()) {
                    bytes[18..20].copy_from_slice(&length.to_le_bytes());
                }
                bytes[TEXT..TEXT + text.len()].copy_from_slice(text);
            }
        }
        bytes
    }

    /// Reads a mark back; none: there is none.
    pub fn decode(bytes: &[u8; MARK]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        match bytes[16] {
            1 => {
                let length = bytes[24..32].try_into().ok()?;
                Some(Self::Complete(u64::from_le_bytes(length)))
            }
            2 => {
                let length = usize::from(u16::from_le_bytes([bytes[18], bytes[19]]));
                let text = bytes[TEXT..].get(..length)?;
                Some(Self::Failed(String::from_utf8_lossy(text).into_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_way() {
        for mark in [Mark::Complete(u64::MAX), Mark::Failed("x".repeat(MARK - TEXT))] {
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }
        assert_eq!(Mark::decode(&[0; MARK]), None);
        let mut bytes = Mark::Failed(String::new()).encode();
        bytes[18..20].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Mark::decode(&bytes), None);
        bytes[16] = 3;
        assert_eq!(Mark::decode(&bytes), None);
    }
}
