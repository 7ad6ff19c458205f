//! A guest that breaks the device contract ends its own run, with the worker and the violation named.

use bare::virtio::{Buffer, Queue, VERSION_1, bring_up, descriptor};
use bare::{FREE, Op, Width};
use devices::violation::Violation;
use tests::guests::{Console, Disk, NOT_UP};
use tests::run::Run;
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// An address that is a device's, and no RAM.
const NO_RAM: u64 = 0xD000_0000;
const RAM: u64 = FREE + (8 << 20);
/// With 3 GiB of it, RAM is one piece of 3 GiB: the longest that a buffer can be.
pub const MEMORY: &str = "3G";
const LONGEST: u32 = 0xC000_0000;

/// What the guest does with a queue of 8 descriptors that is up and empty.
pub type Misuse = fn(&Queue) -> Vec<Op>;

/// By name: how a ring is misused, and what that is called. The same for every device.
const RING: [(&str, Misuse, Violation); 12] = [
    ("available_index_too_far", |queue| available(queue, 9, 0), Violation::AvailIndex),
    ("available_index_furthest", |queue| available(queue, 0x8000, 0), Violation::AvailIndex),
    ("head_out_of_range", |queue| available(queue, 1, 8), Violation::DescriptorIndex),
    ("head_furthest", |queue| available(queue, 1, 0xffff), Violation::DescriptorIndex),
    (
        "next_out_of_range",
        |queue| chain(queue, &[(buffer(RAM, 16), NEXT, 8)]),
        Violation::DescriptorIndex,
    ),
    ("loop_of_one", |queue| chain(queue, &[(buffer(RAM, 16), NEXT, 0)]), Violation::ChainLoop),
    (
        "loop_of_two",
        |queue| chain(queue, &[(buffer(RAM, 16), NEXT, 1), (buffer(RAM, 16), NEXT, 0)]),
        Violation::ChainLoop,
    ),
    (
        "buffer_not_in_ram",
        |queue| chain(queue, &[(buffer(NO_RAM, 16), 0, 0)]),
        Violation::BufferPlacement,
    ),
    (
        "buffer_over_the_end",
        |queue| chain(queue, &[(buffer(u64::from(LONGEST) - 8, 16), 0, 0)]),
        Violation::BufferPlacement,
    ),
    (
        "buffer_that_wraps_around",
        |queue| chain(queue, &[(buffer(u64::MAX - 8, 16), 0, 0)]),
        Violation::BufferPlacement,
    ),
    ("indirect", |queue| chain(queue, &[(buffer(RAM, 16), INDIRECT, 0)]), Violation::Indirect),
    (
        "readable_after_writable",
        |queue| {
            let parts = [
                (buffer(RAM, 16), NEXT, 1),
                (buffer(RAM, 512), NEXT | WRITE, 2),
                (buffer(RAM, 512), 0, 0),
            ];
            chain(queue, &parts)
        },
        Violation::DescriptorOrder,
    ),
];

/// The block device's alone.
const DISK: [(&str, Misuse, Violation); 3] = [
    (
        "no_room_for_the_status",
        |queue| chain(queue, &[(buffer(RAM, 16), NEXT, 1), (buffer(RAM, 512), 0, 0)]),
        Violation::NoStatus,
    ),
    (
        "no_byte_for_the_status",
        |queue| chain(queue, &[(buffer(RAM, 16), NEXT, 1), (buffer(RAM, 0), WRITE, 0)]),
        Violation::NoStatus,
    ),
    (
        "longer_than_4_gib",
        |queue| chain(queue, &[(buffer(0, LONGEST), NEXT, 1), (buffer(0, 0x4000_0001), 0, 0)]),
        Violation::ChainLength,
    ),
];

/// Where a ring cannot be.
const PLACES: [(&str, u64); 5] = [
    ("ring_not_in_ram", NO_RAM),
    ("ring_over_the_end_of_ram", LONGEST as u64 - 128),
    ("ring_not_on_a_boundary", FREE + 8),
    ("ring_past_the_end_of_all", 1 << 52),
    ("ring_at_the_end_of_all", u64::MAX - 1023),
];

pub fn tests() -> Vec<Test> {
    let tests = guests().into_iter().map(|(worker, name, guest, violation)| {
        let check = move || check(worker, &guest, violation);
        Test::new(format!("violations::{worker}::{name}"), &[Need::Kvm], check)
    });
    tests.collect()
}

/// Every guest that breaks the contract, by the worker that finds it, with its name and how it is called.
pub fn guests() -> Vec<(&'static str, &'static str, Vec<Op>, Violation)> {
    let mut guests = Vec::new();
    for (name, misuse, violation) in RING {
        guests.push(("console", name, on_console(misuse), violation));
    }
    for (name, misuse, violation) in RING.into_iter().chain(DISK) {
        guests.push(("blk0", name, on_disk(misuse), violation));
    }
    for (name, base) in PLACES {
        guests.push(("blk0", name, misplaced(base), Violation::RingPlacement));
    }
    for (_, _, guest, _) in &mut guests {
        guest.push(Op::Halt);
    }
    guests
}

fn check(worker: &str, program: &[Op], violation: Violation) {
    let dir = Scratch::new();
    let image = noise(3, 4096);
    dir.write("disk.img", &image);
    let end = Run::boot(&dir, program).args(&["--disk", "disk.img", "--mem", MEMORY]).end();
    let words = violation.to_string();
    end.exits(119).outcome("violation").blames(worker).prints("").explains(&[worker, &words]);
    end.check(end.text("reason").contains(&words), "the report does not name the violation");
    assert_same(&dir.read("disk.img"), &image, "the image");
}

fn misplaced(base: u64) -> Vec<Op> {
    let disk = Disk::new(0);
    bring_up(disk.device, VERSION_1, &[Queue { base, ..disk.queue }], NOT_UP)
}

/// A guest that misuses the console's ring.
pub fn on_console(misuse: Misuse) -> Vec<Op> {
    let console = Console::new();
    let mut ops = console.up();
    ops.extend(misuse(&console.transmit));
    ops.push(console.transmit.kick(Console::DEVICE));
    ops
}

/// A guest that misuses the disk's.
pub fn on_disk(misuse: Misuse) -> Vec<Op> {
    let disk = Disk::new(0);
    let mut ops = disk.up();
    ops.extend(misuse(&disk.queue));
    ops.push(disk.queue.kick(disk.device));
    ops
}

/// What a device may read.
pub fn buffer(addr: u64, len: u32) -> Buffer {
    Buffer { addr, len, writable: false }
}

/// Makes `count` chains available at once, the first of which begins at `head`.
pub fn available(queue: &Queue, count: u64, head: u64) -> Vec<Op> {
    let write = |addr, value| Op::Write { width: Width::Word, addr, value };
    vec![write(queue.avail() + 4, head), write(queue.avail() + 2, count)]
}

/// Writes descriptors as they are, with flags and next, and makes the first available.
pub fn chain(queue: &Queue, parts: &[(Buffer, u16, u16)]) -> Vec<Op> {
    let data = parts.iter().flat_map(|(buffer, flags, next)| descriptor(buffer, *flags, *next));
    let mut ops = vec![Op::Bytes { addr: queue.desc(), data: data.collect() }];
    ops.extend(available(queue, 1, 0));
    ops
}
