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

/// A copy of guest RAM, which begins at address 0.
#[derive(Clone, Debug)]
pub struct Ram(pub Vec<u8>);

impl Ram {
    /// Where `len` bytes at `address` are, if they are.
    pub fn place(&self, address: u64, len: u64) -> Option<std::ops::Range<usize>> {
        let end = usize::try_from(address.checked_add(len)?).ok()?;
        let start = usize::try_from(address).ok()?;
        (end <= self.0.len()).then_some(start..end)
    }

    /// So many bytes at an address that was checked.
    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let place = self.place(address, N as u64).expect("an address that was checked");
        self.0[place].try_into().unwrap()
    }

    /// Two bytes at an address that was checked.
    pub fn half(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address))
    }

    /// Writes at an address that was checked.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let place = self.place(address, bytes.len() as u64).expect("an address that was checked");
        self.0[place].copy_from_slice(bytes);
    }
}
