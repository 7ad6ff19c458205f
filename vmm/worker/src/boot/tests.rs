//! What the loader promises, a row a promise, on synthetic images.

use super::images::*;
use super::*;

pub const MIB: usize = 1 << 20;
pub const SEED: [u8; 64] = [0x5A; 64];
pub const RSDP: GuestAddress = GuestAddress(layout::ACPI);

/// RAM of one region at 0, or of two around the hole.
pub fn ram(low: usize, high: usize) -> GuestMemoryMmap<()> {
    let ranges = [(GuestAddress(0), low), (GuestAddress(layout::HOLE_END), high)];
    GuestMemoryMmap::from_ranges(&ranges[..if high > 0 { 2 } else { 1 }]).unwrap()
}

pub fn load_bytes(mem: &GuestMemoryMmap<()>, kernel: &[u8]) -> Result<Entry, Error> {
    load(mem, &mut file(kernel), None, b"console=hvc0", RSDP, &SEED)
}

fn bytes<const N: usize>(mem: &GuestMemoryMmap<()>, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    mem.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn number<T: vm_memory::ByteValued>(mem: &GuestMemoryMmap<()>, at: u64) -> T {
    mem.read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn an_elf_kernel_starts_at_its_entry_in_long_mode() {
    let mem = ram(8 * MIB, 0);
    let entry = load_bytes(&mem, &elf()).unwrap();
    assert_eq!((entry.protocol, entry.rip.0, entry.data.0), (Protocol::Linux64, 0x10_0010, 0x7000));
    assert_eq!(bytes::<0x10>(&mem, 0x10_01F8)[..], [[0xAB; 8], [0; 8]].concat());
    assert_eq!(bytes::<0x10>(&mem, 0x20_00F8)[..], [[0xAB; 8], [0; 8]].concat());
}

#[test]
fn a_pvh_note_wins_over_the_entry() {
    let mem = ram(8 * MIB, 4 * MIB);
    let mut initrd = file(b"cpio");
    let (kernel, initrd) = (&mut file(&elf_pvh()), Some(&mut initrd));
    let entry = load(&mem, kernel, initrd, b"quiet", RSDP, &SEED).unwrap();
    assert_eq!((entry.protocol, entry.rip.0), (Protocol::Pvh, 0x10_0020));
    let info = entry.data.0;
    assert_eq!(number::<u32>(&mem, info), 0x336E_C578);
    assert_eq!([4, 8, 12].map(|at| number::<u32>(&mem, info + at)), [1, 0, 1], "version, modules");
    let [modules, cmdline, rsdp, map] = [16, 24, 32, 40].map(|at| number::<u64>(&mem, info + at));
    assert_eq!(&bytes::<6>(&mem, cmdline), b"quiet\0");
    assert_eq!(rsdp, RSDP.0);
    assert_eq!(&bytes::<4>(&mem, number(&mem, modules)), b"cpio");
    assert_eq!(number::<u64>(&mem, modules + 8), 4);
    let ranges: Vec<_> = (0..u64::from(number::<u32>(&mem, info + 48)))
        .map(|n| map + n * 24)
        .map(|at| {
            (number::<u64>(&mem, at), number::<u64>(&mem, at + 8), number::<u32>(&mem, at + 16))
        })
        .collect();
    assert_eq!(ranges, memory_map(8 << 20, 4 << 20));
}

/// The map of a guest with `low` and `high` bytes of RAM on the two sides of the hole.
fn memory_map(low: u64, high: u64) -> Vec<(u64, u64, u32)> {
    vec![
        (0, 0x9_FC00, 1),
        (0x9_FC00, 0x6_0400, 2),
        (0x10_0000, low - 0x10_0000, 1),
        (1 << 32, high, 1),
    ]
}

#[test]
fn a_bzimage_gets_a_zero_page() {
    let mem = ram(8 * MIB, 4 * MIB);
    let mut initrd = file(&[0x11; 5000]);
    let (kernel, initrd) = (&mut file(&bzimage()), Some(&mut initrd));
    let entry = load(&mem, kernel, initrd, b"a=b", RSDP, &SEED).unwrap();
    assert_eq!((entry.protocol, entry.rip.0), (Protocol::Linux64, 0x20_0200));
    assert_eq!(bytes::<0x1000>(&mem, 0x20_0000), [0xCD; 0x1000]);
    let page = entry.data.0;
    let word = |at| number::<u32>(&mem, page + at);
    assert_eq!(&bytes::<4>(&mem, page + 0x202), b"HdrS", "the setup header is the kernel's");
    assert_eq!(word(0x260), 0x10_0000);
    assert_eq!(bytes::<1>(&mem, page + 0x210), [0xFF]);
    assert_eq!(&bytes::<4>(&mem, u64::from(word(0x228))), b"a=b\0");
    assert_eq!((word(0x218), word(0x21C)), (8 * 0x10_0000 - 0x2000, 5000));
    assert_eq!(bytes::<5000>(&mem, u64::from(word(0x218))), [0x11; 5000]);
    assert_eq!(number::<u64>(&mem, page + 0x70), RSDP.0);
    let ranges: Vec<_> = (0..u64::from(bytes::<1>(&mem, page + 0x1E8)[0]))
        .map(|n| page + 0x2D0 + n * 20)
        .map(|at| {
            (number::<u64>(&mem, at), number::<u64>(&mem, at + 8), number::<u32>(&mem, at + 16))
        })
        .collect();
    assert_eq!(ranges, memory_map(8 << 20, 4 << 20));
    let seed = number::<u64>(&mem, page + 0x250);
    assert_eq!(number::<u64>(&mem, seed), 0, "no next node");
    assert_eq!((number::<u32>(&mem, seed + 8), number::<u32>(&mem, seed + 12)), (9, 64));
    assert_eq!(bytes::<64>(&mem, seed + 16), SEED);
}

#[test]
fn the_page_tables_map_four_gib_to_themselves() {
    let mem = ram(8 * MIB, 0);
    load_bytes(&mem, &bzimage()).unwrap();
    let walk = |address: u64| {
        [39, 30, 21].iter().fold(layout::PAGE_TABLES, |table, shift| {
            let entry: u64 = number(&mem, table + (address >> shift & 0x1FF) * 8);
            assert_eq!(entry & 3, 3, "{address:#x} is mapped");
            assert_eq!(entry & 0x80 != 0, *shift == 21);
            entry & 0xF_FFFF_FFFF_F000
        })
    };
    for address in (0..4_u64 << 30).step_by(2 << 20) {
        assert_eq!(walk(address), address);
    }
    assert_eq!(number::<u64>(&mem, layout::PAGE_TABLES + 8), 0, "nothing above");
}

#[test]
fn the_reset_vector_writes_the_reset_register() {
    for image in [elf(), elf_pvh(), bzimage()] {
        let mem = ram(8 * MIB, 0);
        load_bytes(&mem, &image).unwrap();
        assert_eq!(bytes(&mem, 0xF_FFF0), [0xBA, 0x02, 0x06, 0xB0, 1, 0xEE, 0xF4, 0xEB, 0xFD]);
    }
}

#[test]
fn bad_images_are_refused_in_one_line() {
    let elf_at = |at, value: &[u8]| changed(elf(), at, value);
    let bz_at = |at, value: &[u8]| changed(bzimage(), at, value);
    let first = 64; // the first program header
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "an empty file"),
        ("one byte", vec![0x7F], "not a kernel image: neither an ELF file nor a bzImage"),
        (
            "text",
            b"#!/bin/sh\n".repeat(200),
            "not a kernel image: neither an ELF file nor a bzImage",
        ),
        ("gzip", vec![0x1F; 4096], "not a kernel image: neither an ELF file nor a bzImage"),
        ("arm64", changed(vec![0; 4096], 56, b"ARM\x64"), "for another machine (aarch64)"),
        ("aarch64 ELF", elf_at(18, &[183, 0]), "for another machine (aarch64)"),
        ("i386 ELF", changed(elf_at(18, &[3, 0]), 4, &[1]), "for another machine (i386)"),
        ("s390 ELF", changed(elf_at(18, &[0, 22]), 5, &[2]), "for another machine (s390)"),
        ("x32 ELF", elf_at(4, &[1]), "for another machine (x86_64 with 32-bit addresses)"),
        (
            "ELF of 63 bytes",
            elf()[..63].to_vec(),
            "truncated kernel image: 63 bytes, its ELF header ends at 64",
        ),
        ("module", elf_at(16, &[1]), "no kernel: an object file or kernel module"),
        ("core", elf_at(16, &[4]), "no kernel: a core dump"),
        ("interpreter", elf_at(first, &[3]), "no kernel: a program for Linux user space"),
        ("no headers", elf_at(56, &[0]), "malformed kernel image: no program headers"),
        ("65 headers", elf_at(56, &[65]), "malformed kernel image: no program headers, or more"),
        (
            "header size",
            elf_at(54, &[32]),
            "malformed kernel image: program headers of another size",
        ),
        (
            "headers past the end",
            elf_at(32, &[0xFF; 8]),
            "its program header table ends at 18446744073709551615",
        ),
        ("below 1 MiB", elf_at(first + 24, &[0, 0, 0]), "kernel loads to 0x0..0x200"),
        ("at 4 GiB", elf_at(first + 28, &[1]), "kernel loads to 0x100100000..0x100100200"),
        ("address overflow", elf_at(first + 24, &[0xFF; 8]), "kernel loads to 0xffffffffffffffff"),
        (
            "past the RAM",
            elf_at(first + 27, &[1]),
            "kernel needs 18 MiB of RAM, the guest has 8 MiB: give --mem 18M or more",
        ),
        (
            "more bytes than memory",
            elf_at(first + 32, &[1, 2]),
            "malformed kernel image: a segment with more bytes",
        ),
        ("segment past the end", elf_at(first + 8, &[0, 0, 1]), "a segment ends at 66048"),
        (
            "entry outside",
            elf_at(24, &[0, 0x30]),
            "malformed kernel image: its entry point lies in no segment",
        ),
        (
            "PVH entry outside",
            elf_with_notes(&note(b"Xen\0", 18, &[0; 4])),
            "its entry point lies in no segment",
        ),
        (
            "PVH note of 2 bytes",
            elf_with_notes(&note(b"Xen\0", 18, &[0; 2])),
            "a PVH note without an entry",
        ),
        (
            "endless note",
            elf_with_notes(&[0xFF; 12]),
            "malformed kernel image: a note that ends past its segment",
        ),
        (
            "many notes",
            elf_with_notes(&[0; 65537]),
            "malformed kernel image: more than 64 KiB of notes",
        ),
        ("zImage", bz_at(0x211, &[0]), "a bzImage without a 64-bit entry point"),
        ("protocol 2.11", bz_at(0x206, &[0x0B]), "a bzImage without a 64-bit entry point"),
        ("32-bit", bz_at(0x236, &[0]), "a bzImage without a 64-bit entry point"),
        ("code past the end", bz_at(0x1F4, &[0x01, 0x01]), "its protected-mode code ends at 5136"),
        ("no code", bz_at(0x1F4, &[0; 4]), "malformed kernel image: no code at its 64-bit entry"),
        ("alignment", bz_at(0x230, &[3]), "malformed kernel image: an alignment"),
        ("low address", bz_at(0x258, &[0; 4]), "kernel loads to 0x0..0x100000"),
        ("wild address", bz_at(0x258, &[0xFF; 8]), "kernel loads to 0xffffffffffffffff"),
        (
            "large",
            bz_at(0x260, &0x3000_0000_u32.to_le_bytes()),
            "kernel needs 770 MiB of RAM, the guest has 8 MiB",
        ),
    ];
    let mem = ram(8 * MIB, 0);
    for (name, image, text) in rows {
        let error = load_bytes(&mem, &image).expect_err(name).to_string();
        assert!(error.contains(text), "{name}: {error}");
        assert!(!error.contains('\n') && !error.ends_with('.'), "{name}: {error}");
    }
}

#[test]
fn notes_that_are_not_pvh_change_nothing() {
    for notes in [
        vec![],
        note(b"GNU\0", 18, &0x10_0020_u32.to_le_bytes()),
        note(b"Xen\0", 17, &0x10_0020_u32.to_le_bytes()),
        vec![0; 8],
        vec![0; 65536],
    ] {
        let entry = load_bytes(&ram(8 * MIB, 0), &elf_with_notes(&notes)).unwrap();
        assert_eq!((entry.protocol, entry.rip.0), (Protocol::Linux64, 0x10_0010));
    }
}

#[test]
fn overlapping_segments_copy_no_more_than_the_ram_holds() {
    let whole = segment(1, 0x1000, 0x10_0000, 0x40_0000, 0x40_0000);
    let image = elf_of(0x10_0000, &[whole.clone(), whole.clone(), whole], &[0; 0x40_0000]);
    let error = load_bytes(&ram(8 * MIB, 0), &image).unwrap_err().to_string();
    assert!(error.contains("overlap"), "{error}");
}

#[test]
fn the_initrd_stays_below_every_limit() {
    // Bytes of low RAM, initrd_addr_max, bytes of initrd; where it starts, or what is said.
    let rows: [(usize, u32, usize, Result<u32, &str>); 6] = [
        (8 * MIB, 0x7FFF_FFFF, 1, Ok(0x7F_F000)),
        (8 * MIB, 0x5F_FFFF, 4096, Ok(0x5F_F000)),
        (8 * MIB, 0x7FFF_FFFF, 5 * MIB, Ok(0x30_0000)),
        (8 * MIB, 0x7FFF_FFFF, 5 * MIB + 1, Err("need 9 MiB of RAM, the guest has 8 MiB")),
        (8 * MIB, 0x3F_FFFF, MIB + 1, Err("initrd of 2 MiB: this kernel has 1 MiB of address")),
        (8 * MIB, 0x7FFF_FFFF, 0, Err("initrd is an empty file")),
    ];
    for (low, limit, len, expected) in rows {
        let mem = ram(low, 0);
        let mut kernel = file(&changed(bzimage(), 0x22C, &limit.to_le_bytes()));
        let mut initrd = file(&vec![7; len]);
        let found = load(&mem, &mut kernel, Some(&mut initrd), b"", RSDP, &SEED)
            .map(|entry| number::<u32>(&mem, entry.data.0 + 0x218))
            .map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn command_lines_are_checked() {
    let mem = ram(8 * MIB, 0);
    let short = changed(bzimage(), 0x238, &255_u32.to_le_bytes());
    for (kernel, cmdline, text) in [
        (elf(), vec![b'x'; 2047], None),
        (
            elf(),
            vec![b'x'; 2048],
            Some("command line of 2048 bytes: this kernel takes at most 2047"),
        ),
        (short.clone(), vec![b'x'; 255], None),
        (short, vec![b'x'; 256], Some("command line of 256 bytes: this kernel takes at most 255")),
        (elf(), b"a\0b".to_vec(), Some("command line contains a zero byte")),
    ] {
        let result = load(&mem, &mut file(&kernel), None, &cmdline, RSDP, &SEED);
        assert_eq!(result.is_ok(), text.is_none());
        if let (Err(error), Some(text)) = (result, text) {
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
