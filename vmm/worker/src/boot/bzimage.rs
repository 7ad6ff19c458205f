//! bzImage kernels with a 64-bit entry (Documentation/arch/x86/boot.rst).
//!
//! | field | offset | use |
//! |---|---|---|
//! | setup_sects, syssize | 0x1F1, 0x1F4 | where the protected-mode code lies in the file |
//! | boot_flag, header | 0x1FE, 0x202 | magic numbers |
//! | version, xloadflags | 0x206, 0x236 | 2.12 and XLF_KERNEL_64: the entry is 0x200 past the start |
//! | relocatable_kernel, pref_address, code32_start | 0x234, 0x258, 0x214 | where it is loaded |
//! | kernel_alignment, init_size | 0x230, 0x260 | how much RAM it needs while it unpacks itself |
//! | initrd_addr_max, cmdline_size | 0x22C, 0x238 | limits for what it is given |
//!
//! A relocatable kernel goes to its preferred address, where it needs the least memory; it moves itself
//! from there if it likes (KASLR). Signatures after the code are not loaded. Refused: zImage, kernels
//! before 2.12, kernels without the 64-bit entry.

use linux_loader::bootparam::{LOADED_HIGH, XLF_KERNEL_64};

use super::memory::Memory;
use super::source::Source;
use super::zero_page::{Field, Header};
use super::{Error, Kernel, Protocol};

/// First version with xloadflags.
const VERSION: u64 = 0x020C;
const ENTRY_64: u64 = 0x200;

/// Whether the start of a file has the magic numbers of a bzImage.
pub fn is_one(head: &[u8; 0x210]) -> bool {
    head[0x1FE..0x200] == [0x55, 0xAA] && &head[0x202..0x206] == b"HdrS"
}

pub fn load(memory: &Memory<'_>, image: &mut Source<'_>) -> Result<Kernel, Error> {
    let header = Header::of_bzimage(image)?;
    let field = |field| header.get(field);
    if field(Field::Version) < VERSION
        || field(Field::Loadflags) & u64::from(LOADED_HIGH) == 0
        || field(Field::Xloadflags) & u64::from(XLF_KERNEL_64) == 0
    {
        return Err(Error::No64BitEntry);
    }
    // The boot sector, then the setup code: four sectors where an old kernel says zero.
    let sectors = match field(Field::SetupSects) {
        0 => 4,
        sectors => sectors,
    };
    let code = (sectors + 1) * 512;
    let len = field(Field::Syssize) * 16;
    image.check(code, len, "its protected-mode code")?;
    if len <= ENTRY_64 {
        return Err(Error::Malformed("no code at its 64-bit entry point"));
    }

    let relocatable = field(Field::RelocatableKernel) != 0;
    let preferred = field(Field::PrefAddress);
    let start = if relocatable { preferred } else { field(Field::Code32Start) };
    let alignment = match field(Field::KernelAlignment) {
        align if relocatable && align.is_power_of_two() => align,
        _ if relocatable => return Err(Error::Malformed("an alignment that is no power of two")),
        _ => 1,
    };
    // Where it unpacks itself to, which is never below its preferred address.
    let runs = start.max(preferred).checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let unpacked = runs.saturating_add(field(Field::InitSize));
    let end = unpacked.max(start.saturating_add(len));
    memory.check_kernel(start, end)?;
    image.copy(code, len, memory.mem, start)?;
    Ok(Kernel { protocol: Protocol::Linux64, entry: start + ENTRY_64, end, header })
}
