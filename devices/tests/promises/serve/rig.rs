//! A block device in its loop, and its driver.

use devices::Memory;
use devices::blk::{Blk, QUEUE_SIZE, Shape};
use devices::serve::BlkLoop;
use devices::testing::{Image, Machine, Part, SplitRing, memory};
use vm_memory::{Bytes, GuestAddress};

/// Where the driver has the header of a request.
pub const HEADER: u64 = 0x8000;
/// Where it has the data, and the status behind it.
pub const DATA: u64 = 0x10_0000;

pub struct Rig {
    pub memory: &'static Memory,
    pub machine: Machine,
    pub ring: SplitRing,
    pub served: BlkLoop<'static, Image>,
}

impl Rig {
    /// 4 MiB of memory, and a device that has not been started.
    pub fn new(shape: Shape, device: Blk<'static, Image>) -> Self {
        let memory = memory(&[(0, 4 << 20)]);
        let (machine, link) = Machine::new(memory, shape.identity());
        let ring = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
        Self { memory, machine, ring, served: BlkLoop::new(link, device) }
    }

    /// Makes a read of so many bytes available.
    pub fn read(&mut self, bytes: u32) {
        self.memory.write_slice(&[0; 16], GuestAddress(HEADER)).unwrap();
        self.ring.add(&[Part::Out(HEADER, 16), Part::In(DATA, bytes + 1)]);
    }

    /// Takes what was used; returns how many.
    pub fn used(&mut self) -> usize {
        std::iter::from_fn(|| self.ring.take_used()).count()
    }
}
