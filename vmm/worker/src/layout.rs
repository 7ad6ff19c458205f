//! The guest-physical address map and the I/O ports, and nothing else.
//!
//! | from | to (exclusive) | what |
//! |---|---|---|
//! | `0` | `0x9_FC00` | RAM; what the loader leaves there for the kernel is listed below |
//! | `0x9_FC00` | `0xE_0000` | reserved: a kernel looks for the BIOS data area and VGA here |
//! | `0xE_0000` | `0x10_0000` | reserved: the RSDP, the ACPI tables, and at its end the reset vector |
//! | `0x10_0000` | `0xC000_0000` | RAM: the kernel, the initrd below its end |
//! | `0xD000_0000` | `0xD001_2000` | virtio-mmio devices, one page each |
//! | `0xFEC0_0000` | `0xFEC0_1000` | I/O APIC (KVM's) |
//! | `0xFEE0_0000` | `0xFEE0_1000` | local APIC (KVM's) |
//! | `0xFFFB_C000` | `0xFFFC_0000` | one identity-map page and three TSS pages for KVM on VT-x |
//! | `0x1_0000_0000` | | RAM that did not fit below the hole |
//!
//! | from | what the loader leaves in low RAM |
//! |---|---|
//! | `0x500` | GDT |
//! | `0x6000` | PVH start info, module list, memory map |
//! | `0x7000` | zero page (`boot_params`) |
//! | `0x8000` | `setup_data` with the RNG seed |
//! | `0x9000` | page tables, six pages: the first 4 GiB mapped to themselves |
//! | `0x2_0000` | command line |
//!
//! | port | one byte wide; every other port reads as ones and ignores writes |
//! |---|---|
//! | `0x600` | sleep control: [`POWER_OFF`] turns the machine off |
//! | `0x601` | sleep status: reads as zero, a write clears the wake bit and is ignored |
//! | `0x602` | reset: [`RESET`] ends the run as a reset |
//! | `0x603` | exit code: a write ends the run with that code (`casemate boot`) |
//!
//! With an early console also 0x3f8 to 0x3ff, see [`crate::earlycon`].
//!
//! GSI 0 to 4 stay free of devices: kernels treat them as ISA interrupts with fixed owners.

/// Smallest RAM size in bytes.
pub const RAM_MIN: u64 = 32 << 20;
/// Largest RAM size in bytes.
pub const RAM_MAX: u64 = 512 << 30;
/// Largest number of vCPUs.
pub const CPUS_MAX: u8 = 32;
/// Largest number of virtio-mmio devices.
pub const DEVICES_MAX: u8 = 18;

/// End of the RAM below 4 GiB and start of the hole for devices.
pub const HOLE_START: u64 = 0xC000_0000;
/// End of the hole; RAM goes on here.
pub const HOLE_END: u64 = 1 << 32;

/// Registers of virtio-mmio device 0.
pub const VIRTIO_START: u32 = 0xD000_0000;
/// Bytes between the registers of two virtio-mmio devices.
pub const VIRTIO_SIZE: u32 = 0x1000;
/// Interrupt of virtio-mmio device 0.
pub const VIRTIO_GSI: u32 = 5;

/// Registers of KVM's I/O APIC.
pub const IOAPIC: u32 = 0xFEC0_0000;
/// Registers of each vCPU's local APIC.
pub const LAPIC: u32 = 0xFEE0_0000;
/// Argument of `KVM_SET_IDENTITY_MAP_ADDR`: one page.
pub const IDENTITY_MAP: u64 = 0xFFFB_C000;
/// Argument of `KVM_SET_TSS_ADDR`: three pages.
pub const TSS: u64 = 0xFFFB_D000;

/// Global descriptor table for the kernel's first instructions.
pub const GDT: u64 = 0x500;
/// PVH `hvm_start_info`; its module list and memory map follow in the same page.
pub const START_INFO: u64 = 0x6000;
/// Linux `boot_params`.
pub const ZERO_PAGE: u64 = 0x7000;
/// Linux `setup_data` list.
pub const SETUP_DATA: u64 = 0x8000;
/// PML4, PDPT and four page directories.
pub const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line with its terminating zero.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// Longest command line in bytes, without the terminating zero: Linux's `COMMAND_LINE_SIZE - 1`.
pub const COMMAND_LINE_MAX: usize = 2047;
/// End of the usable RAM below 1 MiB.
pub const LOW_RAM_END: u64 = 0x9_FC00;
/// The RSDP, on a 16-byte boundary in the area where kernels search for it; the tables follow.
pub const ACPI: u64 = 0xE_0000;
/// Where a kernel jumps in real mode, as F000:FFF0, that thinks a BIOS will reset the machine.
pub const RESET_VECTOR: u64 = 0xF_FFF0;
/// First address a kernel may be loaded at.
pub const HIGH_RAM: u64 = 0x10_0000;

/// I/O port of the sleep control register.
pub const SLEEP_CONTROL: u16 = 0x600;
/// I/O port of the sleep status register.
pub const SLEEP_STATUS: u16 = 0x601;
/// I/O port of the reset register.
pub const RESET_PORT: u16 = 0x602;
/// I/O port that ends the run with the exit code written to it.
pub const EXIT_PORT: u16 = 0x603;
/// `SLP_TYP` of S5, as `\_S5` announces it.
pub const S5: u8 = 5;
/// What a guest writes to [`SLEEP_CONTROL`] to power off: `SLP_TYP` in bits 2 to 4, `SLP_EN` in bit 5.
pub const POWER_OFF: u8 = S5 << 2 | 1 << 5;
/// What a guest writes to [`RESET_PORT`] to reset.
pub const RESET: u8 = 1;

/// A piece of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// First guest-physical address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Where it begins in the file.
    pub offset: u64,
}

/// The one or two pieces that `size` bytes of RAM ([`RAM_MIN`] to [`RAM_MAX`]) make up.
pub fn ram(size: u64) -> impl Iterator<Item = Ram> {
    let low = size.min(HOLE_START);
    let pieces = [
        Ram { start: 0, len: low, offset: 0 },
        Ram { start: HOLE_END, len: size - low, offset: low },
    ];
    pieces.into_iter().filter(|piece| piece.len > 0)
}

/// Registers of virtio-mmio device `n`.
pub fn virtio(n: u8) -> u32 {
    VIRTIO_START + u32::from(n) * VIRTIO_SIZE
}

/// Interrupt of virtio-mmio device `n`, an input of the I/O APIC.
pub fn gsi(n: u8) -> u32 {
    VIRTIO_GSI + u32::from(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_lies_on_both_sides_of_the_hole() {
        let gib = 1 << 30;
        for (size, pieces) in [
            (RAM_MIN, vec![(0, RAM_MIN, 0)]),
            (3 * gib, vec![(0, 3 * gib, 0)]),
            (3 * gib + 4096, vec![(0, 3 * gib, 0), (HOLE_END, 4096, 3 * gib)]),
            (RAM_MAX, vec![(0, 3 * gib, 0), (HOLE_END, 509 * gib, 3 * gib)]),
        ] {
            let found: Vec<_> = ram(size).map(|r| (r.start, r.len, r.offset)).collect();
            assert_eq!(found, pieces, "{size:#x}");
        }
    }

    #[test]
    fn devices_fit_the_hole_and_the_io_apic() {
        assert!(u64::from(virtio(0)) >= HOLE_START);
        assert!(virtio(DEVICES_MAX) <= IOAPIC);
        assert!(gsi(DEVICES_MAX - 1) < 24);
        assert_eq!(POWER_OFF, 0x34);
    }
}
