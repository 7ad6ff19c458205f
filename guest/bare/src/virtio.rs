//! The driver side of a virtio-mmio device, as operations (virtio 1.2, sections 3.1, 4.2.2 and 2.7).
//!
//! Ring positions are known when the program is written: the `nth` chain that a queue is offered, from zero
//! on, goes to slot `nth % size` and makes the index `nth + 1`.

use crate::{Op, Width};

/// Offsets of the registers.
pub mod register {
    /// `0x7472_6976`, "virt".
    pub const MAGIC: u64 = 0x000;
    /// 2.
    pub const VERSION: u64 = 0x004;
    /// Kind of device; 0 is none.
    pub const DEVICE_ID: u64 = 0x008;
    /// Features the device offers, 32 of them.
    pub const DEVICE_FEATURES: u64 = 0x010;
    /// Which 32.
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    /// Features the driver takes, 32 of them.
    pub const DRIVER_FEATURES: u64 = 0x020;
    /// Which 32.
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    /// Which queue the next ones are about.
    pub const QUEUE_SEL: u64 = 0x030;
    /// Largest size of the queue; 0 if there is none.
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    /// Its size.
    pub const QUEUE_NUM: u64 = 0x038;
    /// 1 while it is in use.
    pub const QUEUE_READY: u64 = 0x044;
    /// A write kicks the queue of that number.
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// Why the device raised its interrupt.
    pub const INTERRUPT_STATUS: u64 = 0x060;
    /// A write clears those bits.
    pub const INTERRUPT_ACK: u64 = 0x064;
    /// How far the driver got; 0 resets.
    pub const STATUS: u64 = 0x070;
    /// Address of the descriptor table; the high half is the next register.
    pub const QUEUE_DESC: u64 = 0x080;
    /// Address of the available ring.
    pub const QUEUE_DRIVER: u64 = 0x090;
    /// Address of the used ring.
    pub const QUEUE_DEVICE: u64 = 0x0A0;
    /// Changes when the configuration does.
    pub const CONFIG_GENERATION: u64 = 0x0FC;
    /// The device's own configuration.
    pub const CONFIG: u64 = 0x100;
}

/// Bits of the status register (section 2.1).
pub mod status {
    /// The guest has seen the device.
    pub const ACKNOWLEDGE: u64 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u64 = 2;
    /// It is ready.
    pub const DRIVER_OK: u64 = 4;
    /// The features are agreed.
    pub const FEATURES_OK: u64 = 8;
    /// The device gave up.
    pub const NEEDS_RESET: u64 = 64;
    /// The driver gave up.
    pub const FAILED: u64 = 128;
}

/// The one feature no driver may leave out.
pub const VERSION_1: u64 = 1 << 32;

const MAGIC: u64 = 0x7472_6976;
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;

/// Address of a register of virtio-mmio device `n`.
pub fn register(n: u8, offset: u64) -> u64 {
    0xD000_0000 + u64::from(n) * 0x1000 + offset
}

/// Interrupt of virtio-mmio device `n`.
pub fn gsi(n: u8) -> u8 {
    5 + n
}

/// Writes a register of device `n`.
pub fn set(n: u8, offset: u64, value: u64) -> Op {
    Op::Write { width: Width::Long, addr: register(n, offset), value }
}

/// Fails unless a register of device `n` holds `value`.
pub fn expect(n: u8, offset: u64, value: u64, code: u8) -> Op {
    expect_bits(n, offset, u64::MAX, value, code)
}

fn expect_bits(n: u8, offset: u64, mask: u64, value: u64, code: u8) -> Op {
    Op::Expect { width: Width::Long, addr: register(n, offset), mask, value, code }
}

/// One part of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

/// A split virtqueue, its three parts one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Number of the queue.
    pub index: u16,
    /// Descriptors, a power of two.
    pub size: u16,
    /// Address of the descriptor table, on a 16-byte boundary; at most 26 bytes for each descriptor and 12 follow.
    pub base: u64,
}

impl Queue {
    /// Address of the descriptor table.
    pub fn desc(&self) -> u64 {
        self.base
    }

    /// Address of the available ring: flags, index, slots.
    pub fn avail(&self) -> u64 {
        self.base + 16 * u64::from(self.size)
    }

    /// Address of the used ring: flags, index, slots of eight bytes.
    pub fn used(&self) -> u64 {
        (self.avail() + 6 + 2 * u64::from(self.size)).next_multiple_of(4)
    }

    /// Writes a chain into the descriptors from `head` on.
    pub fn chain(&self, head: u16, buffers: &[Buffer]) -> Op {
        let mut data = Vec::new();
        for (next, buffer) in (head.wrapping_add(1)..).zip(buffers) {
            let last = usize::from(next.wrapping_sub(head)) == buffers.len();
            let flags =
                if last { 0 } else { DESC_NEXT } | if buffer.writable { DESC_WRITE } else { 0 };
            data.extend(descriptor(buffer, flags, if last { 0 } else { next }));
        }
        Op::Bytes { addr: self.desc() + 16 * u64::from(head), data }
    }

    /// Offers the chain that starts at `head` as the `nth`.
    pub fn offer(&self, nth: u16, head: u16) -> Vec<Op> {
        let slot = u64::from(nth % self.size.max(1));
        let write = |addr, value| Op::Write { width: Width::Word, addr, value };
        vec![
            write(self.avail() + 4 + 2 * slot, u64::from(head)),
            write(self.avail() + 2, u64::from(nth.wrapping_add(1))),
        ]
    }

    /// Kicks device `n`.
    pub fn kick(&self, n: u8) -> Op {
        set(n, register::QUEUE_NOTIFY, u64::from(self.index))
    }

    /// Waits, for at most `bound` reads, until the device has used `nth + 1` chains, and checks that the last is `head`.
    pub fn await_used(&self, nth: u16, head: u16, bound: u64, code: u8) -> Vec<Op> {
        let slot = u64::from(nth % self.size.max(1));
        let (mask, value) = (0xFFFF, u64::from(nth.wrapping_add(1)));
        vec![
            Op::Poll { width: Width::Word, addr: self.used() + 2, mask, value, bound, code },
            Op::Expect {
                width: Width::Long,
                addr: self.used() + 4 + 8 * slot,
                mask: u64::MAX,
                value: u64::from(head),
                code,
            },
        ]
    }

    /// Offers the chains that the next `count` slots name, whatever they are, kicks device `n`, and waits
    /// until the device has used them all. For what is repeated: positions need not be known.
    pub fn again(&self, n: u8, count: u16, code: u8) -> Vec<Op> {
        let (available, used) = (self.avail() + 2, self.used() + 2);
        let (width, bound) = (Width::Word, u64::MAX);
        vec![
            Op::Add { width, addr: available, value: u64::from(count) },
            self.kick(n),
            Op::Same { width, a: available, b: used, bound, code },
        ]
    }

    /// Address of the length that the device reports for the `nth` chain.
    pub fn used_len(&self, nth: u16) -> u64 {
        self.used() + 8 + 8 * u64::from(nth % self.size.max(1))
    }

    /// Writes a chain, offers it as the `nth`, kicks device `n` and waits until it is used.
    pub fn request(&self, n: u8, nth: u16, buffers: &[Buffer], bound: u64, code: u8) -> Vec<Op> {
        let mut ops = vec![self.chain(0, buffers)];
        ops.extend(self.offer(nth, 0));
        ops.push(self.kick(n));
        ops.extend(self.await_used(nth, 0, bound, code));
        ops
    }
}

/// A descriptor as it lies in the table: address, length, flags, next.
pub fn descriptor(buffer: &Buffer, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&buffer.addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&buffer.len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// Resets device `n`, agrees on `features` and makes it ready (section 3.1.1), all of which it must accept.
///
/// [`VERSION_1`] has to be among the features. `code` is the exit code of whatever fails.
pub fn bring_up(n: u8, features: u64, queues: &[Queue], code: u8) -> Vec<Op> {
    let acknowledged = status::ACKNOWLEDGE | status::DRIVER;
    let mut ops = vec![
        expect(n, register::MAGIC, MAGIC, code),
        expect(n, register::VERSION, 2, code),
        set(n, register::STATUS, 0),
        expect(n, register::STATUS, 0, code),
        set(n, register::STATUS, status::ACKNOWLEDGE),
        set(n, register::STATUS, acknowledged),
    ];
    for half in [0, 1] {
        let wanted = features >> (32 * half) & 0xFFFF_FFFF;
        ops.push(set(n, register::DEVICE_FEATURES_SEL, half));
        ops.push(expect_bits(n, register::DEVICE_FEATURES, wanted, wanted, code));
        ops.push(set(n, register::DRIVER_FEATURES_SEL, half));
        ops.push(set(n, register::DRIVER_FEATURES, wanted));
    }
    let agreed = acknowledged | status::FEATURES_OK;
    ops.push(set(n, register::STATUS, agreed));
    ops.push(expect(n, register::STATUS, agreed, code));
    for queue in queues {
        ops.extend(set_up(n, queue, code));
    }
    ops.push(set(n, register::STATUS, agreed | status::DRIVER_OK));
    ops.push(expect(n, register::STATUS, agreed | status::DRIVER_OK, code));
    ops
}

/// Gives device `n` the addresses of a queue (section 4.2.3.2).
pub fn set_up(n: u8, queue: &Queue, code: u8) -> Vec<Op> {
    let mut ops = vec![
        set(n, register::QUEUE_SEL, u64::from(queue.index)),
        expect(n, register::QUEUE_READY, 0, code),
        set(n, register::QUEUE_NUM, u64::from(queue.size)),
    ];
    for (offset, address) in [
        (register::QUEUE_DESC, queue.desc()),
        (register::QUEUE_DRIVER, queue.avail()),
        (register::QUEUE_DEVICE, queue.used()),
    ] {
        ops.push(set(n, offset, address & 0xFFFF_FFFF));
        ops.push(set(n, offset + 4, address >> 32));
    }
    ops.push(set(n, register::QUEUE_READY, 1));
    ops.push(expect(n, register::QUEUE_READY, 1, code));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_queue_do_not_overlap() {
        for size in [1, 2, 8, 256, 1024] {
            let queue = Queue { index: 0, size, base: 0x40_0000 };
            let n = u64::from(size);
            assert_eq!(queue.avail(), 0x40_0000 + 16 * n);
            assert!(queue.used() >= queue.avail() + 6 + 2 * n && queue.used().is_multiple_of(4));
            assert!(queue.used() + 6 + 8 * n <= queue.base + 26 * n + 12 + 2);
        }
    }

    #[test]
    fn a_chain_is_linked_to_its_end() {
        let queue = Queue { index: 1, size: 8, base: 0x40_0000 };
        let buffer = |addr, writable| Buffer { addr, len: 0x10, writable };
        let Op::Bytes { addr, data } =
            queue.chain(2, &[buffer(0x1000, false), buffer(0x2000, true)])
        else {
            panic!("a chain is bytes");
        };
        assert_eq!(addr, 0x40_0020);
        assert_eq!(data[..16], [0, 0x10, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 3, 0]);
        assert_eq!(data[16..], [0, 0x20, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn ring_positions_wrap() {
        let queue = Queue { index: 0, size: 4, base: 0x40_0000 };
        let write = |addr, value| Op::Write { width: Width::Word, addr, value };
        assert_eq!(queue.offer(5, 3), [write(0x40_0046, 3), write(0x40_0042, 6)]);
        assert_eq!(queue.offer(u16::MAX, 0)[1], write(0x40_0042, 0));
    }
}
