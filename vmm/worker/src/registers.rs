//! The registers the first vCPU starts with, as functions from values to values.
//!
//! | | Linux 64-bit (boot.rst) | PVH (start_info.h) |
//! |---|---|---|
//! | CR0 | PE, MP, ET, NE, WP, AM, PG | PE, ET |
//! | CR3, CR4, EFER | page tables, PAE, LME and LMA | 0, 0, 0 |
//! | CS | 0x10, 64-bit | 0x10, flat 32-bit |
//! | DS, ES, SS (FS, GS) | 0x18, flat | 0x18, flat |
//! | TR | 32-bit TSS, busy, base 0, limit 0x67 | the same |
//! | RSI / EBX | zero page | start info |
//! | RFLAGS | no interrupts | no interrupts |
//! | RSP, IDT | 0: a kernel brings its own | 0 |
//!
//! The other vCPUs keep KVM's reset state and wait for INIT and SIPI. The FPU's and the local APIC's reset state
//! suits both protocols, so nobody sets them.

use kvm_bindings::{kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};

use crate::boot::{Entry, GDT, Protocol};
use crate::layout;

/// The bit of RFLAGS that is always one.
const RFLAGS: u64 = 1 << 1;

const CR0_PROTECTED: u64 = 1 << 0 | 1 << 4;
const CR0_LONG: u64 = CR0_PROTECTED | 1 << 1 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LONG: u64 = 1 << 8 | 1 << 10;

/// Code and data segment types: executable and readable, writable; both accessed. A busy 32-bit TSS.
const CODE: u8 = 0b1011;
const DATA: u8 = 0b0011;
const BUSY_TSS: u8 = 0b1011;

const MSR_IA32_MISC_ENABLE: u32 = 0x1A0;
const MSR_MTRR_DEF_TYPE: u32 = 0x2FF;

/// The registers of the first vCPU, `sregs` being what KVM gave it at reset.
pub fn boot(entry: &Entry, sregs: kvm_sregs) -> (kvm_regs, kvm_sregs) {
    let long = entry.protocol == Protocol::Linux64;
    let data = segment(0x18, DATA, false);
    let base = kvm_sregs {
        cs: segment(0x10, CODE, long),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: kvm_segment { limit: 0x67, type_: BUSY_TSS, present: 1, ..Default::default() },
        idt: kvm_dtable::default(),
        cr3: 0,
        cr4: 0,
        efer: 0,
        ..sregs
    };
    let regs = kvm_regs { rip: entry.rip.0, rflags: RFLAGS, ..Default::default() };
    match entry.protocol {
        Protocol::Linux64 => {
            // At most 32 bytes.
            let limit = u16::try_from(size_of_val(&GDT) - 1).unwrap_or(0);
            let gdt = kvm_dtable { base: layout::GDT, limit, ..Default::default() };
            let long = kvm_sregs {
                gdt,
                cr0: CR0_LONG,
                cr3: layout::PAGE_TABLES,
                cr4: CR4_PAE,
                efer: EFER_LONG,
                ..base
            };
            (kvm_regs { rsi: entry.data.0, ..regs }, long)
        }
        Protocol::Pvh => {
            let protected = kvm_sregs { gdt: kvm_dtable::default(), cr0: CR0_PROTECTED, ..base };
            (kvm_regs { rbx: entry.data.0, ..regs }, protected)
        }
    }
}

/// A flat segment; the code segment is either 64-bit or 32-bit, the data segment always 32-bit.
fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        selector,
        type_,
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        l: u8::from(long),
        db: u8::from(!long),
        ..Default::default()
    }
}

/// The MSRs that every vCPU, the first or not, needs set before it runs.
///
/// KVM's reset values suit Linux but for two. It takes IA32_MISC_ENABLE's fast-string bit as the word on
/// `rep movsb` (Intel), and without an enabled MTRR it also gives up on the PAT. Both are 0 after KVM's reset.
/// The two read-only bits beside the first say that neither BTS nor PEBS is there, as CPUID does.
pub fn msrs() -> [kvm_msr_entry; 2] {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    [
        entry(MSR_IA32_MISC_ENABLE, 1 << 0 | 1 << 11 | 1 << 12),
        // Enabled, write-back by default.
        entry(MSR_MTRR_DEF_TYPE, 1 << 11 | 6),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddress;

    fn start(protocol: Protocol) -> (kvm_regs, kvm_sregs) {
        let entry = Entry { protocol, rip: GuestAddress(0x20_0200), data: GuestAddress(0x7000) };
        // What KVM gives at reset: caches off, the APIC on.
        let reset = kvm_sregs { cr0: 0x6000_0010, apic_base: 0xFEE0_0900, ..Default::default() };
        boot(&entry, reset)
    }

    #[test]
    fn linux_starts_in_long_mode_with_the_zero_page() {
        let (regs, sregs) = start(Protocol::Linux64);
        assert_eq!((regs.rip, regs.rsi, regs.rbx, regs.rflags), (0x20_0200, 0x7000, 0, 2));
        assert_eq!((sregs.cr0, sregs.cr4, sregs.efer), (0x8005_0033, 0x20, 0x500));
        assert_eq!((sregs.cr3, sregs.gdt.base, sregs.gdt.limit), (layout::PAGE_TABLES, 0x500, 31));
        assert_eq!((sregs.cs.selector, sregs.cs.l, sregs.cs.db), (0x10, 1, 0));
        assert_eq!((sregs.ds.selector, sregs.ss.limit, sregs.tr.type_), (0x18, u32::MAX, 11));
        assert_eq!(sregs.apic_base, 0xFEE0_0900);
    }

    #[test]
    fn pvh_starts_in_protected_mode_with_the_start_info() {
        let (regs, sregs) = start(Protocol::Pvh);
        assert_eq!((regs.rip, regs.rsi, regs.rbx, regs.rflags), (0x20_0200, 0, 0x7000, 2));
        assert_eq!((sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer), (0x11, 0, 0, 0));
        assert_eq!((sregs.cs.l, sregs.cs.db, sregs.cs.limit, sregs.cs.g), (0, 1, u32::MAX, 1));
        assert_eq!((sregs.tr.limit, sregs.tr.present, sregs.tr.s), (0x67, 1, 0));
    }

    /// The cached parts of the segment registers are what a kernel gets that loads them from the table.
    #[test]
    fn segments_agree_with_the_descriptor_table() {
        let (_, sregs) = start(Protocol::Linux64);
        for segment in [sregs.cs, sregs.ds] {
            let descriptor = GDT[usize::from(segment.selector / 8)];
            let bits = |at: u32, len: u32| descriptor >> at & ((1 << len) - 1);
            assert_eq!(bits(40, 4), u64::from(segment.type_));
            let flags = [(44, segment.s), (47, segment.present), (53, segment.l), (54, segment.db)];
            for (at, flag) in flags {
                assert_eq!(bits(at, 1), u64::from(flag), "bit {at}");
            }
        }
    }
}
