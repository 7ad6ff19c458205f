//! Puts a kernel, its initrd and what the boot protocol asks for into guest RAM, and says where to start.
//!
//! | image | told by | protocol | starts at |
//! |---|---|---|---|
//! | ELF with a PVH note | `\x7fELF`, Xen note 18 | PVH (xen/include/public/arch-x86/hvm/start_info.h) | the note's address, 32-bit |
//! | ELF | `\x7fELF` | Linux 64-bit (Documentation/arch/x86/boot.rst, "64-bit boot protocol") | `e_entry` |
//! | bzImage | `HdrS` at 0x202 | Linux 64-bit | 0x200 past the load address |
//!
//! The image is untrusted. Nothing of it is believed before it is checked against the length of the
//! file and the size of the RAM; a header is read once and what was checked is what is used; no loop
//! is longer than a constant, nothing is allocated by a size out of the file, and the bytes go from
//! the file straight into guest RAM. linux-loader gives the layouts; its loaders are not used, because
//! they check neither machine nor type nor memory sizes, and walk notes without a bound.
//!
//! Refused: other machines, 32-bit kernels, user-space programs, anything that loads below 1 MiB.
//! A PVH kernel gets no RNG seed: the protocol has no field for one.

mod bzimage;
#[cfg(test)]
mod damaged;
mod elf;
mod error;
#[cfg(test)]
mod images;
mod initrd;
mod memory;
mod pvh;
mod reset_vector;
mod source;
mod tables;
#[cfg(test)]
mod tests;
mod zero_page;

use std::fs::File;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub use self::error::{Error, Machine};
use self::memory::Memory;
use self::source::Source;
pub(crate) use self::tables::GDT;
use crate::layout;

/// How the first vCPU is to enter the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Long mode, RSI = zero page.
    Linux64,
    /// 32-bit protected mode without paging, EBX = start info.
    Pvh,
}

/// Where the first vCPU starts, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The state that the kernel expects.
    pub protocol: Protocol,
    /// First instruction.
    pub rip: GuestAddress,
    /// The zero page (Linux) or the start info (PVH).
    pub data: GuestAddress,
}

/// A kernel that lies in RAM.
struct Kernel {
    protocol: Protocol,
    entry: u64,
    /// First address past everything the kernel needs before it reads the memory map.
    end: u64,
    /// The setup header of a bzImage, the default one for an ELF file.
    header: zero_page::Header,
}

/// Loads `kernel` and `initrd` into `mem`, which must be zero so far, and writes the boot parameters.
///
/// `mem` is laid out by [`layout::ram`], `rsdp` is what [`crate::acpi::write`] returned, `seed` is fresh.
///
/// # Errors
/// [`Error`], whose text goes after the name of the file. Guest RAM is then in no defined state.
pub fn load(
    mem: &GuestMemoryMmap<()>,
    kernel: &mut File,
    initrd: Option<&mut File>,
    cmdline: &[u8],
    rsdp: GuestAddress,
    seed: &[u8; 64],
) -> Result<Entry, Error> {
    let memory = Memory::new(mem);
    let kernel = load_kernel(&memory, &mut Source::new(kernel, "kernel image")?)?;
    let initrd = initrd
        .map(|file| initrd::load(&memory, &mut Source::new(file, "initrd")?, &kernel))
        .transpose()?;
    write_cmdline(mem, cmdline, kernel.header.cmdline_max())?;
    reset_vector::write(mem)?;
    let data = match kernel.protocol {
        Protocol::Pvh => pvh::write(&memory, initrd, rsdp)?,
        Protocol::Linux64 => {
            tables::write(mem)?;
            zero_page::write(&memory, kernel.header, initrd, rsdp, seed)?
        }
    };
    Ok(Entry { protocol: kernel.protocol, rip: GuestAddress(kernel.entry), data })
}

/// Tells the format by content and loads it.
fn load_kernel(memory: &Memory<'_>, image: &mut Source<'_>) -> Result<Kernel, Error> {
    if image.len() == 0 {
        return Err(Error::Empty);
    }
    // No image is shorter than this, and all of the magic numbers lie within.
    let mut head = [0; 0x210];
    let known = head.len().min(usize::try_from(image.len()).unwrap_or(usize::MAX));
    image.read(0, &mut head[..known])?;
    if head.starts_with(b"\x7fELF") {
        elf::load(memory, image)
    } else if bzimage::is_one(&head) {
        bzimage::load(memory, image)
    } else {
        Err(match &head[56..60] {
            b"ARM\x64" => Error::Machine(Machine::AARCH64),
            b"RSC\x05" => Error::Machine(Machine::RISCV),
            _ => Error::NotAKernel,
        })
    }
}

fn write_cmdline(mem: &GuestMemoryMmap<()>, cmdline: &[u8], most: usize) -> Result<(), Error> {
    let most = most.min(layout::COMMAND_LINE_MAX);
    if cmdline.len() > most {
        return Err(Error::LongCommandLine { len: cmdline.len(), most });
    }
    if cmdline.contains(&0) {
        return Err(Error::ZeroInCommandLine);
    }
    let at = GuestAddress(layout::COMMAND_LINE);
    mem.write_slice(cmdline, at)?;
    mem.write_obj(0_u8, GuestAddress(at.0 + cmdline.len() as u64))?;
    Ok(())
}
