//! Started virtqueues: where they may be, what the indices may do, what the driver reads back.

use devices::control::Geometry;
use devices::ring::Ring;
use devices::testing::{Part, SplitRing, memory};
use devices::violation::Violation;

/// RAM with two ranges that touch, the second one page long.
const RAM: [(u64, usize); 2] = [(0, 0x8000), (0x8000, 0x1000)];
const END: u64 = 0x9000;
const MAX: u16 = 64;

/// Parts of a ring of 64: 0x400, 134 and 518 bytes.
const PLACED: Geometry =
    Geometry { size: MAX, descriptors: 0x1000, available: 0x2000, used: 0x3000 };

#[test]
fn rings_lie_in_memory_aligned_and_apart() {
    let rows: Vec<(&str, Geometry, bool)> = vec![
        ("an ordinary place", PLACED, true),
        ("size 0", Geometry { size: 0, ..PLACED }, false),
        ("size 1", Geometry { size: 1, ..PLACED }, true),
        ("size 3", Geometry { size: 3, ..PLACED }, false),
        ("size max − 1", Geometry { size: MAX - 1, ..PLACED }, false),
        ("size max + 1", Geometry { size: MAX + 1, ..PLACED }, false),
        ("size 2 max", Geometry { size: MAX * 2, ..PLACED }, false),
        ("size 0x8000", Geometry { size: 0x8000, ..PLACED }, false),
        ("size 0xffff", Geometry { size: 0xffff, ..PLACED }, false),
        ("a table at 0", Geometry { descriptors: 0, ..PLACED }, true),
        ("an available ring at 0", Geometry { available: 0, ..PLACED }, false),
        ("a used ring at 0", Geometry { used: 0, ..PLACED }, true),
        ("a table 8 bytes off", Geometry { descriptors: 0x1008, ..PLACED }, false),
        ("an available ring 1 byte off", Geometry { available: 0x2001, ..PLACED }, false),
        ("an available ring 2 bytes off", Geometry { available: 0x2002, ..PLACED }, true),
        ("a used ring 2 bytes off", Geometry { used: 0x3002, ..PLACED }, false),
        ("a used ring 4 bytes off", Geometry { used: 0x3004, ..PLACED }, true),
        ("a table up to the end", Geometry { descriptors: END - 0x400, ..PLACED }, true),
        ("a table over the end", Geometry { descriptors: END - 0x3f0, ..PLACED }, false),
        ("a table at the end", Geometry { descriptors: END, ..PLACED }, false),
        ("an available ring up to the end", Geometry { available: END - 134, ..PLACED }, true),
        ("an available ring over the end", Geometry { available: END - 132, ..PLACED }, false),
        ("a used ring up to the end", Geometry { used: END - 520, ..PLACED }, true),
        ("a used ring over the end", Geometry { used: END - 516, ..PLACED }, false),
        ("a table at the top", Geometry { descriptors: u64::MAX - 15, ..PLACED }, false),
        ("an available ring at the top", Geometry { available: u64::MAX - 1, ..PLACED }, false),
        ("a used ring at the top", Geometry { used: u64::MAX - 3, ..PLACED }, false),
        ("a table across two ranges", Geometry { descriptors: 0x7ff0, ..PLACED }, true),
        ("an available ring across two", Geometry { available: 0x7ffe, ..PLACED }, true),
        ("a used ring across two", Geometry { used: 0x7ffc, ..PLACED }, true),
        ("three neighbours", Geometry { available: 0x1400, used: 0x1488, ..PLACED }, true),
        ("an available ring in the table", Geometry { available: 0x13fe, ..PLACED }, false),
        ("a used ring in the available", Geometry { used: 0x2084, ..PLACED }, false),
        ("an available ring in the used", Geometry { available: 0x3204, ..PLACED }, false),
        ("a table in the used ring", Geometry { descriptors: 0x3200, ..PLACED }, false),
        ("one for all", Geometry { available: 0x1000, used: 0x1000, ..PLACED }, false),
    ];
    let memory = memory(&RAM);
    for (name, geometry, legal) in rows {
        let result = Ring::start(memory, geometry, MAX).map(|ring| ring.size());
        let expected = if legal { Ok(geometry.size) } else { Err(Violation::RingPlacement) };
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn a_ring_across_two_ranges_works() {
    let memory = memory(&RAM);
    // Every place such that some part of a ring of 64 lies across 0x8000.
    for address in (0x7c00..0x8000).step_by(16).chain((0x7800..0x7c00).step_by(16)) {
        let mut driver = SplitRing::new(memory, address, MAX);
        let mut ring = Ring::start(memory, driver.geometry, MAX).unwrap();
        for _ in 0..=MAX {
            let head = driver.add(&[Part::Out(0x100, 4), Part::In(0x200, 6)]);
            let chain = ring.pop(memory).unwrap().unwrap();
            assert_eq!((chain.head, chain.readable.len(), chain.writable.len()), (head, 4, 6));
            ring.push(memory, head, 5).unwrap();
            assert_eq!(driver.take_used(), Some((head.into(), 5)));
        }
    }
}

#[test]
fn the_available_index_may_be_ahead_by_the_size_and_no_more() {
    let memory = memory(&RAM);
    for (before, jump, legal) in [
        (0u16, 0u16, true),
        (0, 1, true),
        (0, 7, true),
        (0, 8, true),
        (0, 9, false),
        (0, 0x7fff, false),
        (0, 0x8000, false),
        (0, 0xffff, false),
        (5, 8, true),
        (5, 9, false),
        (5, 0xffff, false),
        (5, 0xfffb, false),
    ] {
        let case = format!("from {before} by {jump}");
        let mut driver = SplitRing::new(memory, 0x1000, 8);
        let mut ring = Ring::start(memory, driver.geometry, 8).unwrap();
        for _ in 0..before {
            driver.add(&[Part::Out(0x100, 1)]);
            ring.pop(memory).unwrap().unwrap();
        }
        driver.publish(before.wrapping_add(jump));
        if legal {
            for _ in 0..jump {
                assert!(ring.pop(memory).unwrap().is_some(), "{case}");
            }
            assert!(ring.pop(memory).unwrap().is_none(), "{case}");
        } else {
            // It stays an error: nothing is processed again and again.
            for _ in 0..3 {
                assert_eq!(ring.pop(memory).unwrap_err(), Violation::AvailIndex, "{case}");
            }
        }
    }
}

#[test]
fn indices_wrap() {
    let memory = memory(&RAM);
    let mut driver = SplitRing::new(memory, 0x1000, 4);
    let mut ring = Ring::start(memory, driver.geometry, 4).unwrap();
    for turn in 0..70_000usize {
        let head = driver.add(&[Part::In(0x100, 1)]);
        assert_eq!(driver.take_used(), None);
        let chain = ring.pop(memory).unwrap().unwrap();
        ring.push(memory, chain.head, turn).unwrap();
        assert_eq!(driver.take_used(), Some((head.into(), u32::try_from(turn).unwrap())));
        assert!(ring.pop(memory).unwrap().is_none());
    }
}

#[test]
fn a_used_length_beyond_32_bits_is_the_largest() {
    let memory = memory(&RAM);
    let mut driver = SplitRing::new(memory, 0x1000, 4);
    let mut ring = Ring::start(memory, driver.geometry, 4).unwrap();
    ring.push(memory, 3, 1 << 32).unwrap();
    assert_eq!(driver.take_used(), Some((3, u32::MAX)));
    assert_eq!(ring.push(memory, 4, 0), Err(Violation::RingPlacement));
}

#[test]
fn the_driver_is_interrupted_when_it_wants_to_be() {
    let memory = memory(&RAM);
    let driver = SplitRing::new(memory, 0x1000, 4);
    let ring = Ring::start(memory, driver.geometry, 4).unwrap();
    assert!(ring.wants_interrupt(memory));
    driver.want_interrupts(false);
    assert!(!ring.wants_interrupt(memory));
    driver.want_interrupts(true);
    assert!(ring.wants_interrupt(memory));
}

#[test]
fn a_broken_chain_is_an_error_and_no_empty_ring() {
    let memory = memory(&RAM);
    let mut driver = SplitRing::new(memory, 0x1000, 4);
    let mut ring = Ring::start(memory, driver.geometry, 4).unwrap();
    driver.offer(4);
    assert_eq!(ring.pop(memory).unwrap_err(), Violation::DescriptorIndex);
    // The index went on: what follows is not held up by it.
    driver.add(&[Part::Out(0x100, 1)]);
    assert!(ring.pop(memory).unwrap().is_some());
}

#[test]
fn the_used_rings_flags_stay_zero() {
    use vm_memory::{Bytes, GuestAddress};

    let memory = memory(&RAM);
    let mut driver = SplitRing::new(memory, 0x1000, 4);
    let mut ring = Ring::start(memory, driver.geometry, 4).unwrap();
    for _ in 0..10 {
        let head = driver.add(&[Part::In(0x100, 1)]);
        ring.pop(memory).unwrap().unwrap();
        ring.push(memory, head, 1).unwrap();
        assert_eq!(driver.take_used(), Some((head.into(), 1)));
        let flags: u16 = memory.read_obj(GuestAddress(driver.geometry.used)).unwrap();
        assert_eq!(flags, 0);
    }
}
