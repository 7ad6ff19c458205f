//! The driver's side of a split virtqueue (virtio 1.2 §2.7).

use vm_memory::{Bytes, GuestAddress};

use crate::Memory;
use crate::control::Geometry;

/// A descriptor, with nothing about it checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// [`Descriptor::NEXT`], [`Descriptor::WRITE`], [`Descriptor::INDIRECT`].
    pub flags: u16,
    /// Index of the next descriptor.
    pub next: u16,
}

impl Descriptor {
    /// The chain goes on.
    pub const NEXT: u16 = 1;
    /// The device writes.
    pub const WRITE: u16 = 2;
    /// The buffer holds descriptors.
    pub const INDIRECT: u16 = 4;
}

/// One buffer of a well-formed chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The device reads: address and length.
    Out(u64, u32),
    /// The device writes: address and length.
    In(u64, u32),
}

/// A driver's virtqueue.
#[derive(Debug)]
pub struct SplitRing {
    memory: &'static Memory,
    /// Where the ring is.
    pub geometry: Geometry,
    /// Index of the descriptor that the next chain begins with.
    pub next: u16,
    available: u16,
    used: u16,
}

impl SplitRing {
    /// An empty ring of `size` descriptors in `memory` from `address` on, a multiple of 16. It takes
    /// 26 bytes for each descriptor and 16 more at most.
    pub fn new(memory: &'static Memory, address: u64, size: u16) -> Self {
        let available = address + 16 * u64::from(size);
        let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(4);
        let len = used + 6 + 8 * u64::from(size) - address;
        memory.write_slice(&vec![0; len.try_into().unwrap()], GuestAddress(address)).unwrap();
        let geometry = Geometry { size, descriptors: address, available, used };
        Self { memory, geometry, next: 0, available: 0, used: 0 }
    }

    /// Writes descriptor `index` of the table.
    pub fn describe(&self, index: u16, descriptor: Descriptor) {
        let at = self.geometry.descriptors + 16 * u64::from(index);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&descriptor.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&descriptor.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&descriptor.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&descriptor.next.to_le_bytes());
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
    }

    /// Makes the chain that begins at `head` available.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.geometry.size);
        self.store(self.geometry.available + 4 + 2 * slot, head);
        self.publish(self.available.wrapping_add(1));
    }

    /// Sets the available index.
    pub fn publish(&mut self, index: u16) {
        self.available = index;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.store(self.geometry.available + 2, index);
    }

    /// Describes a chain, makes it available and returns its head. Descriptors are taken in turn,
    /// so that `size` of them can be out at a time.
    pub fn add(&mut self, parts: &[Part]) -> u16 {
        let head = self.next;
        for (index, part) in parts.iter().enumerate() {
            let (address, len, write) = match *part {
                Part::Out(address, len) => (address, len, 0),
                Part::In(address, len) => (address, len, Descriptor::WRITE),
            };
            let next = (self.next + 1) % self.geometry.size;
            let more = if index + 1 < parts.len() { Descriptor::NEXT } else { 0 };
            self.describe(self.next, Descriptor { address, len, flags: write | more, next });
            self.next = next;
        }
        self.offer(head);
        head
    }

    /// Takes the next used chain, if there is one: its head and the bytes written to it.
    pub fn take_used(&mut self) -> Option<(u32, u32)> {
        let index: u16 = self.load(self.geometry.used + 2);
        if index == self.used {
            return None;
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let at = self.geometry.used + 4 + 8 * u64::from(self.used % self.geometry.size);
        self.used = self.used.wrapping_add(1);
        let element: [u32; 2] = self.memory.read_obj(GuestAddress(at)).unwrap();
        Some((u32::from_le(element[0]), u32::from_le(element[1])))
    }

    /// Asks for interrupts, or for none.
    pub fn want_interrupts(&self, wanted: bool) {
        self.store(self.geometry.available, u16::from(!wanted));
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn store(&self, address: u64, value: u16) {
        let order = std::sync::atomic::Ordering::Release;
        self.memory.store(value.to_le(), GuestAddress(address), order).unwrap();
    }

    fn load(&self, address: u64) -> u16 {
        let order = std::sync::atomic::Ordering::Acquire;
        u16::from_le(self.memory.load(GuestAddress(address), order).unwrap())
    }
}
