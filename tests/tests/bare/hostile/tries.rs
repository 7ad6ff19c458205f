//! What the hostile guest does. The device that it is done to has just been reset and brought up.

use bare::virtio::{Buffer, Queue, VERSION_1, expect, register::*, set, status};
use bare::{FREE, Op, Width};
use tests::guests::{Answer, Console, Disk, FOREVER, NOT_SERVED, NOT_UP};

use crate::violations::{available, buffer, chain};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const RAM: u64 = FREE + (8 << 20);
/// The end of guest memory.
const END: u64 = 0xC000_0000;
/// The disk's device number.
const DISK: u8 = 1;

/// Resets the disk, clears its ring and brings it up.
pub fn disk_again() -> Vec<Op> {
    let mut disk = Disk::new(0);
    let mut ops = vec![set(DISK, STATUS, 0)];
    ops.extend(disk.forget());
    ops.extend(disk.up());
    ops
}

/// The same for the console.
pub fn console_again() -> Vec<Op> {
    let console = Console::new();
    let mut ops = vec![set(Console::DEVICE, STATUS, 0)];
    for queue in [console.receive, console.transmit] {
        let word = |addr| Op::Write { width: Width::Long, addr, value: 0 };
        ops.extend([word(queue.avail()), word(queue.used())]);
    }
    ops.extend(console.up());
    ops
}

/// The disk's ring, broken in this way, and kicked.
fn broken(misuse: impl Fn(&Queue) -> Vec<Op>) -> Vec<Op> {
    let queue = Disk::new(0).queue;
    let mut ops = misuse(&queue);
    ops.push(queue.kick(DISK));
    ops.push(Op::Spin);
    ops
}

fn one_buffer(address: u64, len: u32) -> Vec<Op> {
    broken(|queue| chain(queue, &[(buffer(address, len), 0, 0)]))
}

pub fn over_the_end() -> Vec<Op> {
    one_buffer(END - 8, 16)
}

pub fn longest_length() -> Vec<Op> {
    one_buffer(RAM, u32::MAX)
}

pub fn wraps_around() -> Vec<Op> {
    one_buffer(u64::MAX - 8, 16)
}

pub fn no_ram() -> Vec<Op> {
    one_buffer(END + 0x1000_0000, 1)
}

pub fn output_over_the_end() -> Vec<Op> {
    let queue = Console::new().transmit;
    let mut ops = chain(&queue, &[(buffer(END - 1, 2), 0, 0)]);
    ops.push(queue.kick(Console::DEVICE));
    ops.push(Op::Spin);
    ops
}

/// Every register of the queue, with the device running, and the disk still reads where its ring was.
pub fn geometry_while_running() -> Vec<Op> {
    let mut ops = vec![set(DISK, QUEUE_SEL, 0)];
    for (offset, value) in [
        (QUEUE_NUM, 4),
        (QUEUE_NUM, 0),
        (QUEUE_DESC, RAM),
        (QUEUE_DESC + 4, 0xffff_ffff),
        (QUEUE_DRIVER, RAM),
        (QUEUE_DEVICE, RAM),
        (QUEUE_READY, 1),
        (DRIVER_FEATURES, 0xffff_ffff),
    ] {
        ops.push(set(DISK, offset, value));
    }
    ops.extend(asks());
    ops
}

/// One request that is answered: who the disk is.
fn asks() -> Vec<Op> {
    Disk::new(0).identify("casemate-blk0")
}

/// Every value but the reset, in every status on the way up.
pub fn every_status() -> Vec<Op> {
    let mut ops = Vec::new();
    for way in [&[][..], &[1], &[1, 3]] {
        ops.push(set(DISK, STATUS, 0));
        for value in 1..=255 {
            ops.extend(way.iter().map(|step| set(DISK, STATUS, *step)));
            ops.push(set(DISK, STATUS, value));
            ops.push(set(DISK, STATUS, 0));
            ops.push(expect(DISK, STATUS, 0, NOT_UP));
        }
    }
    ops
}

/// Bits of a running device are not taken back.
pub fn status_taken_back() -> Vec<Op> {
    let up = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    let mut ops = Vec::new();
    for value in [1, 2, 3, 7, 8, 11, 14] {
        ops.push(set(DISK, STATUS, value));
        ops.push(expect(DISK, STATUS, up, NOT_UP));
    }
    ops.extend(asks());
    ops
}

/// Queues that do not exist, and every register of theirs.
pub fn no_such_queue() -> Vec<Op> {
    let mut ops = vec![set(DISK, STATUS, 0)];
    ops.extend([1, 3, 11].map(|value| set(DISK, STATUS, value)));
    for queue in [1, 2, 0xffff, 0x8000_0000, 0xffff_ffff] {
        ops.push(set(DISK, QUEUE_SEL, queue));
        for offset in (QUEUE_NUM..=QUEUE_DEVICE + 4).step_by(4).filter(|at| *at != STATUS) {
            ops.push(set(DISK, offset, 1));
        }
        ops.push(expect(DISK, QUEUE_NUM_MAX, 0, NOT_UP));
        ops.push(expect(DISK, QUEUE_READY, 0, NOT_UP));
    }
    ops
}

/// Sizes that no queue has: it does not become ready with any.
pub fn sizes() -> Vec<Op> {
    let mut ops = Vec::new();
    for size in [0, 3, 257, 512, 0x8000, 0x1_0000, 0x1_0001, 0xffff_ffff] {
        ops.push(set(DISK, STATUS, 0));
        ops.extend([1, 3].map(|value| set(DISK, STATUS, value)));
        ops.extend(
            [(DRIVER_FEATURES_SEL, 1), (DRIVER_FEATURES, 1), (STATUS, 11), (QUEUE_SEL, 0)]
                .map(|(offset, value)| set(DISK, offset, value)),
        );
        ops.push(set(DISK, QUEUE_NUM, size));
        ops.push(set(DISK, QUEUE_READY, 1));
        ops.push(expect(DISK, QUEUE_READY, 0, NOT_UP));
    }
    ops
}

pub fn index_jumps() -> Vec<Op> {
    broken(|queue| available(queue, 9, 0))
}

pub fn index_jumps_furthest() -> Vec<Op> {
    broken(|queue| available(queue, 0xffff, 0))
}

/// Kicks of a queue that is not ready, and of one that was taken back.
pub fn not_ready() -> Vec<Op> {
    let mut ops = vec![set(DISK, STATUS, 0)];
    for value in [1, 3, 11, 15] {
        ops.push(set(DISK, STATUS, value));
        ops.extend(kicks());
    }
    ops
}

/// Every index that a kick can have.
fn kicks() -> Vec<Op> {
    [0, 1, 2, 0xffff, 0x1_0000, 0xffff_ffff].map(|queue| set(DISK, QUEUE_NOTIFY, queue)).into()
}

/// A chain of more than 2^32 bytes.
pub fn too_long() -> Vec<Op> {
    broken(|queue| {
        chain(queue, &[(buffer(0, 0xC000_0000), NEXT, 1), (buffer(0, 0x4000_0001), 0, 0)])
    })
}

pub fn next_to_itself() -> Vec<Op> {
    broken(|queue| chain(queue, &[(buffer(RAM, 16), NEXT, 0)]))
}

pub fn cycle_of_two() -> Vec<Op> {
    broken(|queue| chain(queue, &[(buffer(RAM, 16), NEXT, 1), (buffer(RAM, 16), NEXT, 0)]))
}

pub fn cycle_of_all() -> Vec<Op> {
    broken(|queue| {
        let parts: Vec<_> = (0..8).map(|n| (buffer(RAM, 16), NEXT, (n + 1) % 8)).collect();
        chain(queue, &parts)
    })
}

pub fn head_out_of_range() -> Vec<Op> {
    broken(|queue| available(queue, 1, 8))
}

pub fn next_out_of_range() -> Vec<Op> {
    broken(|queue| chain(queue, &[(buffer(RAM, 16), NEXT, 0xffff)]))
}

/// A read of one sector in a chain of exactly as many parts as there are descriptors.
pub fn longest_chain() -> Vec<Op> {
    let mut disk = Disk::new(0);
    let part = |n: u64| Buffer {
        addr: RAM + 0x100 + 0x60 * n,
        len: if n < 5 { 96 } else { 32 },
        writable: true,
    };
    let mut chain = vec![Buffer { addr: RAM, len: 16, writable: false }];
    chain.extend((0..6).map(part));
    chain.push(Buffer { addr: RAM + 0x80, len: 1, writable: true });
    let mut ops = vec![Op::Bytes { addr: RAM, data: vec![0; 16] }];
    ops.extend(disk.queue.request(DISK, 0, &chain, FOREVER, NOT_SERVED));
    ops.push(tests::guests::expect(Width::Byte, RAM + 0x80, 0, NOT_SERVED));
    disk.forget();
    ops
}

/// Sectors at and past the end, and those whose byte is past 2^64.
pub fn sectors() -> Vec<Op> {
    let mut disk = Disk::new(0);
    let mut ops = Vec::new();
    for sector in [16, 17, 1 << 55, (1 << 55) - 1, 1 << 63, u64::MAX] {
        ops.extend(disk.write(sector, &[0x5a; 512], Answer::Error));
    }
    // The last one, and one more.
    ops.extend(disk.write(15, &[0x5a; 1024], Answer::Error));
    // No whole sector.
    ops.extend(disk.write(0, &[0x5a; 511], Answer::Error));
    ops
}

/// Resets while requests are on their way.
pub fn reset_in_flight() -> Vec<Op> {
    let mut ops = Vec::new();
    for _ in 0..50 {
        let queue = Disk::new(0).queue;
        ops.push(Op::Bytes { addr: RAM, data: vec![0; 16] });
        let parts = [(buffer(RAM, 16), NEXT, 1), (buffer(RAM + 16, 8192 + 1), WRITE, 0)];
        ops.extend(chain(&queue, &parts));
        ops.push(queue.kick(DISK));
        ops.push(set(DISK, STATUS, 0));
        // Nothing is touched after the reset.
        ops.push(Op::Write { width: Width::Quad, addr: RAM + 16, value: 0x1234 });
        ops.push(tests::guests::expect(Width::Quad, RAM + 16, 0x1234, NOT_SERVED));
        ops.extend(disk_again());
    }
    ops
}

/// The header and the status change while the device looks: whatever it is answered, the sectors are read only.
pub fn changes_meanwhile() -> Vec<Op> {
    let queue = Disk::new(0).queue;
    let write = |addr, value| Op::Write { width: Width::Quad, addr, value };
    let mut ops = vec![Op::Bytes { addr: RAM, data: vec![0; 16] }];
    let parts = [(buffer(RAM, 16), NEXT, 1), (buffer(RAM + 16, 513), WRITE, 0)];
    ops.extend(chain(&queue, &parts));
    ops.push(queue.kick(DISK));
    ops.push(Op::Repeat { count: 20_000, ops: vec![write(RAM + 8, u64::MAX), write(RAM + 8, 0)] });
    ops.extend(queue.await_used(0, 0, FOREVER, NOT_SERVED));
    ops
}

/// As much as a chain can describe, over and over the same memory: a read that the disk does not have.
pub fn much_on_little() -> Vec<Op> {
    let queue = Disk::new(0).queue;
    let mut ops = vec![Op::Bytes { addr: RAM, data: vec![0; 16] }];
    let mut parts = vec![(buffer(RAM, 16), NEXT, 1)];
    parts.extend((2..8).map(|next| (buffer(0x40_0000 * 4, 0x2000_0000), NEXT | WRITE, next)));
    parts.push((buffer(RAM + 64, 1), WRITE, 0));
    ops.extend(chain(&queue, &parts));
    ops.push(queue.kick(DISK));
    ops.extend(queue.await_used(0, 0, FOREVER, NOT_SERVED));
    ops.push(tests::guests::expect(Width::Byte, RAM + 64, 1, NOT_SERVED));
    ops
}

/// A read into the last bytes of memory, its status at the very end.
pub fn up_to_the_end() -> Vec<Op> {
    let queue = Disk::new(0).queue;
    let mut ops = vec![Op::Bytes { addr: RAM, data: vec![0; 16] }];
    ops.push(Op::Write { width: Width::Byte, addr: END - 1, value: 0xee });
    let parts = [(buffer(RAM, 16), NEXT, 1), (buffer(END - 513, 513), WRITE, 0)];
    ops.extend(chain(&queue, &parts));
    ops.push(queue.kick(DISK));
    ops.extend(queue.await_used(0, 0, FOREVER, NOT_SERVED));
    ops.push(tests::guests::expect(Width::Byte, END - 1, 0, NOT_SERVED));
    ops
}

/// The configuration at every offset and width, and writes to it.
pub fn configuration() -> Vec<Op> {
    let mut ops = Vec::new();
    let widths = [(Width::Byte, 1), (Width::Word, 2), (Width::Long, 4), (Width::Quad, 8)];
    for (width, step) in widths {
        for at in (CONFIG..CONFIG + 0x40).chain(0xff0..=0x1000 - step) {
            let addr = bare::virtio::register(DISK, at);
            ops.push(Op::Write { width, addr, value: u64::MAX });
            ops.push(Op::Copy { width, from: addr, to: RAM });
        }
    }
    ops.push(expect(DISK, CONFIG, 16, NOT_UP));
    ops.push(expect(DISK, CONFIG + 4, 0, NOT_UP));
    ops
}

/// Kicks in every state of the way up.
pub fn kicks_too_early() -> Vec<Op> {
    let mut ops = vec![set(DISK, STATUS, 0)];
    ops.extend(kicks());
    for op in Disk::new(0).up() {
        ops.push(op);
        ops.extend(kicks());
    }
    ops
}

/// Features that are not offered: FEATURES_OK does not stay.
pub fn features() -> Vec<Op> {
    let mut ops = Vec::new();
    // Of the disk SCSI, CONFIG_WCE; of both INDIRECT_DESC, EVENT_IDX, PACKED.
    for (half, bit) in [(0, 7), (0, 11), (0, 28), (0, 29), (1, 2)] {
        ops.push(set(DISK, STATUS, 0));
        ops.extend([1, 3].map(|value| set(DISK, STATUS, value)));
        ops.push(set(DISK, DRIVER_FEATURES_SEL, half));
        ops.push(set(DISK, DRIVER_FEATURES, 1 << bit | half));
        ops.push(set(DISK, STATUS, 11));
        ops.push(expect(DISK, STATUS, 3, NOT_UP));
    }
    ops
}

pub fn indirect() -> Vec<Op> {
    broken(|queue| chain(queue, &[(buffer(RAM, 16), 4, 0)]))
}

/// DRIVER_OK with no queue at all, and kicks.
pub fn no_queue() -> Vec<Op> {
    let mut ops = bare::virtio::bring_up(Console::DEVICE, VERSION_1, &[], NOT_UP);
    ops.extend([0, 1].map(|queue| set(Console::DEVICE, QUEUE_NOTIFY, queue)));
    ops
}

/// The console with the queue for output alone, which says nothing.
pub fn one_queue() -> Vec<Op> {
    let console = Console::new();
    let mut ops = bare::virtio::bring_up(Console::DEVICE, VERSION_1, &[console.transmit], NOT_UP);
    ops.extend([0, 1].map(|queue| set(Console::DEVICE, QUEUE_NOTIFY, queue)));
    ops
}

/// Kicks without end, and a request among them.
pub fn kick_storm() -> Vec<Op> {
    let mut ops = vec![Op::Repeat { count: 5_000, ops: vec![set(DISK, QUEUE_NOTIFY, 0)] }];
    ops.extend(asks());
    ops
}
