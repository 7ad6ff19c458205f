//! A driver at the registers (virtio 1.2 §3.1.1, §4.2.3), in the order that Linux has.

use crate::control::Geometry;
use crate::mmio::{Action, Registers, VERSION_1, status};

/// A driver, and the registers it writes.
#[derive(Debug)]
pub struct Driver<'a> {
    /// The registers.
    pub registers: Registers<'a>,
}

impl Driver<'_> {
    /// Reads a register.
    pub fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.registers.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Action> {
        self.registers.write(offset, &value.to_le_bytes())
    }

    /// Adds bits to the status.
    pub fn add_status(&mut self, bits: u32) -> Option<Action> {
        self.write(0x070, self.read(0x070) | bits)
    }

    /// The features offered.
    pub fn offered(&mut self) -> u64 {
        let [low, high] = [0, 1].map(|select| {
            self.write(0x014, select);
            u64::from(self.read(0x010))
        });
        high << 32 | low
    }

    /// Takes a device after reset to FEATURES_OK with VERSION_1 and those of `wanted` that are
    /// offered; returns what was accepted.
    pub fn negotiate(&mut self, wanted: u64) -> u64 {
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let accepted = self.offered() & (wanted | VERSION_1);
        self.accept(accepted);
        self.add_status(status::FEATURES_OK);
        accepted
    }

    /// Writes the driver's features, whatever they are.
    pub fn accept(&mut self, features: u64) {
        for select in [1, 0] {
            self.write(0x024, select);
            self.write(0x020, u32::try_from(features >> (32 * select) & 0xffff_ffff).unwrap());
        }
    }

    /// Places queue `index` and makes it ready.
    pub fn place(&mut self, index: u32, geometry: &Geometry) {
        self.write(0x030, index);
        self.write(0x038, geometry.size.into());
        let parts = [(0x080, geometry.descriptors), (0x090, geometry.available)];
        for (offset, address) in parts.into_iter().chain([(0x0a0, geometry.used)]) {
            self.write(offset, u32::try_from(address & 0xffff_ffff).unwrap());
            self.write(offset + 4, u32::try_from(address >> 32).unwrap());
        }
        self.write(0x044, 1);
    }
}
