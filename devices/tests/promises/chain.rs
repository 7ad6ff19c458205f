//! Descriptor chains: what is taken, what is refused, and that it is read once.

use devices::chain::{Buffer, Chain};
use devices::testing::{Descriptor, SplitRing, memory};
use devices::violation::Violation;
use vm_memory::{Bytes, GuestAddress};

const NEXT: u16 = Descriptor::NEXT;
const WRITE: u16 = Descriptor::WRITE;
const INDIRECT: u16 = Descriptor::INDIRECT;

const GIB: u64 = 1 << 30;
/// RAM: two ranges that touch, and one far above that holds 4 GiB.
const RAM: [(u64, usize); 3] = [(0, 0x10000), (0x10000, 0x1000), (8 * GIB, 4 << 30)];
const END: u64 = 0x11000;

fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { address, len, flags, next }
}

#[test]
fn chains_are_taken_or_refused() {
    type Row = (&'static str, u16, u16, Vec<Descriptor>, Result<(usize, usize), Violation>);
    let d = descriptor;
    let full = |last: u16| {
        let link = |i: u16| d(0x4000, 1, if i < 7 { NEXT } else { last }, (i + 1) % 8);
        (0..8).map(link).collect::<Vec<_>>()
    };
    let rows: Vec<Row> = vec![
        ("one readable", 8, 0, vec![d(0x4000, 16, 0, 0)], Ok((16, 0))),
        ("one writable", 8, 0, vec![d(0x4000, 16, WRITE, 0)], Ok((0, 16))),
        ("next is ignored without NEXT", 8, 0, vec![d(0x4000, 16, 0, 0xffff)], Ok((16, 0))),
        ("head is the last index", 1, 0, vec![d(0x4000, 16, 0, 0)], Ok((16, 0))),
        ("head is the size", 8, 8, vec![], Err(Violation::DescriptorIndex)),
        ("head is 0xffff", 8, 0xffff, vec![], Err(Violation::DescriptorIndex)),
        ("next is the size", 8, 0, vec![d(0x4000, 1, NEXT, 8)], Err(Violation::DescriptorIndex)),
        ("next is 0xffff", 8, 0, vec![d(0x4000, 1, NEXT, 0xffff)], Err(Violation::DescriptorIndex)),
        ("itself", 8, 0, vec![d(0x4000, 1, NEXT, 0)], Err(Violation::ChainLoop)),
        (
            "a cycle of two",
            8,
            0,
            vec![d(0x4000, 1, NEXT, 1), d(0x4000, 1, NEXT, 0)],
            Err(Violation::ChainLoop),
        ),
        (
            "a cycle of empty descriptors",
            8,
            0,
            vec![d(0, 0, NEXT, 1), d(0, 0, NEXT, 0)],
            Err(Violation::ChainLoop),
        ),
        ("the whole table", 8, 0, full(0), Ok((8, 0))),
        ("the whole table from its middle", 8, 3, full(0), Ok((5, 0))),
        ("the whole table as a cycle", 8, 0, full(NEXT), Err(Violation::ChainLoop)),
        ("length 0", 8, 0, vec![d(0x4000, 0, 0, 0)], Ok((0, 0))),
        ("length 0 outside RAM", 8, 0, vec![d(u64::MAX, 0, WRITE, 0)], Ok((0, 0))),
        (
            "length 0 between others",
            8,
            0,
            vec![d(0x4000, 3, NEXT, 1), d(0x5000, 0, NEXT, 2), d(0x6000, 4, WRITE, 0)],
            Ok((3, 4)),
        ),
        ("the first byte of RAM", 8, 0, vec![d(0, 1, 0, 0)], Ok((1, 0))),
        ("the last byte of RAM", 8, 0, vec![d(END - 1, 1, WRITE, 0)], Ok((0, 1))),
        ("one past RAM", 8, 0, vec![d(END, 1, WRITE, 0)], Err(Violation::BufferPlacement)),
        ("over the end", 8, 0, vec![d(END - 1, 2, 0, 0)], Err(Violation::BufferPlacement)),
        ("far over the end", 8, 0, vec![d(0, u32::MAX, 0, 0)], Err(Violation::BufferPlacement)),
        ("in a hole", 8, 0, vec![d(4 * GIB, 1, 0, 0)], Err(Violation::BufferPlacement)),
        (
            "over the end of the address space",
            8,
            0,
            vec![d(u64::MAX, 2, 0, 0)],
            Err(Violation::BufferPlacement),
        ),
        ("across two ranges that touch", 8, 0, vec![d(0xfffe, 4, WRITE, 0)], Ok((0, 4))),
        (
            "a second buffer outside",
            8,
            0,
            vec![d(0x4000, 16, NEXT, 1), d(END, 1, WRITE, 0)],
            Err(Violation::BufferPlacement),
        ),
        (
            "2^32 bytes",
            8,
            0,
            vec![d(8 * GIB, u32::MAX, NEXT, 1), d(8 * GIB, 1, WRITE, 0)],
            Ok((0xffff_ffff, 1)),
        ),
        (
            "2^32 + 1 bytes",
            8,
            0,
            vec![d(8 * GIB, u32::MAX, NEXT, 1), d(8 * GIB, 2, WRITE, 0)],
            Err(Violation::ChainLength),
        ),
        (
            "2^33 bytes on one page",
            8,
            0,
            vec![d(8 * GIB, u32::MAX, NEXT, 1), d(8 * GIB, u32::MAX, 0, 0)],
            Err(Violation::ChainLength),
        ),
        (
            "readable after writable",
            8,
            0,
            vec![d(0x4000, 1, WRITE | NEXT, 1), d(0x4000, 1, 0, 0)],
            Err(Violation::DescriptorOrder),
        ),
        ("indirect", 8, 0, vec![d(0x4000, 16, INDIRECT, 0)], Err(Violation::Indirect)),
        (
            "indirect and next",
            8,
            0,
            vec![d(0x4000, 16, INDIRECT | NEXT, 1)],
            Err(Violation::Indirect),
        ),
        ("unknown flags", 8, 0, vec![d(0x4000, 16, 0xfff8, 0)], Ok((16, 0))),
    ];
    let memory = memory(&RAM);
    for (name, size, head, descriptors, expected) in rows {
        let ring = SplitRing::new(memory, 0, size);
        for (index, descriptor) in (0..).zip(descriptors) {
            ring.describe(index, descriptor);
        }
        let taken = Chain::take(memory, GuestAddress(0), size, head);
        let lens = taken.as_ref().map(|chain| (chain.readable.len(), chain.writable.len()));
        assert_eq!(lens, expected.as_ref().copied(), "{name}");
        if let Ok(chain) = taken {
            assert_eq!(chain.head, head, "{name}");
        }
    }
}

#[test]
fn a_table_outside_memory_is_refused() {
    let memory = memory(&RAM);
    for table in [END, END - 8, 4 * GIB, u64::MAX - 15, u64::MAX] {
        let taken = Chain::take(memory, GuestAddress(table), 8, 0);
        assert_eq!(taken.unwrap_err(), Violation::RingPlacement, "{table:#x}");
    }
}

#[test]
fn what_the_driver_changes_after_the_chain_was_taken_changes_nothing() {
    let memory = memory(&RAM);
    let ring = SplitRing::new(memory, 0, 8);
    ring.describe(0, descriptor(0x4000, 4, NEXT, 1));
    ring.describe(1, descriptor(0x5000, 4, WRITE, 0));
    let chain = Chain::take(memory, GuestAddress(0), 8, 0).unwrap();
    for index in 0..8 {
        ring.describe(index, descriptor(u64::MAX, u32::MAX, INDIRECT | NEXT, index));
    }
    assert_eq!(chain.writable.write(0, b"abcdef"), 4);
    let mut bytes = [0; 6];
    memory.read_slice(&mut bytes, GuestAddress(0x5000)).unwrap();
    assert_eq!(&bytes, b"abcd\0\0");
}

#[test]
fn a_buffer_is_one_run_of_bytes_whatever_it_is_made_of() {
    let memory = memory(&RAM);
    let ring = SplitRing::new(memory, 0, 8);
    // 3 + 0 + 1 + 4 bytes, the last across two ranges.
    ring.describe(0, descriptor(0x4000, 3, WRITE | NEXT, 1));
    ring.describe(1, descriptor(0x5000, 0, WRITE | NEXT, 2));
    ring.describe(2, descriptor(0x6000, 1, WRITE | NEXT, 3));
    ring.describe(3, descriptor(0xfffe, 4, WRITE, 0));
    let buffer: Buffer<'_> = Chain::take(memory, GuestAddress(0), 8, 0).unwrap().writable;
    for offset in 0..=9 {
        for len in 0..=9 {
            assert_eq!(buffer.write(0, b"01234567"), 8);
            let room = 8usize.saturating_sub(offset).min(len);
            let case = format!("{len} bytes at {offset}");

            let mut bytes = vec![b'?'; len];
            assert_eq!(buffer.read(offset, &mut bytes), room, "{case}");
            let from = offset.min(8);
            assert_eq!(bytes[..room], b"01234567"[from..from + room], "{case}");
            assert!(bytes[room..].iter().all(|byte| *byte == b'?'), "{case}");

            assert_eq!(buffer.write(offset, &b"abcdefghi"[..len]), room, "{case}");
            let mut whole = [0; 8];
            buffer.read(0, &mut whole);
            let mut expected = *b"01234567";
            expected[from..from + room].copy_from_slice(&b"abcdefghi"[..room]);
            assert_eq!(whole, expected, "{case}");

            let regions = buffer.range(offset, offset + len).map(|region| region.len());
            assert_eq!(regions.sum::<usize>(), room, "{case}");
        }
    }
    assert_eq!(buffer.read(usize::MAX, &mut [0; 2]), 0);
    assert_eq!(buffer.range(5, 2).count(), 0);
}
