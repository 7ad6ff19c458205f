//! A guest's memory, written twice: where the devices look, and in the model's copy.

use std::cell::RefCell;

use devices::Memory;
use devices::testing::memory;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend};

use crate::fetch;
use crate::model::Ram;
pub use steps::Store;
pub use steps::queue::{BUFFERS, END, Part, Queue, RANGES, WRITE, cut, fill, place};

/// Guest RAM, and the model's copy.
#[derive(Debug)]
pub struct Guest {
    /// What the devices see.
    pub memory: &'static Memory,
    /// What the models see.
    pub ram: Ram,
    seen: Vec<u8>,
}

impl Default for Guest {
    fn default() -> Self {
        let len = usize::try_from(END).unwrap();
        Self { memory: memory(&RANGES), ram: Ram::new(len), seen: vec![0; len] }
    }
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::default();
}

impl Guest {
    /// Lends the thread's guest, whose memory is zero.
    pub fn with<T>(drive: impl FnOnce(&mut Self) -> T) -> T {
        GUEST.with_borrow_mut(|guest| {
            guest.clear();
            drive(guest)
        })
    }

    /// Zeroes all memory.
    pub fn clear(&mut self) {
        self.ram.all_mut();
        self.clear_touched();
    }

    /// Zeroes what differs from zero by the model. Enough where memory was compared, or learnt, after
    /// the last that a device did.
    pub fn clear_touched(&mut self) {
        let memory = self.memory;
        self.ram.clear(|at, block| memory.write_slice(block, GuestAddress(at)).unwrap());
    }

    /// Checks that the devices changed what they should have, and nothing else.
    pub fn check(&mut self, what: &str) {
        let same = RANGES.iter().all(|&(start, len)| {
            let ought = self.ram.bytes(start, len as u64);
            fetch::holds(self.memory, start, ought)
        });
        if !same {
            self.memory.read_slice(&mut self.seen, GuestAddress(0)).unwrap();
            let at = self.seen.iter().zip(self.ram.all()).position(|(a, b)| a != b).unwrap();
            let (is, ought) = (self.seen[at], self.ram.all()[at]);
            panic!("{what}: guest byte {at:#x} is {is:#x} and ought to be {ought:#x}");
        }
    }

    /// Takes over what the devices wrote, whatever it is.
    pub fn learn(&mut self) {
        self.memory.read_slice(self.ram.all_mut(), GuestAddress(0)).unwrap();
    }

    /// Runs a device's function with the first range of RAM watched for second readings.
    /// The index of the available ring at `available` may be read as often as one likes.
    pub fn watch<T>(&self, available: u64, function: impl FnOnce() -> T) -> (T, Option<usize>) {
        let start = self.memory.get_host_address(GuestAddress(0)).unwrap();
        let index = usize::try_from(available + 2).unwrap();
        fetch::watch(start, RANGES[0].1, index, function)
    }
}

impl Store for Guest {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        if self.ram.place(at, bytes.len() as u64).is_some() {
            self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
            self.ram.write(at, bytes);
        }
    }
}
