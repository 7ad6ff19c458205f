//! A started split virtqueue, device side.
//!
//! virtio 1.2 §2.7. The `virtio-queue` crate keeps the indices; this module adds what it leaves to
//! its callers: everything the driver said is checked first, a broken ring is an error and not an
//! empty ring, and the driver's wish for no interrupts is honoured. EVENT_IDX is not offered.

use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::Memory;
use crate::chain::Chain;
use crate::control::Geometry;
use crate::violation::Violation;

const NO_INTERRUPT: u16 = 1;

/// How far a queue was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Buffers went to the used ring.
    pub used: bool,
    /// The turn's budget ran out before the queue did: call again.
    pub more: bool,
}

/// A virtqueue between DRIVER_OK and reset.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
}

impl Ring {
    /// A ring at `geometry`, which must lie in `memory` and hold at most `max_size` descriptors.
    pub fn start(memory: &Memory, geometry: Geometry, max_size: u16) -> Result<Self, Violation> {
        let state = QueueState {
            max_size,
            size: geometry.size,
            ready: true,
            desc_table: geometry.descriptors,
            avail_ring: geometry.available,
            used_ring: geometry.used,
            ..QueueState::default()
        };
        let queue = Queue::try_from(state).map_err(|_| Violation::RingPlacement)?;
        // The library takes an available ring at address 0 for a ring that was never placed.
        if geometry.available == 0 || !queue.is_valid(memory) || overlaps(&geometry) {
            return Err(Violation::RingPlacement);
        }
        Ok(Self { queue })
    }

    /// Takes the next available chain, if there is one.
    pub fn pop<'m>(&mut self, memory: &'m Memory) -> Result<Option<Chain<'m>>, Violation> {
        let head = match self.queue.iter(memory).map_err(|_| Violation::AvailIndex)?.next() {
            Some(chain) => chain.head_index(),
            None => return Ok(None),
        };
        let table = GuestAddress(self.queue.desc_table());
        Chain::take(memory, table, self.queue.size(), head).map(Some)
    }

    /// Gives a chain back; `written` counts the bytes written to it from its first writable on.
    pub fn push(&mut self, memory: &Memory, head: u16, written: usize) -> Result<(), Violation> {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue.add_used(memory, head, written).map_err(|_| Violation::RingPlacement)
    }

    /// True when the driver wants to hear of used buffers (§2.7.7).
    pub fn wants_interrupt(&self, memory: &Memory) -> bool {
        // A full barrier between the used index and the flag, as the driver has one the other way
        // round: it cannot both miss the index and have its flag missed.
        std::sync::atomic::fence(Ordering::SeqCst);
        let flags = memory.load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed);
        flags.is_ok_and(|flags: u16| u16::from_le(flags) & NO_INTERRUPT == 0)
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }
}

/// True when two of the three parts share a byte: a ring that would make itself available again
/// and again as it is used. All three lie in memory.
fn overlaps(geometry: &Geometry) -> bool {
    let size = u64::from(geometry.size);
    let parts = [
        (geometry.descriptors, 16 * size),
        (geometry.available, 6 + 2 * size),
        (geometry.used, 6 + 8 * size),
    ];
    let meet = |a: (u64, u64), b: (u64, u64)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
    meet(parts[0], parts[1]) || meet(parts[1], parts[2]) || meet(parts[2], parts[0])
}
