//! What the standard says should happen, written apart from the devices and without their code.
//!
//! | module | says |
//! |---|---|
//! | [`registers`] | what a register write changes (virtio 1.2 §4.2.2) |
//! | [`ring`] | which chains a driver made available (§2.7) |
//! | [`blk`] | what block requests do to RAM, image and status (§5.2.6) |
//! | [`console`] | which bytes go where (§5.3.6) |
//! | [`agent`] | which frames may come when |
//!
//! A model works on [`Ram`], a copy of the guest's memory, in the order in which a device has to
//! read and write; so it is exact even where buffers, rings and descriptors overlap.

pub mod agent;
pub mod blk;
pub mod console;
pub mod registers;
pub mod ring;

/// Bytes that one bit of [`Ram`] stands for.
const BLOCK: usize = 512;

/// A copy of guest RAM, which begins at address 0, at most 32 KiB.
#[derive(Clone, Debug)]
pub struct Ram {
    bytes: Vec<u8>,
    /// Blocks that were written to since [`Ram::clear`], a bit each.
    touched: u64,
}

impl Ram {
    /// So much RAM, zeroed.
    pub fn new(len: usize) -> Self {
        assert!(len <= 64 * BLOCK);
        Self { bytes: vec![0; len], touched: 0 }
    }

    /// Zeroes what was written to, and calls `each` for every block of it.
    pub fn clear(&mut self, mut each: impl FnMut(u64, &[u8])) {
        for (index, block) in self.bytes.chunks_mut(BLOCK).enumerate() {
            if self.touched >> index & 1 == 1 {
                block.fill(0);
                each((index * BLOCK) as u64, block);
            }
        }
        self.touched = 0;
    }

    /// All of it.
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it, to be written.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.touched = u64::MAX;
        &mut self.bytes
    }

    /// `len` bytes at an address that was checked.
    pub fn bytes(&self, address: u64, len: u64) -> &[u8] {
        &self.bytes[self.place(address, len).expect("an address that was checked")]
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self, address: u64, len: u64) -> &mut [u8] {
        let place = self.place(address, len).expect("an address that was checked");
        for block in place.start / BLOCK..place.end.div_ceil(BLOCK) {
            self.touched |= 1 << block;
        }
        &mut self.bytes[place]
    }

    /// Where `len` bytes at `address` are, if they are.
    pub fn place(&self, address: u64, len: u64) -> Option<std::ops::Range<usize>> {
        let end = usize::try_from(address.checked_add(len)?).ok()?;
        let start = usize::try_from(address).ok()?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// So many bytes at an address that was checked.
    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        self.bytes(address, N as u64).try_into().unwrap()
    }

    /// Two bytes at an address that was checked.
    pub fn half(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address))
    }

    /// Writes at an address that was checked.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.bytes_mut(address, bytes.len() as u64).copy_from_slice(bytes);
    }
}
