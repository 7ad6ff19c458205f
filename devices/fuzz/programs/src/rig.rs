//! A guest's memory and its queues, written twice: where the devices look, and in the model's copy.

use devices::Memory;
use devices::control::Geometry;
use devices::testing::memory;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend};

use crate::bytes::Bytes;
use crate::fetch;
use crate::model::Ram;

/// Guest RAM: two ranges that touch, each between guard pages.
pub const RANGES: [(u64, usize); 2] = [(0, 0x6000), (0x6000, 0x2000)];
/// The end of guest RAM.
pub const END: u64 = 0x8000;
/// Buffers lie from here to the end; rings before it.
pub const BUFFERS: u64 = 0x3000;

/// Flags of a descriptor.
pub const WRITE: u16 = 2;
const NEXT: u16 = 1;

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

impl Guest {
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

    /// Writes, if it is RAM.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        if self.ram.place(at, bytes.len() as u64).is_some() {
            self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
            self.ram.write(at, bytes);
        }
    }

    /// Writes `len` bytes, at most 4 KiB, that are not all the same, if it is RAM.
    pub fn fill(&mut self, at: u64, len: u32, first: u8) {
        let mut bytes = [0; 4096];
        let bytes = &mut bytes[..usize::try_from(len).unwrap().min(4096)];
        let mut next = first;
        for byte in bytes.iter_mut() {
            *byte = next;
            next = next.wrapping_mul(3).wrapping_add(1);
        }
        self.write(at, bytes);
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

/// A driver's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Where it is.
    pub geometry: Geometry,
    next: u16,
    offered: u16,
}

impl Queue {
    /// A queue from `at` on, which takes 26 bytes a descriptor and 32 more at most.
    pub fn new(at: u64, size: u16) -> Self {
        let available = at + 16 * u64::from(size);
        let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(4);
        Self::placed(Geometry { size, descriptors: at, available, used })
    }

    /// A queue that is placed anyhow.
    pub fn placed(geometry: Geometry) -> Self {
        Self { geometry, next: 0, offered: 0 }
    }

    /// Zeroes the rings, as before a start.
    pub fn clear(&mut self, guest: &mut Guest) {
        (self.next, self.offered) = (0, 0);
        let size = usize::from(self.geometry.size);
        guest.write(self.geometry.available, &vec![0; 6 + 2 * size]);
        guest.write(self.geometry.used, &vec![0; 6 + 8 * size]);
    }

    /// Writes a descriptor.
    pub fn describe(&self, guest: &mut Guest, index: u16, part: Part, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&part.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&part.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&part.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        guest.write(self.geometry.descriptors.wrapping_add(16 * u64::from(index)), &bytes);
    }

    /// Makes a chain of these parts available.
    pub fn add(&mut self, guest: &mut Guest, parts: &[Part]) {
        let head = self.next;
        for (index, part) in parts.iter().enumerate() {
            let next = (self.next + 1) % self.geometry.size;
            let more = if index + 1 < parts.len() { NEXT } else { 0 };
            let part = Part { flags: part.flags | more, ..*part };
            self.describe(guest, self.next, part, next);
            self.next = next;
        }
        self.offer(guest, head);
    }

    /// Makes what begins at `head` available.
    pub fn offer(&mut self, guest: &mut Guest, head: u16) {
        let slot = u64::from(self.offered % self.geometry.size);
        let slot = self.geometry.available.wrapping_add(4 + 2 * slot);
        guest.write(slot, &head.to_le_bytes());
        self.publish(guest, self.offered.wrapping_add(1));
    }

    /// Sets the available index.
    pub fn publish(&mut self, guest: &mut Guest, index: u16) {
        self.offered = index;
        guest.write(self.geometry.available.wrapping_add(2), &index.to_le_bytes());
    }

    /// Asks for interrupts, or for none.
    pub fn want_interrupts(&self, guest: &mut Guest, wanted: bool) {
        guest.write(self.geometry.available, &u16::from(!wanted).to_le_bytes());
    }

    /// Breaks the queue, or bends it: a descriptor, a head, the index, or any byte near it.
    pub fn break_it(&mut self, guest: &mut Guest, program: &mut Bytes<'_>) {
        let size = self.geometry.size;
        match program.below(6) {
            0 | 1 => {
                let index = u16::from(program.byte()) % size;
                let part = Part {
                    address: if program.rarely() { program.edge() } else { place(program) },
                    len: if program.rarely() { program.word() } else { program.byte().into() },
                    flags: program.one_of(&[0, 1, 2, 3, 4, 0xffff]),
                };
                let next = if program.rarely() { program.half() } else { program.byte().into() };
                self.describe(guest, index, part, next);
            }
            2 => {
                let head = if program.rarely() { program.half() } else { program.byte().into() };
                self.offer(guest, head);
            }
            3 => {
                let jump = program.one_of(&[1, size, size.wrapping_add(1), 0x8000, 0xffff, 0]);
                self.publish(guest, self.offered.wrapping_add(jump));
            }
            4 => {
                let at = self.geometry.available.wrapping_add(u64::from(program.byte()));
                guest.write(at, &program.half().to_le_bytes());
            }
            _ => {
                let at = program.one_of(&[self.geometry.used, self.geometry.descriptors, 0]);
                let at = at.wrapping_add(u64::from(program.half()) % END);
                guest.write(at, &program.long().to_le_bytes());
            }
        }
    }
}

/// One descriptor's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// Where.
    pub address: u64,
    /// How long.
    pub len: u32,
    /// [`WRITE`], or nothing.
    pub flags: u16,
}

/// A place for a buffer: mostly any, now and then across the two ranges or up to the end.
pub fn place(program: &mut Bytes<'_>) -> u64 {
    match program.byte() {
        0xff => RANGES[1].0 - 3,
        0xfe => END - u64::from(program.half()) % END,
        slot => BUFFERS + 0x50 * u64::from(slot),
    }
}

/// Cuts a buffer of `len` bytes at `address` into up to three parts, empty ones included.
pub fn cut(parts: &mut Vec<Part>, program: &mut Bytes<'_>, address: u64, len: u32, flags: u16) {
    let cuts = program.below(8);
    let (mut at, mut left) = (address, len);
    for _ in 0..cuts.saturating_sub(5) {
        let now = u32::from(program.byte()).min(left);
        parts.push(Part { address: at, len: now, flags });
        at += u64::from(now);
        left -= now;
    }
    parts.push(Part { address: at, len: left, flags });
}
