//! The registers: who may write what when, against a model written from the standard.

use std::sync::atomic::{AtomicU32, Ordering};

use devices::blk::Shape;
use devices::console;
use devices::control::{Geometry, Start};
use devices::mmio::{Action, Identity, Registers, SIZE, VERSION_1};
use devices::testing::Driver;

const IDENTITY: Identity = Identity {
    device: 3,
    features: VERSION_1 | 1 << 63 | 1 << 31 | 0b110,
    queues: &[64, 256],
    config: *b"0123456789abcdef",
};
const PLACED: Geometry = Geometry {
    size: 32,
    descriptors: 0x1234_5678_9abc_def0,
    available: 0xfedc_ba98_7654_3210,
    used: 0x0f1e_2d3c_4b5a_6978,
};
/// Every status that a driver can reach with acceptable features.
const STATUSES: [u32; 10] = [0, 1, 3, 11, 15, 128, 129, 131, 139, 143];

fn device(interrupt: &AtomicU32) -> Driver<'_> {
    Driver { registers: Registers::new(IDENTITY, interrupt) }
}

/// A device in this status, with VERSION_1 accepted and queue 0 ready as far as the status allows.
fn device_in(interrupt: &AtomicU32, status: u32) -> Driver<'_> {
    let mut driver = device(interrupt);
    for bit in [1, 2, 8, 4, 128] {
        if bit == 8 && status & 2 != 0 {
            driver.accept(VERSION_1);
        }
        if bit == 4 && status & 8 != 0 {
            driver.place(0, &PLACED);
        }
        if status & bit != 0 {
            driver.add_status(bit);
        }
    }
    assert_eq!(driver.read(0x070), status);
    driver
}

fn state(driver: &Driver<'_>) -> String {
    format!("{:?}", driver.registers)
}

/// What the standard lets a write of `value` do to a device in `status` (§2.1, §3.1.1): the status
/// afterwards. Written out as steps, apart from the code under test.
fn model(status: u8, value: u8, acceptable: bool) -> u8 {
    if value == 0 {
        return 0;
    }
    // FAILED is the end; nothing else may be taken back; NEEDS_RESET and reserved bits are not the
    // driver's.
    if status >= 128 || value & status != status || value & 0b0111_0000 != 0 {
        return status;
    }
    let after = match value & 0b1111 {
        0b0000 => 0b0000,
        0b0001 => 0b0001,
        0b0011 => 0b0011,
        0b1011 | 0b1111 if !acceptable => 0b0011,
        0b1011 => 0b1011,
        0b1111 => 0b1111,
        _ => return status,
    };
    after | value & 128
}

#[test]
fn status_follows_the_model_whatever_is_written_after_whatever() {
    let interrupt = AtomicU32::new(0);
    for features in [VERSION_1, 0] {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let case = format!("{first:#04x}, then {second:#04x}, features {features:#x}");
                let mut driver = device(&interrupt);
                // Nothing is accepted yet, so FEATURES_OK cannot hold.
                let before = model(0, first, false);
                assert_eq!(driver.write(0x070, first.into()), None, "{case}");
                assert_eq!(driver.read(0x070), u32::from(before), "{case}");
                // Features are taken from a driver only.
                driver.accept(features);
                let after = model(before, second, features == VERSION_1 && before & 2 != 0);
                let action = driver.write(0x070, second.into());
                assert_eq!(driver.read(0x070), u32::from(after), "{case}");
                let started = matches!(action, Some(Action::Start(_)));
                assert_eq!(started, after & 4 != 0 && after < 128, "{case}");
            }
        }
    }
}

#[test]
fn status_follows_the_model_from_every_reachable_status() {
    let interrupt = AtomicU32::new(0);
    for from in STATUSES {
        for value in 0..=0x1ffu32 {
            let mut driver = device_in(&interrupt, from);
            let action = driver.write(0x070, value);
            let case = format!("{from:#x}, then {value:#x}");
            let before = u8::try_from(from).unwrap();
            let after = match u8::try_from(value) {
                // A started device is reset when its worker has let go of it.
                Ok(0) if from & 4 != 0 => before,
                Ok(value) => model(before, value, before & 2 != 0),
                Err(_) => before,
            };
            assert_eq!(driver.read(0x070), u32::from(after), "{case}");
            let expected = match (value, from & 4 != 0, after & 4 != 0 && after < 128) {
                (0, true, _) => "stop",
                (_, false, true) => "start",
                _ => "nothing",
            };
            let got = match action {
                Some(Action::Stop) => "stop",
                Some(Action::Start(_)) => "start",
                Some(Action::Kick(_)) => "kick",
                None => "nothing",
            };
            assert_eq!(got, expected, "{case}");
        }
    }
}

#[test]
fn a_register_takes_a_write_when_the_standard_says_so_and_else_nothing() {
    const ALWAYS: &[u32] = &STATUSES;
    const CONFIGURING: &[u32] = &[11];
    // Register, a value that would change it, when it does.
    let mut rows: Vec<(u64, u32, &[u32])> = vec![
        (0x014, 1, ALWAYS),
        (0x020, 6, &[3, 131]),
        (0x024, 7, ALWAYS),
        (0x030, 7, ALWAYS),
        (0x038, 64, CONFIGURING),
        (0x064, 1, ALWAYS),
    ];
    rows.extend([0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4].map(|at| (at, 1, CONFIGURING)));
    for status in STATUSES {
        for offset in (0..SIZE).step_by(4).filter(|offset| ![0x044, 0x050, 0x070].contains(offset))
        {
            for value in [0u32, 1, 2, 0x8000_0000, u32::MAX, 6, 7, 64] {
                let interrupt = AtomicU32::new(3);
                let mut driver = device_in(&interrupt, status);
                // The queue of the rows is one that is not ready.
                driver.write(0x044, 0);
                driver.write(0x030, 1);
                let before = state(&driver);
                assert_eq!(driver.write(offset, value), None, "{offset:#x} in {status:#x}");
                let changed = state(&driver) != before;
                let row = rows.iter().find(|row| row.0 == offset);
                let may = row.is_some_and(|row| row.2.contains(&status));
                assert!(!changed || may, "{offset:#x} := {value:#x} in {status:#x}");
                if row.is_some_and(|row| row.1 == value) {
                    assert_eq!(changed, may, "{offset:#x} := {value:#x} in {status:#x}");
                }
            }
        }
    }
}

#[test]
fn geometry_is_frozen_while_a_queue_is_ready_and_after_driver_ok() {
    let interrupt = AtomicU32::new(0);
    let registers = [0x038, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4];
    for status in [11, 15, 139, 143] {
        let mut driver = device_in(&interrupt, status);
        driver.place(0, &PLACED);
        let before = state(&driver);
        for offset in registers {
            for value in [0, 1, 16, u32::MAX] {
                driver.write(offset, value);
                assert_eq!(state(&driver), before, "{offset:#x} := {value:#x} in {status:#x}");
            }
        }
    }
    // A queue that is taken back before DRIVER_OK can be placed anew.
    let mut driver = device_in(&interrupt, 11);
    driver.place(0, &PLACED);
    driver.write(0x044, 0);
    assert_eq!(driver.read(0x044), 0);
    let other = Geometry { size: 4, descriptors: 16, available: 2, used: 4 };
    driver.place(0, &other);
    let start = Start { features: VERSION_1, queues: [Some(other), None] };
    assert_eq!(driver.add_status(4), Some(Action::Start(start)));
}

#[test]
fn start_says_what_the_driver_said() {
    let interrupt = AtomicU32::new(0);
    for ready in [[false, false], [true, false], [false, true], [true, true]] {
        let mut driver = device(&interrupt);
        assert_eq!(driver.negotiate(u64::MAX), IDENTITY.features);
        let mut queues = [None; 2];
        for (index, _) in (0..).zip(ready).filter(|(_, ready)| *ready) {
            let placed = Geometry { size: 1 << (index + 1), ..PLACED };
            driver.place(index, &placed);
            queues[usize::try_from(index).unwrap()] = Some(placed);
        }
        let start = Start { features: IDENTITY.features, queues };
        assert_eq!(driver.add_status(4), Some(Action::Start(start)), "{ready:?}");
    }
}

#[test]
fn a_queue_is_ready_only_with_a_legal_size() {
    let interrupt = AtomicU32::new(0);
    for (size, legal) in [
        (0, false),
        (1, true),
        (2, true),
        (3, false),
        (63, false),
        (64, true),
        (65, false),
        (128, false),
        (0x8000, false),
        (0x1_0000, false),
        (0x1_0001, false),
        (0x1_0020, false),
        (u32::MAX, false),
    ] {
        let mut driver = device(&interrupt);
        driver.negotiate(0);
        driver.write(0x038, size);
        driver.write(0x044, 1);
        assert_eq!(driver.read(0x044), u32::from(legal), "size {size:#x}");
    }
    // What was legal is not undone by what is not.
    let mut driver = device(&interrupt);
    driver.negotiate(0);
    driver.write(0x038, 8);
    driver.write(0x038, 0x1_0001);
    driver.write(0x044, 1);
    let Some(Action::Start(start)) = driver.add_status(4) else { panic!("no start") };
    assert_eq!(start.queues[0].map(|queue| queue.size), Some(8));
}

#[test]
fn a_queue_that_is_not_there_reads_as_zero_and_takes_nothing() {
    for status in STATUSES {
        let interrupt = AtomicU32::new(0);
        for select in [2, 3, 0xffff, 0x1_0000, u32::MAX] {
            let mut driver = device_in(&interrupt, status);
            driver.write(0x030, select);
            let before = state(&driver);
            for offset in (0x034..0x0c0).step_by(4).filter(|at| ![0x050, 0x064, 0x070].contains(at))
            {
                driver.write(offset, 1);
                if offset < 0x060 || (0x080..0x0b0).contains(&offset) {
                    assert_eq!(driver.read(offset), 0, "{offset:#x} of queue {select:#x}");
                }
            }
            assert_eq!(state(&driver), before, "queue {select:#x}");
        }
    }
}

#[test]
fn features_are_agreed_on_or_not() {
    let interrupt = AtomicU32::new(0);
    for (features, agreed) in [
        (VERSION_1, true),
        (IDENTITY.features, true),
        (VERSION_1 | 0b10, true),
        (0, false),
        (0b110, false),
        (IDENTITY.features & !VERSION_1, false),
        (VERSION_1 | 0b1, false),
        (VERSION_1 | 1 << 33, false),
        (u64::MAX, false),
    ] {
        let mut driver = device_in(&interrupt, 3);
        driver.accept(features);
        driver.add_status(8);
        assert_eq!(driver.read(0x070) & 8 != 0, agreed, "{features:#x}");
        // A refusal is not the end: the driver may ask for less.
        driver.accept(VERSION_1);
        driver.add_status(8);
        assert_eq!(driver.read(0x070), 11, "{features:#x}");
    }
    // Words beyond the second offer nothing and take nothing.
    let mut driver = device_in(&interrupt, 3);
    for select in [2, 3, u32::MAX] {
        driver.write(0x014, select);
        assert_eq!(driver.read(0x010), 0);
        driver.write(0x024, select);
        let before = state(&driver);
        driver.write(0x020, u32::MAX);
        assert_eq!(state(&driver), before);
    }
    assert_eq!(driver.offered(), IDENTITY.features);
}

#[test]
fn accesses_of_other_widths_and_places_do_nothing() {
    for status in STATUSES {
        let interrupt = AtomicU32::new(1);
        let mut driver = device_in(&interrupt, status);
        let before = state(&driver);
        for offset in (0..0x100u64).chain([SIZE - 1, SIZE, 1 << 32, u64::MAX - 3, u64::MAX]) {
            for len in [0, 1, 2, 3, 4, 5, 8, 16] {
                if len == 4 && offset % 4 == 0 && offset < 0x100 {
                    continue;
                }
                let case = format!("{len} bytes at {offset:#x} in {status:#x}");
                assert_eq!(driver.registers.write(offset, &vec![0xff; len]), None, "{case}");
                assert_eq!(driver.registers.write(offset, &vec![0; len]), None, "{case}");
                let mut data = vec![0xaa; len];
                driver.registers.read(offset, &mut data);
                assert_eq!(data, vec![0; len], "{case}");
            }
        }
        assert_eq!(state(&driver), before, "in {status:#x}");
    }
}

#[test]
fn configuration_space_reads_at_every_offset_and_width_and_is_read_only() {
    for status in STATUSES {
        let interrupt = AtomicU32::new(0);
        let mut driver = device_in(&interrupt, status);
        let before = state(&driver);
        let mut whole = [0; 64];
        whole[..16].copy_from_slice(&IDENTITY.config);
        for at in 0..32usize {
            for len in [1, 2, 4, 8] {
                let offset = 0x100 + at as u64;
                assert_eq!(driver.registers.write(offset, &vec![0xff; len]), None);
                let mut data = vec![0xaa; len];
                driver.registers.read(offset, &mut data);
                assert_eq!(data, whole[at..at + len], "{len} bytes at {at}");
            }
        }
        assert_eq!(state(&driver), before);
    }
}

#[test]
fn constants_are_those_of_the_standard() {
    let interrupt = AtomicU32::new(0);
    let driver = device(&interrupt);
    for (offset, value) in [
        (0x000, 0x7472_6976),
        (0x004, 2),
        (0x008, 3),
        (0x034, 64),
        (0x044, 0),
        (0x060, 0),
        (0x070, 0),
        (0x0b0, u32::MAX),
        (0x0b4, u32::MAX),
        (0x0b8, u32::MAX),
        (0x0bc, u32::MAX),
        (0x0c0, 0),
        (0x0fc, 0),
    ] {
        assert_eq!(driver.read(offset), value, "{offset:#x}");
    }
}

#[test]
fn an_acknowledged_interrupt_is_gone_and_no_other() {
    let interrupt = AtomicU32::new(0);
    let mut driver = device_in(&interrupt, 15);
    for (pending, acknowledged, left) in
        [(1, 1, 0), (1, 2, 1), (3, 1, 2), (3, u32::MAX, 0), (0, 1, 0)]
    {
        interrupt.store(pending, Ordering::SeqCst);
        assert_eq!(driver.read(0x060), pending);
        driver.write(0x064, acknowledged);
        assert_eq!(driver.read(0x060), left);
        // InterruptStatus itself is read-only, InterruptACK write-only.
        driver.write(0x060, u32::MAX);
        assert_eq!((driver.read(0x060), driver.read(0x064)), (left, 0));
    }
}

#[test]
fn a_reset_leaves_nothing() {
    for status in STATUSES {
        let interrupt = AtomicU32::new(0);
        let fresh = state(&device(&interrupt));
        let mut driver = device_in(&interrupt, status);
        driver.write(0x014, 1);
        driver.write(0x024, 1);
        driver.write(0x030, 1);
        interrupt.store(1, Ordering::SeqCst);
        let action = driver.write(0x070, 0);
        if status & 4 == 0 {
            assert_eq!(action, None, "{status:#x}");
        } else {
            // The device runs until its worker has let go: all is as before.
            assert_eq!((action, driver.read(0x070)), (Some(Action::Stop), status));
            assert_eq!(driver.write(0x070, 0), Some(Action::Stop));
            driver.registers.reset();
        }
        assert_eq!(state(&driver), fresh, "{status:#x}");
        assert_eq!(interrupt.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn kicks_count_while_the_queue_lives() {
    for status in STATUSES {
        let interrupt = AtomicU32::new(0);
        let mut driver = device_in(&interrupt, status);
        for index in [0, 1, 2, 0xffff, 0x1_0000, u32::MAX] {
            let live = status & 4 != 0 && index == 0;
            let before = state(&driver);
            let expected = live.then_some(Action::Kick(0));
            assert_eq!(driver.write(0x050, index), expected, "queue {index:#x} in {status:#x}");
            assert_eq!(state(&driver), before);
        }
    }
}

#[test]
fn a_driver_that_takes_a_queue_back_stops_the_device_and_reads_zero() {
    let interrupt = AtomicU32::new(0);
    let mut driver = device_in(&interrupt, 15);
    for (select, value, stops) in
        [(0, 1, false), (1, 0, false), (1, 1, false), (2, 0, false), (0, 0, true), (0, 2, true)]
    {
        driver.write(0x030, select);
        let before = state(&driver);
        let expected = stops.then_some(Action::Stop);
        assert_eq!(driver.write(0x044, value), expected, "queue {select} := {value}");
        assert_eq!(state(&driver), before);
    }
    driver.registers.reset();
    assert_eq!((driver.read(0x044), driver.read(0x070)), (0, 0));
}

#[test]
fn devices_say_what_they_are() {
    let interrupt = AtomicU32::new(0);
    let config = |identity: Identity, at: u64| {
        let mut data = [0; 8];
        Registers::new(identity, &interrupt).read(0x100 + at, &mut data);
        u64::from_le_bytes(data)
    };
    let (flush, seg_max, read_only) = (1u64 << 9, 1u64 << 2, 1u64 << 5);
    let shape = Shape { sectors: 0x0123_4567_89ab_cdef, read_only: false };
    let disk = shape.identity();
    assert_eq!((disk.device, disk.queues), (2, &[256][..]));
    assert_eq!(disk.features, VERSION_1 | flush | seg_max);
    assert_eq!((config(disk, 0), config(disk, 8)), (shape.sectors, 254 << 32));
    let disk = Shape { read_only: true, ..shape }.identity();
    assert_eq!(disk.features, VERSION_1 | flush | seg_max | read_only);
    let console = console::IDENTITY;
    assert_eq!((console.device, console.features, console.queues), (3, VERSION_1, &[64, 64][..]));
    assert_eq!(config(console, 0), 0);
}
