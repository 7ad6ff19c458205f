//! The zero page (`struct boot_params`) and the setup header in it (Documentation/arch/x86/zero-page.rst
//! and boot.rst), with the RNG seed as `setup_data`.
//!
//! | written | offset | value |
//! |---|---|---|
//! | acpi_rsdp_addr | 0x070 | the RSDP |
//! | e820_entries, e820_table | 0x1E8, 0x2D0 | the memory map |
//! | setup header | 0x1F1 | the bzImage's own, or the default one for an ELF kernel |
//! | type_of_loader | 0x210 | 0xFF, "other" |
//! | ramdisk_image, ramdisk_size | 0x218, 0x21C | the initrd |
//! | cmd_line_ptr | 0x228 | the command line |
//! | setup_data | 0x250 | one `SETUP_RNG_SEED` node (kernels from 6.0; older ones skip it) |

use std::mem::offset_of;

use linux_loader::bootparam::{LOADED_HIGH, SETUP_RNG_SEED, boot_e820_entry, boot_params};
use vm_memory::{Bytes, GuestAddress};

use super::Error;
use super::initrd::Initrd;
use super::memory::Memory;
use super::source::Source;
use crate::layout;

/// Where the setup header starts, in the zero page and in a bzImage alike.
const START: usize = offset_of!(boot_params, hdr);
/// Where the next part of the zero page starts: no header reaches farther.
const END: usize = offset_of!(boot_params, edd_mbr_sig_buffer);
/// The header ends this many bytes past the byte at 0x201, the operand of the jump over it.
const JUMP: usize = 0x202;

/// A field of the setup header.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    SetupSects,
    Syssize,
    BootFlag,
    Magic,
    Version,
    TypeOfLoader,
    Loadflags,
    Code32Start,
    RamdiskImage,
    RamdiskSize,
    CmdLinePtr,
    InitrdAddrMax,
    KernelAlignment,
    RelocatableKernel,
    Xloadflags,
    CmdlineSize,
    SetupData,
    PrefAddress,
    InitSize,
}

impl Field {
    /// Offset in the zero page, size in bytes.
    const fn place(self) -> (usize, usize) {
        match self {
            Self::SetupSects => (offset_of!(boot_params, hdr.setup_sects), 1),
            Self::Syssize => (offset_of!(boot_params, hdr.syssize), 4),
            Self::BootFlag => (offset_of!(boot_params, hdr.boot_flag), 2),
            Self::Magic => (offset_of!(boot_params, hdr.header), 4),
            Self::Version => (offset_of!(boot_params, hdr.version), 2),
            Self::TypeOfLoader => (offset_of!(boot_params, hdr.type_of_loader), 1),
            Self::Loadflags => (offset_of!(boot_params, hdr.loadflags), 1),
            Self::Code32Start => (offset_of!(boot_params, hdr.code32_start), 4),
            Self::RamdiskImage => (offset_of!(boot_params, hdr.ramdisk_image), 4),
            Self::RamdiskSize => (offset_of!(boot_params, hdr.ramdisk_size), 4),
            Self::CmdLinePtr => (offset_of!(boot_params, hdr.cmd_line_ptr), 4),
            Self::InitrdAddrMax => (offset_of!(boot_params, hdr.initrd_addr_max), 4),
            Self::KernelAlignment => (offset_of!(boot_params, hdr.kernel_alignment), 4),
            Self::RelocatableKernel => (offset_of!(boot_params, hdr.relocatable_kernel), 1),
            Self::Xloadflags => (offset_of!(boot_params, hdr.xloadflags), 2),
            Self::CmdlineSize => (offset_of!(boot_params, hdr.cmdline_size), 4),
            Self::SetupData => (offset_of!(boot_params, hdr.setup_data), 8),
            Self::PrefAddress => (offset_of!(boot_params, hdr.pref_address), 8),
            Self::InitSize => (offset_of!(boot_params, hdr.init_size), 4),
        }
    }
}

/// A zero page of which only the setup header is filled in.
pub struct Header([u8; 4096]);

impl Default for Header {
    /// What an ELF kernel, which has no header of its own, gets and allows.
    fn default() -> Self {
        let mut header = Self([0; 4096]);
        header.set(Field::BootFlag, 0xAA55);
        header.set(Field::Magic, u64::from(u32::from_le_bytes(*b"HdrS")));
        header.set(Field::Version, 0x020C);
        header.set(Field::Loadflags, u64::from(LOADED_HIGH));
        header.set(Field::KernelAlignment, 0x100_0000);
        header.set(Field::InitrdAddrMax, 0x7FFF_FFFF);
        header.set(Field::CmdlineSize, layout::COMMAND_LINE_MAX as u64);
        header
    }
}

impl Header {
    /// The header of a bzImage.
    pub fn of_bzimage(image: &Source<'_>) -> Result<Self, Error> {
        let mut page = [0; 4096];
        let part = "its setup header";
        image.check(0, JUMP as u64, part)?;
        image.read(0, &mut page[..JUMP])?;
        let end = END.min(JUMP + usize::from(page[JUMP - 1]));
        image.check(0, end as u64, part)?;
        page = [0; 4096];
        image.read(START as u64, &mut page[START..end])?;
        Ok(Self(page))
    }

    /// Value of a little-endian field.
    pub fn get(&self, field: Field) -> u64 {
        let (at, size) = field.place();
        self.0[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn set(&mut self, field: Field, value: u64) {
        let (at, size) = field.place();
        self.0[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// Longest command line in bytes.
    pub fn cmdline_max(&self) -> usize {
        usize::try_from(self.get(Field::CmdlineSize)).unwrap_or(usize::MAX)
    }
}

/// Writes the zero page and the seed, and returns the address of the zero page.
pub fn write(
    memory: &Memory<'_>,
    mut header: Header,
    initrd: Option<Initrd>,
    rsdp: GuestAddress,
    seed: &[u8; 64],
) -> Result<GuestAddress, Error> {
    header.set(Field::TypeOfLoader, 0xFF);
    header.set(Field::CmdLinePtr, layout::COMMAND_LINE);
    header.set(Field::SetupData, layout::SETUP_DATA);
    if let Some(Initrd { start, len }) = initrd {
        header.set(Field::RamdiskImage, start);
        header.set(Field::RamdiskSize, len);
    }
    let Header(mut page) = header;
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset_of!(boot_params, acpi_rsdp_addr), &rsdp.0.to_le_bytes());
    let mut entries = 0_u8;
    for range in memory.map() {
        let at = offset_of!(boot_params, e820_table)
            + usize::from(entries) * size_of::<boot_e820_entry>();
        put(at, &range.start.to_le_bytes());
        put(at + 8, &range.len.to_le_bytes());
        put(at + 16, &range.kind.to_le_bytes());
        entries += 1;
    }
    put(offset_of!(boot_params, e820_entries), &[entries]);
    memory.mem.write_slice(&page, GuestAddress(layout::ZERO_PAGE))?;
    write_seed(memory, seed)?;
    Ok(GuestAddress(layout::ZERO_PAGE))
}

/// `struct setup_data`: no next node, type, length, the bytes. Linux wipes them when it has used them.
fn write_seed(memory: &Memory<'_>, seed: &[u8; 64]) -> Result<(), Error> {
    let mut node = [0; 16 + 64];
    node[8..12].copy_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    node[12..16].copy_from_slice(&64_u32.to_le_bytes());
    node[16..].copy_from_slice(seed);
    memory.mem.write_slice(&node, GuestAddress(layout::SETUP_DATA))?;
    Ok(())
}
