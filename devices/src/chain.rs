//! One descriptor chain as checked guest memory.
//!
//! virtio 1.2 §2.7.4 and §2.7.5. The descriptors are read once, while the chain is taken; what is
//! done later works on the regions checked then, whatever the guest writes to its table meanwhile.
//! Descriptors of length 0 are passed over. Refused: an index out of range, a loop, more than
//! 2³² bytes, a region not in RAM, a readable descriptor after a writable one, an indirect one.

use smallvec::SmallVec;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use crate::Memory;
use crate::violation::Violation;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DESCRIPTOR: u64 = 16;

/// Pieces of guest memory. Those of an ordinary request need no memory of their own.
pub type Regions<'m> = SmallVec<[VolatileSlice<'m>; 4]>;

/// A run of guest memory made of the regions of one half of a chain.
#[derive(Debug, Default)]
pub struct Buffer<'m> {
    regions: Regions<'m>,
    len: usize,
}

/// A chain that the driver made available.
#[derive(Debug, Default)]
pub struct Chain<'m> {
    /// Index of the first descriptor: the chain's name in the used ring.
    pub head: u16,
    /// What the device may read.
    pub readable: Buffer<'m>,
    /// What the device may write.
    pub writable: Buffer<'m>,
}

impl<'m> Chain<'m> {
    /// Takes the chain that begins at `head` of the table at `table` with `size` descriptors.
    pub fn take(
        memory: &'m Memory,
        table: GuestAddress,
        size: u16,
        head: u16,
    ) -> Result<Self, Violation> {
        let mut chain = Self { head, ..Self::default() };
        let mut index = head;
        for _ in 0..size {
            if index >= size {
                return Err(Violation::DescriptorIndex);
            }
            let descriptor = Descriptor::read(memory, table, index)?;
            chain.add(memory, &descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
        Err(Violation::ChainLoop)
    }

    fn add(&mut self, memory: &'m Memory, descriptor: &Descriptor) -> Result<(), Violation> {
        if descriptor.flags & INDIRECT != 0 {
            return Err(Violation::Indirect);
        }
        let total = self.readable.len + self.writable.len + descriptor.len;
        if u64::try_from(total).is_ok_and(|total| total > 1 << 32) {
            return Err(Violation::ChainLength);
        }
        let half = match descriptor.flags & WRITE {
            0 if !self.writable.regions.is_empty() => return Err(Violation::DescriptorOrder),
            0 => &mut self.readable,
            _ => &mut self.writable,
        };
        for region in memory.get_slices(GuestAddress(descriptor.address), descriptor.len) {
            let region = region.map_err(|_| Violation::BufferPlacement)?;
            half.len += region.len();
            half.regions.push(region);
        }
        Ok(())
    }
}

impl<'m> Buffer<'m> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The regions of `start..end`, clipped to the buffer.
    pub fn range(&self, start: usize, end: usize) -> impl Iterator<Item = VolatileSlice<'m>> {
        let mut at = 0;
        self.regions.iter().filter_map(move |region| {
            let first = at;
            at += region.len();
            let from = start.clamp(first, at) - first;
            let to = end.clamp(first, at) - first;
            if from < to { region.subslice(from, to - from).ok() } else { None }
        })
    }

    /// Copies bytes from `offset` on into `bytes`; returns how many there were.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for region in self.range(offset, offset.saturating_add(bytes.len())) {
            done += region.copy_to(bytes.get_mut(done..).unwrap_or_default());
        }
        done
    }

    /// Copies `bytes` to `offset`; returns how many there was room for.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        for region in self.range(offset, offset.saturating_add(bytes.len())) {
            region.copy_from(bytes.get(done..).unwrap_or_default());
            done += region.len();
        }
        done
    }
}

/// A descriptor as the driver wrote it (§2.7.5).
struct Descriptor {
    address: u64,
    len: usize,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn read(memory: &Memory, table: GuestAddress, index: u16) -> Result<Self, Violation> {
        let at = u64::from(index) * DESCRIPTOR;
        let at = table.0.checked_add(at).ok_or(Violation::RingPlacement)?;
        let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, f0, f1, n0, n1]: [u8; 16] =
            memory.read_obj(GuestAddress(at)).map_err(|_| Violation::RingPlacement)?;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        Ok(Self {
            address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            len: usize::try_from(len).map_err(|_| Violation::ChainLength)?,
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        })
    }
}
