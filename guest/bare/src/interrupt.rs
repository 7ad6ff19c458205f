//! Interrupts for a guest that takes none: route one, then poll the local APIC's request register.
//!
//! A program runs with interrupts off, so a request that arrived stays pending (Intel SDM volume 3,
//! "Interrupt Request Register"). That shows the way from the device to the vCPU without a handler.

use crate::{Op, Width};

const IOAPIC_SELECT: u64 = 0xFEC0_0000;
const IOAPIC_WINDOW: u64 = 0xFEC0_0010;
/// Spurious interrupt vector register: bit 8 switches the APIC on.
const LAPIC_SPURIOUS: u64 = 0xFEE0_00F0;
const LAPIC_REQUESTS: u64 = 0xFEE0_0200;

/// Has the I/O APIC deliver `gsi`, at most 23, as an edge to vCPU 0 with `vector`, which is 32 or more.
pub fn route(gsi: u8, vector: u8) -> Vec<Op> {
    let write = |addr, value| Op::Write { width: Width::Long, addr, value };
    let register = 0x10 + u64::from(gsi) * 2;
    vec![
        write(LAPIC_SPURIOUS, 0x1FF),
        // Destination: APIC id 0. Then fixed delivery, physical, active-high, edge, not masked.
        write(IOAPIC_SELECT, register + 1),
        write(IOAPIC_WINDOW, 0),
        write(IOAPIC_SELECT, register),
        write(IOAPIC_WINDOW, u64::from(vector)),
    ]
}

/// Waits, for at most `bound` reads, until `vector` is requested.
pub fn requested(vector: u8, bound: u64, code: u8) -> Op {
    let addr = LAPIC_REQUESTS + 0x10 * u64::from(vector / 32);
    let bit = 1 << (vector % 32);
    Op::Poll { width: Width::Long, addr, mask: bit, value: bit, bound, code }
}
