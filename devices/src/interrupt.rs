//! Used-buffer interrupts: a bit for the driver to read, and an event that raises the line.
//!
//! virtio 1.2 §4.2.2 InterruptStatus. The status word lies in a page that the device worker and the
//! vcpu worker share and the guest cannot reach; the line is an irqfd, so that no process but the
//! device's own runs between a completion and the guest's interrupt.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::violation::Fault;

/// InterruptStatus bit 0: a used ring was updated.
pub const USED_BUFFER: u32 = 1;

/// A device's interrupt.
#[derive(Debug)]
pub struct Interrupt<'a> {
    status: &'a AtomicU32,
    line: OwnedFd,
}

impl<'a> Interrupt<'a> {
    /// An interrupt that sets bits in `status` and then raises `line`, an eventfd.
    pub fn new(status: &'a AtomicU32, line: OwnedFd) -> Self {
        Self { status, line }
    }

    /// Tells the driver that a used ring was updated.
    pub fn used_buffer(&self) -> Result<(), Fault> {
        self.status.fetch_or(USED_BUFFER, Ordering::AcqRel);
        match rustix::io::write(&self.line, &1u64.to_ne_bytes()) {
            // AGAIN: the counter is full, so the line is raised already.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Fault::System("cannot raise the interrupt", errno)),
        }
    }
}
