//! Used-buffer interrupts: a bit for the driver to read, and an event that raises the line.
//!
//! virtio 1.2 §4.2.2 InterruptStatus. The status word lies in a page that the device worker and the
//! vcpu worker share and the guest cannot reach; the line is one of the device's [`wires`](crate::wires).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::violation::Fault;
use crate::wires::Wires;

/// InterruptStatus bit 0: a used ring was updated.
pub const USED_BUFFER: u32 = 1;

/// A device's interrupt.
#[derive(Debug)]
pub struct Interrupt<'a> {
    status: &'a AtomicU32,
}

impl<'a> Interrupt<'a> {
    /// An interrupt that sets bits in `status`.
    pub fn new(status: &'a AtomicU32) -> Self {
        Self { status }
    }

    /// Tells the driver that a used ring was updated, and raises the line.
    pub fn used_buffer(&self, wires: &impl Wires) -> Result<(), Fault> {
        self.status.fetch_or(USED_BUFFER, Ordering::AcqRel);
        match wires.raise() {
            // AGAIN: the counter is full, so the line is raised already.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Fault::System("cannot raise the interrupt", errno)),
        }
    }
}
