//! virtio-console: one port, bytes in and bytes out.
//!
//! virtio 1.2 §5.3.
//!
//! | queue | direction | holds up when |
//! |---|---|---|
//! | 0 receiveq | host → guest | the guest has no buffer: nothing is read from the host |
//! | 1 transmitq | guest → host | the port takes no more: the chain waits, half sent |
//!
//! Offered: VERSION_1. Refused on purpose: MULTIPORT (a protocol of its own; a second stream is a
//! second device), EMERG_WRITE (a way around the queues), SIZE (no terminal yet), and everything
//! that virtio-blk refuses of the transport.

use crate::Memory;
use crate::chain::Chain;
use crate::mmio::{Identity, VERSION_1};
use crate::ring::{Progress, Ring};
use crate::sink::Sink;
use crate::violation::Violation;

/// Descriptors in each queue.
pub const QUEUE_SIZE: u16 = 64;
/// Index of the queue towards the guest.
pub const RECEIVE: usize = 0;
/// Index of the queue from the guest.
pub const TRANSMIT: usize = 1;

/// The most bytes that one call of [`Console::transmit`] moves, however long the chains are.
const BUDGET: usize = 64 * 1024;
const PIECE: usize = 4096;

/// The device as the transport presents it.
pub const IDENTITY: Identity =
    Identity { device: 3, features: VERSION_1, queues: &[QUEUE_SIZE, QUEUE_SIZE], config: [0; 16] };

/// What is on the host's side of a console.
pub trait Port {
    /// Takes bytes from the guest: all of them, or as many as fit.
    fn output(&mut self, bytes: &[u8]) -> Result<usize, Violation>;
    /// Where the output goes from there.
    fn sinks(&self) -> [Option<&Sink>; 2];
    /// The same, to be written.
    fn sinks_mut(&mut self) -> [Option<&mut Sink>; 2];
    /// The most bytes of standard input that may be offered now; 0: leave it alone.
    fn input_room(&self) -> usize {
        0
    }
    /// Offers standard input, at most [`Port::input_room`] bytes; none means that it has ended.
    fn offer_input(&mut self, _bytes: &[u8]) {}
    /// True when [`Port::input`] would give something.
    fn has_input(&mut self) -> bool {
        false
    }
    /// Gives bytes to the guest; 0 when there are none.
    fn input(&mut self, _buffer: &mut [u8]) -> usize {
        0
    }
}

/// A console device: the chain it is in the middle of, and nothing else.
#[derive(Debug, Default)]
pub struct Console<'m> {
    transmitting: Option<(Chain<'m>, usize)>,
}

impl<'m> Console<'m> {
    /// Forgets the chain in hand, as a reset does.
    pub fn stop(&mut self) {
        self.transmitting = None;
    }

    /// Moves bytes from the guest to the port.
    pub fn transmit(
        &mut self,
        memory: &'m Memory,
        ring: &mut Ring,
        port: &mut dyn Port,
    ) -> Result<Progress, Violation> {
        let mut progress = Progress::default();
        let mut budget = BUDGET;
        for _ in 0..=ring.size() {
            let Some((chain, mut at)) = self.next(memory, ring)? else { return Ok(progress) };
            while at < chain.readable.len() && budget > 0 {
                let mut piece = [0; PIECE];
                let count = chain.readable.read(at, &mut piece).min(budget);
                let taken = port.output(piece.get(..count).unwrap_or_default())?;
                at += taken;
                budget -= taken;
                if taken < count {
                    self.transmitting = Some((chain, at));
                    return Ok(progress);
                }
            }
            if at < chain.readable.len() {
                self.transmitting = Some((chain, at));
                break;
            }
            ring.push(memory, chain.head, 0)?;
            progress.used = true;
        }
        progress.more = true;
        Ok(progress)
    }

    fn next(
        &mut self,
        memory: &'m Memory,
        ring: &mut Ring,
    ) -> Result<Option<(Chain<'m>, usize)>, Violation> {
        match self.transmitting.take() {
            Some(half) => Ok(Some(half)),
            None => Ok(ring.pop(memory)?.map(|chain| (chain, 0))),
        }
    }

    /// Moves bytes from the port to the guest. Returns true when buffers went to the used ring.
    pub fn receive(
        memory: &Memory,
        ring: &mut Ring,
        port: &mut dyn Port,
    ) -> Result<bool, Violation> {
        let mut used = false;
        for _ in 0..ring.size() {
            if !port.has_input() {
                break;
            }
            let Some(chain) = ring.pop(memory)? else { break };
            let mut piece = [0; PIECE];
            let room = chain.writable.len().min(PIECE);
            let count = port.input(piece.get_mut(..room).unwrap_or_default());
            chain.writable.write(0, piece.get(..count).unwrap_or_default());
            ring.push(memory, chain.head, count)?;
            used = true;
        }
        Ok(used)
    }
}
