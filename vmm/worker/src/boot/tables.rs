//! The descriptor and page tables that a 64-bit kernel starts with (boot.rst, "64-bit boot protocol").
//!
//! | table | content |
//! |---|---|
//! | GDT | null, unused, 0x10 = flat 64-bit code, 0x18 = flat data |
//! | PML4, PDPT | one and four entries |
//! | four page directories | 2048 large pages of 2 MiB: the first 4 GiB at their own addresses |
//!
//! Six pages of 4 KiB. The devices and the APICs are mapped too; Linux replaces the tables before it looks at them.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

/// Descriptors for selectors 0, 8, 0x10 and 0x18: limit 4 GiB, base 0; code is long-mode, both are accessed.
pub const GDT: [u64; 4] = [0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];

const PAGE: u64 = 4096;
const LARGE_PAGE: u64 = 2 << 20;
const GIBS: u64 = 4;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;

pub fn write(mem: &GuestMemoryMmap<()>) -> Result<(), GuestMemoryError> {
    for (at, descriptor) in (layout::GDT..).step_by(8).zip(GDT) {
        mem.write_obj(descriptor, GuestAddress(at))?;
    }
    let [pml4, pdpt, directories] = [0, 1, 2].map(|n| layout::PAGE_TABLES + n * PAGE);
    mem.write_obj(pdpt | PRESENT_WRITABLE, GuestAddress(pml4))?;
    for gib in 0..GIBS {
        let directory = (directories + gib * PAGE) | PRESENT_WRITABLE;
        mem.write_obj(directory, GuestAddress(pdpt + gib * 8))?;
    }
    for page in 0..GIBS * 512 {
        let entry = (page * LARGE_PAGE) | PRESENT_WRITABLE | LARGE;
        mem.write_obj(entry, GuestAddress(directories + page * 8))?;
    }
    Ok(())
}
