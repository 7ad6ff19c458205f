//! The guest's RAM as the loader sees it: what may be filled, and the map that the kernel is told.

use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::Error;
use crate::layout;

const MIB: u64 = 1 << 20;

/// Kind of a range, the same number in E820 and in PVH's map.
pub const RAM: u32 = 1;
/// See [`RAM`].
pub const RESERVED: u32 = 2;

/// One range of the map given to the kernel.
pub struct Range {
    pub start: u64,
    pub len: u64,
    pub kind: u32,
}

pub struct Memory<'a> {
    pub mem: &'a GuestMemoryMmap<()>,
    /// End of the RAM below the hole.
    pub low_end: u64,
}

impl<'a> Memory<'a> {
    pub fn new(mem: &'a GuestMemoryMmap<()>) -> Self {
        let low_end = mem.find_region(GuestAddress(0)).map_or(0, GuestMemoryRegion::len);
        Self { mem, low_end: low_end.min(layout::HOLE_START) }
    }

    /// Fails unless a kernel may occupy `start..end`.
    pub fn check_kernel(&self, start: u64, end: u64) -> Result<(), Error> {
        if start < layout::HIGH_RAM || end < start || end > layout::HOLE_START {
            return Err(Error::NoRamThere { start, end });
        }
        if end > self.low_end {
            return Err(Error::KernelRam { need: mebibytes(end), have: self.mebibytes() });
        }
        Ok(())
    }

    /// MiB of RAM on both sides of the hole.
    pub fn mebibytes(&self) -> u64 {
        self.mem.iter().map(|region| region.len() / MIB).sum()
    }

    /// What the kernel may use, and the page-sized facts below 1 MiB that it may not.
    pub fn map(&self) -> impl Iterator<Item = Range> {
        let low = [
            Range { start: 0, len: layout::LOW_RAM_END, kind: RAM },
            Range {
                start: layout::LOW_RAM_END,
                len: layout::HIGH_RAM - layout::LOW_RAM_END,
                kind: RESERVED,
            },
        ];
        low.into_iter().chain(self.mem.iter().filter_map(|region| {
            let end = region.start_addr().raw_value() + region.len();
            let start = region.start_addr().raw_value().max(layout::HIGH_RAM);
            Some(Range { start, len: end.checked_sub(start)?, kind: RAM })
        }))
    }
}

/// `bytes` in MiB, rounded up.
pub fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}
