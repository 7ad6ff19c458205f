//! A split virtqueue by the standard (virtio 1.2 §2.7), on a copy of guest memory.

use devices::control::Geometry;
use devices::violation::Violation;

use super::Ram;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A started queue.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Where it is.
    pub geometry: Geometry,
    available: u16,
    used: u16,
}

/// A chain: runs of bytes, each an address and a length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// First descriptor.
    pub head: u16,
    /// Device-readable bytes.
    pub readable: Vec<(u64, u64)>,
    /// Device-writable bytes.
    pub writable: Vec<(u64, u64)>,
}

/// Bytes in these runs.
pub fn len(runs: &[(u64, u64)]) -> u64 {
    runs.iter().map(|run| run.1).sum()
}

/// Calls `each` for the addresses of `count` bytes from `skip` on.
pub fn walk(runs: &[(u64, u64)], skip: u64, count: u64, mut each: impl FnMut(u64, u64)) {
    let (mut skip, mut left) = (skip, count);
    for &(address, len) in runs {
        let passed = skip.min(len);
        skip -= passed;
        let now = (len - passed).min(left);
        if now > 0 {
            each(address + passed, now);
        }
        left -= now;
    }
}

impl Ring {
    /// A queue at `geometry`, of at most `max` descriptors, if one can be there.
    pub fn start(ram: &Ram, geometry: Geometry, max: u16) -> Result<Self, Violation> {
        let size = u64::from(geometry.size);
        let parts = [
            (geometry.descriptors, 16 * size, 16),
            (geometry.available, 6 + 2 * size, 2),
            (geometry.used, 6 + 8 * size, 4),
        ];
        let placed =
            parts.iter().all(|&(at, len, align)| at % align == 0 && ram.place(at, len).is_some());
        let apart = placed
            && (0..3).all(|a| {
                let ((a, a_len, _), (b, b_len, _)) = (parts[a], parts[(a + 1) % 3]);
                a + a_len <= b || b + b_len <= a
            });
        let sized = geometry.size.is_power_of_two() && geometry.size <= max;
        if !sized || !apart || geometry.available == 0 {
            return Err(Violation::RingPlacement);
        }
        Ok(Self { geometry, available: 0, used: 0 })
    }

    /// The next chain that was made available.
    pub fn pop(&mut self, ram: &Ram) -> Result<Option<Chain>, Violation> {
        let Geometry { size, available, .. } = self.geometry;
        match ram.half(available + 2).wrapping_sub(self.available) {
            0 => return Ok(None),
            ahead if ahead > size => return Err(Violation::AvailIndex),
            _ => {}
        }
        let head = ram.half(available + 4 + 2 * u64::from(self.available % size));
        self.available = self.available.wrapping_add(1);
        self.chain(ram, head).map(Some)
    }

    fn chain(&self, ram: &Ram, head: u16) -> Result<Chain, Violation> {
        let mut chain = Chain { head, ..Chain::default() };
        let mut index = head;
        for _ in 0..self.geometry.size {
            if index >= self.geometry.size {
                return Err(Violation::DescriptorIndex);
            }
            let at = self.geometry.descriptors + 16 * u64::from(index);
            let address = u64::from_le_bytes(ram.read(at));
            let len = u64::from(u32::from_le_bytes(ram.read(at + 8)));
            let flags = ram.half(at + 12);
            if flags & INDIRECT != 0 {
                return Err(Violation::Indirect);
            }
            if self::len(&chain.readable) + self::len(&chain.writable) + len > 1 << 32 {
                return Err(Violation::ChainLength);
            }
            if flags & WRITE == 0 && !chain.writable.is_empty() {
                return Err(Violation::DescriptorOrder);
            }
            if len > 0 {
                ram.place(address, len).ok_or(Violation::BufferPlacement)?;
                let half =
                    if flags & WRITE == 0 { &mut chain.readable } else { &mut chain.writable };
                half.push((address, len));
            }
            if flags & NEXT == 0 {
                return Ok(chain);
            }
            index = ram.half(at + 14);
        }
        Err(Violation::ChainLoop)
    }

    /// Gives a chain back.
    pub fn push(&mut self, ram: &mut Ram, head: u16, written: u64) {
        let at = self.geometry.used + 4 + 8 * u64::from(self.used % self.geometry.size);
        ram.write(at, &u32::from(head).to_le_bytes());
        ram.write(at + 4, &u32::try_from(written).unwrap_or(u32::MAX).to_le_bytes());
        self.used = self.used.wrapping_add(1);
        ram.write(self.geometry.used + 2, &self.used.to_le_bytes());
    }

    /// Whether the driver wants to hear of used buffers.
    pub fn wants_interrupt(&self, ram: &Ram) -> bool {
        ram.half(self.geometry.available) & 1 == 0
    }
}
