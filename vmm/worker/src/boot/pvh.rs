//! What a PVH kernel is handed (xen/include/public/arch-x86/hvm/start_info.h), all in one page.
//!
//! | offset | what |
//! |---|---|
//! | 0x000 | `hvm_start_info`, version 1 |
//! | 0x040 | one `hvm_modlist_entry`, the initrd, if there is one |
//! | 0x080 | `hvm_memmap_table_entry`, one for each range of the memory map |

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress};

use super::Error;
use super::initrd::Initrd;
use super::memory::Memory;
use crate::layout;

const MODULES: u64 = layout::START_INFO + 0x40;
const MEMORY_MAP: u64 = layout::START_INFO + 0x80;

/// Writes the start info and returns its address.
pub fn write(
    memory: &Memory<'_>,
    initrd: Option<Initrd>,
    rsdp: GuestAddress,
) -> Result<GuestAddress, Error> {
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: rsdp.0,
        memmap_paddr: MEMORY_MAP,
        ..Default::default()
    };
    if let Some(Initrd { start, len }) = initrd {
        info.nr_modules = 1;
        info.modlist_paddr = MODULES;
        let module = hvm_modlist_entry { paddr: start, size: len, ..Default::default() };
        memory.mem.write_obj(module, GuestAddress(MODULES))?;
    }
    let mut at = MEMORY_MAP;
    for range in memory.map() {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.len,
            type_: range.kind,
            reserved: 0,
        };
        memory.mem.write_obj(entry, GuestAddress(at))?;
        at += size_of::<hvm_memmap_table_entry>() as u64;
        info.memmap_entries += 1;
    }
    memory.mem.write_obj(info, GuestAddress(layout::START_INFO))?;
    Ok(GuestAddress(layout::START_INFO))
}
