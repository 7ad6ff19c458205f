//! What the prober says on the status pipe, behind its record of being sealed.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | [`MARK`] |
//! | 1 | 0: got through, 1: failed, 2: walked |
//! | 2–3 | failed: errno, little endian |
//! | 4–7, 8–11, 12–15 | three numbers, little endian |

/// Length of an answer in bytes.
pub const ANSWER: usize = 16;
/// The first byte of every answer.
pub const MARK: u8 = b'R';

/// No errno of the kernel's: the call was made and did not bring what it was for.
pub const IN_VAIN: u16 = 4000;
/// Nor this: by it the drill tells a prober on its walk that the filter caught a call.
pub const FORBIDDEN: u16 = 4001;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The technique did what an attacker wants of it. With the effective user id of a program that
    /// was executed.
    Through(u32),
    /// It failed with this errno.
    Failed(u16),
    /// The walk over the system calls is done.
    Walked {
        /// So many combinations of call and arguments were tried.
        tried: u32,
        /// The filter let so many different calls through.
        allowed: u32,
        /// The first call where filter and table differ, plus one; 0: there is none.
        mismatch: u32,
    },
}

impl Answer {
    /// The answer as bytes.
    pub fn encode(self) -> [u8; ANSWER] {
        let (kind, errno, numbers) = match self {
            Self::Through(euid) => (0, 0, [euid, 0, 0]),
            Self::Failed(errno) => (1, errno, [0; 3]),
            Self::Walked { tried, allowed, mismatch } => (2, 0, [tried, allowed, mismatch]),
        };
        let mut bytes = [0; ANSWER];
        bytes[0] = MARK;
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&u16::to_le_bytes(errno));
        for (slot, number) in bytes[4..].chunks_exact_mut(4).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads an answer; `None` for what no prober writes.
    pub fn decode(bytes: &[u8; ANSWER]) -> Option<Self> {
        let [MARK, kind, e0, e1, a @ ..] = bytes else { return None };
        let mut numbers = a
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)));
        let [first, second, third] = [numbers.next()?, numbers.next()?, numbers.next()?];
        match kind {
            0 => Some(Self::Through(first)),
            1 => Some(Self::Failed(u16::from_le_bytes([*e0, *e1]))),
            2 => Some(Self::Walked { tried: first, allowed: second, mismatch: third }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_way() {
        let walked = Answer::Walked { tried: 1 << 20, allowed: 9, mismatch: u32::MAX };
        for answer in [Answer::Through(65534), Answer::Failed(4095), walked] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::decode(&[0; ANSWER]), None);
        let mut unknown = Answer::Through(0).encode();
        unknown[1] = 3;
        assert_eq!(Answer::decode(&unknown), None);
    }
}
