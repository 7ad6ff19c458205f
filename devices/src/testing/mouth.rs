//! A console's port with a limited appetite.

use crate::console::Port;
use crate::sink::Sink;
use crate::violation::Violation;

/// A port that takes so many bytes and no more, and has some to give.
#[derive(Debug, Default)]
pub struct Mouth {
    /// What it took.
    pub eaten: Vec<u8>,
    /// How many bytes more it takes.
    pub room: usize,
    /// What it has to give.
    pub waiting: Vec<u8>,
    /// It takes what it is given for a breach of the contract.
    pub fails: bool,
}

impl Port for Mouth {
    fn output(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if self.fails {
            return Err(Violation::Frame);
        }
        let count = bytes.len().min(self.room);
        self.eaten.extend_from_slice(&bytes[..count]);
        self.room -= count;
        Ok(count)
    }

    fn sinks(&self) -> [Option<&Sink>; 2] {
        [None, None]
    }

    fn sinks_mut(&mut self) -> [Option<&mut Sink>; 2] {
        [None, None]
    }

    fn has_input(&mut self) -> bool {
        !self.waiting.is_empty()
    }

    fn input(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.waiting.len());
        buffer[..count].copy_from_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        count
    }
}
