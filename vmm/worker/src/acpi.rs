//! The ACPI tables of a hardware-reduced machine with no PCI (ACPI 6.5, chapters 4.1 and 5.2).
//!
//! | table | says |
//! |---|---|
//! | RSDP, XSDT | where the others are |
//! | FADT | hardware-reduced; sleep and reset registers; no VGA, no MSI, no CMOS clock, no i8042 |
//! | MADT | one local APIC for each vCPU, APIC id = index; one I/O APIC from GSI 0; no 8259 |
//! | DSDT | `\_S5` and one `LNRO0005` device for each virtio-mmio device |
//!
//! Absent on purpose: a FACS (no firmware to wake into), interrupt source overrides (no ISA devices),
//! PCI (`MCFG`), timers (`HPET`, the PM timer). The time comes from kvmclock and the TSC deadline.

use acpi_tables::Aml;
use acpi_tables::aml::{Device, Interrupt, Memory32Fixed, Name, Package, ResourceTemplate, Scope};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

const OEM: [u8; 6] = *b"CASEMT";
const OEM_TABLE: [u8; 8] = *b"CASEMATE";
const OEM_REVISION: u32 = 1;

/// IA-PC boot architecture flags (table 5.11): VGA not present, MSI not supported, CMOS RTC not
/// present; the bits for legacy devices and the 8042 stay clear.
const BOOT_ARCH: u16 = 1 << 2 | 1 << 3 | 1 << 5;

/// Why the tables were not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No vCPU, or more than the address map has room for.
    #[error("{0} vCPUs: 1 to {max} are possible", max = layout::CPUS_MAX)]
    Cpus(u8),
    /// More devices than the address map has room for.
    #[error("{0} devices: at most {max} are possible", max = layout::DEVICES_MAX)]
    Devices(u8),
    /// The area for the tables is no RAM of this guest.
    #[error("cannot write the ACPI tables: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Writes the tables for `cpus` vCPUs and `devices` virtio-mmio devices and returns the address of the RSDP.
///
/// # Errors
/// See [`Error`].
pub fn write(mem: &GuestMemoryMmap<()>, cpus: u8, devices: u8) -> Result<GuestAddress, Error> {
    if cpus == 0 || cpus > layout::CPUS_MAX {
        return Err(Error::Cpus(cpus));
    }
    if devices > layout::DEVICES_MAX {
        return Err(Error::Devices(devices));
    }
    let rsdp = GuestAddress(layout::ACPI);
    let mut tables = Tables { mem, next: layout::ACPI + 64 };
    let dsdt = tables.append(&bytes(&Dsdt { devices }))?;
    let fadt = tables.append(&bytes(&fadt(dsdt)))?;
    let madt = tables.append(&bytes(&madt(cpus)))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = tables.append(&bytes(&xsdt))?;
    mem.write_slice(&bytes(&Rsdp::new(OEM, xsdt)), rsdp)?;
    Ok(rsdp)
}

/// Writes tables one after the other, each on a 64-byte boundary.
struct Tables<'a> {
    mem: &'a GuestMemoryMmap<()>,
    next: u64,
}

impl Tables<'_> {
    fn append(&mut self, table: &[u8]) -> Result<u64, GuestMemoryError> {
        let address = self.next;
        self.mem.write_slice(table, GuestAddress(address))?;
        self.next = (address + table.len() as u64).next_multiple_of(64);
        Ok(address)
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn register(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(port))
}

fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Wbinvd)
        // These two say that there is no such button in fixed hardware.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = register(layout::RESET_PORT);
    fadt.reset_value = layout::RESET;
    fadt.sleep_control_reg = register(layout::SLEEP_CONTROL);
    fadt.sleep_status_reg = register(layout::SLEEP_STATUS);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(OEM_TABLE).into();
    fadt.finalize()
}

fn madt(cpus: u8) -> MADT {
    let lapic = LocalInterruptController::Address(layout::LAPIC);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, lapic);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IOAPIC, 0));
    madt
}

struct Dsdt {
    devices: u8,
}

impl Aml for Dsdt {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let mut table = Sdt::new(*b"DSDT", 36, 6, OEM, OEM_TABLE, OEM_REVISION);
        table.append_slice(&bytes(&Name::new("_S5_".into(), &Package::new(vec![&layout::S5]))));
        let nodes: Vec<_> = (0..self.devices).map(|n| Virtio { n }).collect();
        let nodes = nodes.iter().map(|node| node as &dyn Aml).collect();
        table.append_slice(&bytes(&Scope::new("_SB_".into(), nodes)));
        sink.vec(table.as_slice());
    }
}

/// The node of one virtio-mmio device: an edge-triggered, active-high interrupt of its own, because
/// an irqfd without a resample eventfd can only raise edges.
struct Virtio {
    n: u8,
}

impl Aml for Virtio {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let registers = Memory32Fixed::new(true, layout::virtio(self.n), layout::VIRTIO_SIZE);
        let interrupt = Interrupt::new(true, true, false, false, layout::gsi(self.n));
        Device::new(
            format!("VR{:02}", self.n).as_str().into(),
            vec![
                &Name::new("_HID".into(), &"LNRO0005"),
                &Name::new("_UID".into(), &self.n),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&registers, &interrupt])),
            ],
        )
        .to_aml_bytes(sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cpus: u8, devices: u8) -> (GuestMemoryMmap<()>, GuestAddress) {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let rsdp = write(&mem, cpus, devices).unwrap();
        (mem, rsdp)
    }

    fn read(mem: &GuestMemoryMmap<()>, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        mem.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
        bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// A table of the given signature, its length and checksum verified.
    fn table(mem: &GuestMemoryMmap<()>, at: u64, signature: &[u8]) -> Vec<u8> {
        let len = number(&read(mem, at + 4, 4), 0, 4);
        assert!(at > layout::ACPI && at + len <= layout::HIGH_RAM);
        let table = read(mem, at, usize::try_from(len).unwrap());
        assert_eq!(&table[..4], signature);
        assert_eq!(sum(&table), 0, "checksum of {}", String::from_utf8_lossy(signature));
        table
    }

    /// FADT, MADT and DSDT, found the way a kernel finds them.
    fn tables(cpus: u8, devices: u8) -> [Vec<u8>; 3] {
        let (mem, rsdp) = machine(cpus, devices);
        let rsdp = read(&mem, rsdp.0, 36);
        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!((sum(&rsdp[..20]), sum(&rsdp), rsdp[15]), (0, 0, 2));
        let xsdt = table(&mem, number(&rsdp, 24, 8), b"XSDT");
        assert_eq!(xsdt.len(), 36 + 2 * 8);
        let fadt = table(&mem, number(&xsdt, 36, 8), b"FACP");
        let madt = table(&mem, number(&xsdt, 44, 8), b"APIC");
        let dsdt = table(&mem, number(&fadt, 140, 8), b"DSDT");
        [fadt, madt, dsdt]
    }

    #[test]
    fn the_rsdp_is_where_kernels_search() {
        let (_, rsdp) = machine(1, 0);
        assert!((0xE_0000..0x10_0000).contains(&rsdp.0) && rsdp.0 % 16 == 0);
    }

    #[test]
    fn fadt_offers_power_off_and_reset_and_no_legacy() {
        let [fadt, ..] = tables(1, 1);
        assert_eq!(fadt.len(), 276);
        let flags = number(&fadt, 112, 4);
        assert_ne!(flags & 1 << 20, 0, "HW_REDUCED_ACPI");
        assert_ne!(flags & 1 << 10, 0, "RESET_REG_SUP");
        assert_eq!(number(&fadt, 109, 2), 0x2C, "no VGA, no MSI, no CMOS clock");
        // Address space 1 is I/O; 8 bits from bit 0, byte access.
        for (at, port) in [(116, 0x602), (244, 0x600), (256, 0x601)] {
            assert_eq!(fadt[at..at + 4], [1, 8, 0, 1]);
            assert_eq!(number(&fadt, at + 4, 8), port);
        }
        assert_eq!(fadt[128], layout::RESET);
    }

    #[test]
    fn madt_names_every_cpu_and_one_io_apic() {
        for cpus in [1, 4, layout::CPUS_MAX] {
            let [_, madt, _] = tables(cpus, 0);
            assert_eq!(number(&madt, 36, 4), 0xFEE0_0000);
            assert_eq!(number(&madt, 40, 4), 0, "no 8259");
            let mut rest = &madt[44..];
            for cpu in 0..cpus {
                assert_eq!(rest[..8], [0, 8, cpu, cpu, 1, 0, 0, 0]);
                rest = &rest[8..];
            }
            assert_eq!(rest, [1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn dsdt_announces_the_devices_and_s5() {
        for devices in [0, 1, layout::DEVICES_MAX] {
            let [.., dsdt] = tables(1, devices);
            let at = |needle: &[u8]| dsdt.windows(needle.len()).filter(|w| *w == needle).count();
            // NameOp, name, PackageOp, PkgLength, one element, BytePrefix, 5
            assert_eq!(at(b"\x08_S5_\x12\x04\x01\x0A\x05"), 1);
            assert_eq!(at(b"\x08_HID\x0DLNRO0005\0"), usize::from(devices));
            for n in 0..devices {
                // Memory32Fixed (read-write), then an extended interrupt: consumer, edge, high, exclusive.
                let mut crs = vec![0x86, 9, 0, 1];
                crs.extend((0xD000_0000 + u32::from(n) * 0x1000).to_le_bytes());
                crs.extend(0x1000_u32.to_le_bytes());
                crs.extend([0x89, 6, 0, 0b0011, 1]);
                crs.extend((5 + u32::from(n)).to_le_bytes());
                assert_eq!(at(&crs), 1, "device {n} of {devices}");
            }
        }
    }

    #[test]
    fn impossible_machines_are_refused() {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        assert!(matches!(write(&mem, 0, 0), Err(Error::Cpus(0))));
        assert!(matches!(write(&mem, 33, 0), Err(Error::Cpus(33))));
        assert!(matches!(write(&mem, 1, 19), Err(Error::Devices(19))));
        let tiny = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        assert!(matches!(write(&tiny, 1, 0), Err(Error::Memory(_))));
    }
}
