//! The driver's side of a virtqueue, whole or broken, and the places of buffers.

use devices::control::Geometry;

use crate::Store;
use crate::bytes::Bytes;

/// Guest RAM: two ranges that touch, each between guard pages.
pub const RANGES: [(u64, usize); 2] = [(0, 0x6000), (0x6000, 0x2000)];
/// The end of guest RAM.
pub const END: u64 = 0x8000;
/// Buffers lie from here to the end; rings before it.
pub const BUFFERS: u64 = 0x3000;

/// Flags of a descriptor.
pub const WRITE: u16 = 2;
const NEXT: u16 = 1;

/// Writes `len` bytes, at most 4 KiB, that are not all the same.
pub fn fill(memory: &mut impl Store, at: u64, len: u32, first: u8) {
    let mut bytes = [0; 4096];
    let mut next = first;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    let bytes = &mut bytes[..len];
    for byte in bytes.iter_mut() {
        *byte = next;
        next = next.wrapping_mul(3).wrapping_add(1);
    }
    memory.write(at, bytes);
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
    pub fn clear(&mut self, memory: &mut impl Store) {
        (self.next, self.offered) = (0, 0);
        let size = usize::from(self.geometry.size);
        memory.write(self.geometry.available, &vec![0; 6 + 2 * size]);
        memory.write(self.geometry.used, &vec![0; 6 + 8 * size]);
    }

    /// Writes a descriptor.
    pub fn describe(&self, memory: &mut impl Store, index: u16, part: Part, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&part.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&part.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&part.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        memory.write(self.geometry.descriptors.wrapping_add(16 * u64::from(index)), &bytes);
    }

    /// Makes a chain of these parts available.
    pub fn add(&mut self, memory: &mut impl Store, parts: &[Part]) {
        let head = self.next;
        for (index, part) in parts.iter().enumerate() {
            let next = (self.next + 1) % self.geometry.size;
            let more = if index + 1 < parts.len() { NEXT } else { 0 };
            let part = Part { flags: part.flags | more, ..*part };
            self.describe(memory, self.next, part, next);
            self.next = next;
        }
        self.offer(memory, head);
    }

    /// Makes what begins at `head` available.
    pub fn offer(&mut self, memory: &mut impl Store, head: u16) {
        let slot = u64::from(self.offered % self.geometry.size);
        let slot = self.geometry.available.wrapping_add(4 + 2 * slot);
        memory.write(slot, &head.to_le_bytes());
        self.publish(memory, self.offered.wrapping_add(1));
    }

    /// Sets the available index.
    pub fn publish(&mut self, memory: &mut impl Store, index: u16) {
        self.offered = index;
        memory.write(self.geometry.available.wrapping_add(2), &index.to_le_bytes());
    }

    /// Asks for interrupts, or for none.
    pub fn want_interrupts(&self, memory: &mut impl Store, wanted: bool) {
        memory.write(self.geometry.available, &u16::from(!wanted).to_le_bytes());
    }

    /// Breaks the queue, or bends it: a descriptor, a head, the index, or any byte near it.
    pub fn break_it(&mut self, memory: &mut impl Store, program: &mut Bytes<'_>) {
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
                self.describe(memory, index, part, next);
            }
            2 => {
                let head = if program.rarely() { program.half() } else { program.byte().into() };
                self.offer(memory, head);
            }
            3 => {
                let jump = program.one_of(&[1, size, size.wrapping_add(1), 0x8000, 0xffff, 0]);
                self.publish(memory, self.offered.wrapping_add(jump));
            }
            4 => {
                let at = self.geometry.available.wrapping_add(u64::from(program.byte()));
                memory.write(at, &program.half().to_le_bytes());
            }
            _ => {
                let at = program.one_of(&[self.geometry.used, self.geometry.descriptors, 0]);
                let at = at.wrapping_add(u64::from(program.half()) % END);
                memory.write(at, &program.long().to_le_bytes());
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
