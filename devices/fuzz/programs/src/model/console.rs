//! A console by the standard (virtio 1.2 §5.3.6), joined to two byte streams.

use std::collections::VecDeque;

use devices::violation::Violation;

use super::Ram;
use super::ring::{Chain, Ring, len, walk};

/// The most bytes of input taken from the host, and put into a buffer, at once.
const PIECE: u64 = 4096;

/// The device between its two streams.
#[derive(Clone, Debug, Default)]
pub struct Console {
    /// What the guest wrote so far, less what was taken from here.
    pub output: Vec<u8>,
    /// What the host typed and nobody read.
    pub typed: VecDeque<u8>,
    /// What was read and the guest does not have yet.
    reading: VecDeque<u8>,
    /// A chain there was not room enough for, and how much of it is sent.
    half: Option<(Chain, u64)>,
    /// Runs of memory that were written to, and that were read, since [`Console::begin`].
    runs: [Vec<(u64, u64)>; 2],
}

impl Console {
    /// What the guest made available to be sent is sent, as far as there is room for it. True:
    /// buffers were used.
    pub fn transmit(
        &mut self,
        ram: &mut Ram,
        ring: &mut Ring,
        mut room: u64,
    ) -> Result<bool, Violation> {
        let mut used = false;
        loop {
            let (chain, sent) = match self.half.take() {
                Some(half) => half,
                None => match ring.pop(ram)? {
                    Some(chain) => (chain, 0),
                    None => return Ok(used),
                },
            };
            self.runs[1].extend(&chain.readable);
            let left = len(&chain.readable) - sent;
            let count = left.min(room);
            walk(&chain.readable, sent, count, |at, len| {
                self.output.extend_from_slice(ram.bytes(at, len));
            });
            room -= count;
            if count < left {
                self.half = Some((chain, sent + count));
                return Ok(used);
            }
            ring.push(ram, chain.head, 0);
            used = true;
        }
    }

    /// Forgets which memory was touched.
    pub fn begin(&mut self) {
        self.runs.iter_mut().for_each(Vec::clear);
    }

    /// True when memory was written below `rings`, or was both written and read.
    pub fn is_entangled(&self, rings: u64) -> bool {
        let [written, read] = &self.runs;
        written.iter().any(|&(at, len)| {
            at < rings || read.iter().any(|&(other, more)| at < other + more && other < at + len)
        })
    }

    /// Reads a piece of what was typed, if the last one is used up.
    pub fn read(&mut self) {
        if self.reading.is_empty() {
            let count = self.typed.len().min(usize::try_from(PIECE).unwrap());
            self.reading.extend(self.typed.drain(..count));
        }
    }

    /// Reads all that was typed, as a port does that has no limit.
    pub fn read_all(&mut self) {
        self.reading.append(&mut self.typed);
    }

    /// True when there is input that was not read, and room to read it to.
    pub fn can_read(&self) -> bool {
        self.reading.is_empty() && !self.typed.is_empty()
    }

    /// True when the guest has all that was typed.
    pub fn has_all(&self) -> bool {
        self.reading.is_empty() && self.typed.is_empty()
    }

    /// The driver reset the device.
    pub fn stop(&mut self) {
        self.half = None;
    }

    /// Input goes to buffers while there are both.
    pub fn receive(&mut self, ram: &mut Ram, ring: &mut Ring) -> Result<bool, Violation> {
        let mut used = false;
        loop {
            self.read();
            if self.reading.is_empty() {
                return Ok(used);
            }
            let Some(chain) = ring.pop(ram)? else { return Ok(used) };
            self.runs[0].extend(&chain.writable);
            let count = self.fill(ram, &chain);
            ring.push(ram, chain.head, count);
            used = true;
        }
    }

    fn fill(&mut self, ram: &mut Ram, chain: &Chain) -> u64 {
        let count = len(&chain.writable).min(PIECE).min(self.reading.len() as u64);
        walk(&chain.writable, 0, count, |at, len| {
            let bytes: Vec<u8> = self.reading.drain(..usize::try_from(len).unwrap()).collect();
            ram.write(at, &bytes);
        });
        count
    }
}
