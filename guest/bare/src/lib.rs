//! Bare-metal test guests: a program of a few operations becomes an ELF kernel image that `casemate boot` runs.
//!
//! The image is an interpreter and the encoded program behind it. It starts at the 64-bit entry of the Linux
//! boot protocol (Documentation/arch/x86/boot.rst), uses general registers only, no stack and no interrupts,
//! and keeps to instructions that KVM's emulator knows, so it also runs on hosts without hardware
//! virtualization. One vCPU runs it; the others wait for a SIPI that never comes.
//!
//! | guest-physical | what |
//! |---|---|
//! | below [`IMAGE`] | what the loader wrote: zero page, command line, page tables, ACPI tables |
//! | [`IMAGE`] | the interpreter and the program, which may be some 3 MiB long |
//! | [`FREE`] to the end of RAM | the program's own, zero at the start |
//!
//! The first 4 GiB are mapped to themselves; an address past them is a triple fault.

mod encode;
mod interpreter;
pub mod interrupt;
pub mod virtio;

use interpreter::interpreter;

/// Where the image is loaded and entered.
pub const IMAGE: u64 = 0x10_0000;
/// First address that neither loader nor image uses.
pub const FREE: u64 = 0x40_0000;
/// I/O port that ends the run with the byte written to it.
pub const EXIT_PORT: u16 = 0x603;

/// How many bytes one access reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Long,
    /// Eight bytes; on an I/O port, which has no such access, four.
    Quad,
}

/// One operation. A failed one ends the run with its `code`, as [`Op::Exit`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes `value`, cut to `width`.
    Write {
        /// Size of the access.
        width: Width,
        /// Guest-physical address.
        addr: u64,
        /// What is written.
        value: u64,
    },
    /// Copies bytes to RAM.
    Bytes {
        /// Guest-physical address of the first.
        addr: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Reads once and fails unless `value` is under `mask`.
    Expect {
        /// Size of the access.
        width: Width,
        /// Guest-physical address.
        addr: u64,
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
        /// Exit code of a failure.
        code: u8,
    },
    /// Reads until `value` is under `mask` and fails after `bound` reads.
    Poll {
        /// Size of the access.
        width: Width,
        /// Guest-physical address.
        addr: u64,
        /// Bits that count.
        mask: u64,
        /// What they must become.
        value: u64,
        /// Most reads.
        bound: u64,
        /// Exit code of a failure.
        code: u8,
    },
    /// Reads from one address and writes to another.
    Copy {
        /// Size of both accesses.
        width: Width,
        /// Where it is read.
        from: u64,
        /// Where it is written.
        to: u64,
    },
    /// Reads, adds `value` and writes back; wraps around.
    Add {
        /// Size of both accesses.
        width: Width,
        /// Guest-physical address.
        addr: u64,
        /// What is added.
        value: u64,
    },
    /// Reads two addresses until they agree and fails after `bound` reads of each.
    Same {
        /// Size of the accesses.
        width: Width,
        /// One address.
        a: u64,
        /// The other.
        b: u64,
        /// Most reads of each.
        bound: u64,
        /// Exit code of a failure.
        code: u8,
    },
    /// Reads two addresses until they agree, at most `bound` times each, and goes on either way.
    Await {
        /// Size of the accesses.
        width: Width,
        /// One address.
        a: u64,
        /// The other.
        b: u64,
        /// Most reads of each.
        bound: u64,
    },
    /// Writes to an I/O port.
    Out {
        /// Size of the access.
        width: Width,
        /// The port.
        port: u16,
        /// What is written.
        value: u32,
    },
    /// Reads an I/O port once and fails unless `value` is under `mask`.
    In {
        /// Size of the access.
        width: Width,
        /// The port.
        port: u16,
        /// Bits that count.
        mask: u32,
        /// What they must be.
        value: u32,
        /// Exit code of a failure.
        code: u8,
    },
    /// Runs `ops` `count` times. May be nested.
    Repeat {
        /// How often; not at all if zero.
        count: u64,
        /// What.
        ops: Vec<Op>,
    },
    /// Ends the run with this code.
    Exit(u8),
    /// Stops the vCPU for good with interrupts off.
    Halt,
    /// Keeps the vCPU busy for good.
    Spin,
    /// Ends in a triple fault.
    Crash,
}

/// An ELF64 kernel image that runs `program` and, if it comes to its end, exits with code 0.
pub fn elf(program: &[Op]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let mut code = interpreter().to_vec();
    encode::program(program, &mut code);
    let len = code.len() as u64;

    let mut image = Vec::new();
    // Magic, 64-bit, little-endian, version 1; ET_EXEC, EM_X86_64, version 1.
    image.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    image.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry, program headers, no section headers.
    for word in [IMAGE, 64, 0] {
        image.extend(word.to_le_bytes());
    }
    // Flags; sizes of the headers, one program header.
    image.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable, writable and executable: the interpreter counts loops in the program.
    image.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for word in [HEADERS, IMAGE, IMAGE, len, len, 8] {
        image.extend(word.to_le_bytes());
    }
    image.extend(code);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(image: &[u8], at: usize, len: usize) -> u64 {
        image[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    #[test]
    fn the_image_is_one_segment_entered_at_its_start() {
        let image = elf(&[Op::Exit(7)]);
        assert_eq!(&image[..4], b"\x7fELF");
        assert_eq!(number(&image, 24, 8), IMAGE, "entry");
        assert_eq!((number(&image, 32, 8), number(&image, 56, 2)), (64, 1), "program headers");
        let [offset, vaddr, paddr, filesz, memsz] =
            [72, 80, 88, 96, 104].map(|at| number(&image, at, 8));
        assert_eq!((vaddr, paddr), (IMAGE, IMAGE));
        assert_eq!((offset + filesz, filesz), (image.len() as u64, memsz));
        // The program is what follows the interpreter: exit 7, then the exit at its end.
        let tail = &image[120 + interpreter().len()..];
        assert_eq!(tail.len(), 4 * 8);
        assert_eq!((number(tail, 8, 8), number(tail, 24, 8)), (7, 0));
    }
}
