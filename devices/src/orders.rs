//! What the launcher tells the console worker while the command runs: records of a fixed size on a pipe.
//!
//! | byte | signal | size of the terminal |
//! |---|---|---|
//! | 0 | 1 | 2 |
//! | 1–2 | its number, 1 to 64, and 0 | rows, little endian |
//! | 3–4 | 0 | columns, little endian |
//!
//! A record is written at once (it is shorter than `PIPE_BUF`), so what is read at once is whole records.

/// Length of a record in bytes.
pub const ORDER: usize = 5;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send this signal to the command.
    Signal(u8),
    /// The terminal has this many rows and columns.
    Resize(u16, u16),
}

impl Order {
    /// The record as bytes.
    pub fn encode(self) -> [u8; ORDER] {
        match self {
            Self::Signal(number) => [1, number, 0, 0, 0],
            Self::Resize(rows, columns) => {
                let [[r0, r1], [c0, c1]] = [rows, columns].map(u16::to_le_bytes);
                [2, r0, r1, c0, c1]
            }
        }
    }

    /// Reads a record; `None` for a signal that there is not, and for what is none of these.
    pub fn decode(record: [u8; ORDER]) -> Option<Self> {
        match record {
            [1, number @ 1..=64, 0, 0, 0] => Some(Self::Signal(number)),
            [2, r0, r1, c0, c1] => {
                Some(Self::Resize(u16::from_le_bytes([r0, r1]), u16::from_le_bytes([c0, c1])))
            }
            _ => None,
        }
    }
}
