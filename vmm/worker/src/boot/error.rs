//! Why a kernel was not loaded, one line each: the text follows the name of the file.

use std::fmt;
use std::io;

use linux_loader::elf;
use vm_memory::GuestMemoryError;

/// Why a kernel was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel image has no bytes.
    #[error("an empty file")]
    Empty,
    /// No magic number of a kernel image.
    #[error("not a kernel image: neither an ELF file nor a bzImage")]
    NotAKernel,
    /// A kernel image or a program of another architecture.
    #[error("an ELF file or kernel image for another machine ({0})")]
    Machine(Machine),
    /// An ELF file with an interpreter, or of a type that is not loaded to fixed addresses.
    #[error("an ELF file that is no kernel: {0}")]
    NoKernel(&'static str),
    /// A bzImage that can only be entered in real or 32-bit mode.
    #[error(
        "a bzImage without a 64-bit entry point: a kernel with CONFIG_X86_64, 3.8 or later, is needed"
    )]
    No64BitEntry,
    /// The file ends before what its header announces.
    #[error("truncated {what}: {len} bytes, {part} ends at {end}")]
    Truncated {
        /// "kernel image" or "initrd".
        what: &'static str,
        /// What is not all there.
        part: &'static str,
        /// Length of the file in bytes.
        len: u64,
        /// Where the part would end.
        end: u64,
    },
    /// A header contradicts itself.
    #[error("malformed kernel image: {0}")]
    Malformed(&'static str),
    /// No RAM size puts memory where the kernel wants to be.
    #[error("kernel loads to {start:#x}..{end:#x}, where no guest has RAM for it")]
    NoRamThere {
        /// First address.
        start: u64,
        /// First address past it.
        end: u64,
    },
    /// The RAM ends before the kernel does.
    #[error("kernel needs {need} MiB of RAM, the guest has {have} MiB: give --mem {need}M or more")]
    KernelRam {
        /// MiB that are enough.
        need: u64,
        /// MiB there are.
        have: u64,
    },
    /// The RAM ends before the initrd does.
    #[error(
        "kernel and initrd need {need} MiB of RAM, the guest has {have} MiB: give --mem {need}M or more"
    )]
    InitrdRam {
        /// MiB that are enough.
        need: u64,
        /// MiB there are.
        have: u64,
    },
    /// The kernel cannot be handed an initrd of that size.
    #[error("initrd of {len} MiB: this kernel has {room} MiB of address space for it")]
    LargeInitrd {
        /// Its size in MiB.
        len: u64,
        /// MiB between the end of the kernel and the highest address it allows.
        room: u64,
    },
    /// The initrd has no bytes.
    #[error("initrd is an empty file")]
    EmptyInitrd,
    /// The command line does not fit what the kernel reserves for it.
    #[error("kernel command line of {len} bytes: this kernel takes at most {most}")]
    LongCommandLine {
        /// Its length in bytes.
        len: usize,
        /// What the kernel takes.
        most: usize,
    },
    /// The command line would end early.
    #[error("kernel command line contains a zero byte")]
    ZeroInCommandLine,
    /// A file could not be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// "kernel image" or "initrd".
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Guest RAM lacks what the address map promises.
    #[error("cannot write to guest RAM: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// The architecture an ELF header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine(pub u16);

impl Machine {
    pub(super) const AARCH64: Self = Self(elf::EM_AARCH64);
    pub(super) const RISCV: Self = Self(elf::EM_RISCV);
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            elf::EM_386 => "i386",
            elf::EM_MIPS => "mips",
            elf::EM_PPC => "powerpc",
            elf::EM_PPC64 => "powerpc64",
            elf::EM_S390 => "s390",
            elf::EM_ARM => "arm",
            elf::EM_X86_64 => "x86_64 with 32-bit addresses",
            elf::EM_AARCH64 => "aarch64",
            elf::EM_RISCV => "riscv",
            elf::EM_LOONGARCH => "loongarch",
            other => return write!(f, "ELF machine {other}"),
        })
    }
}
