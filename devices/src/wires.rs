//! What joins a device's worker to the rest of its virtual machine: messages, kicks and the interrupt.
//!
//! In a worker they are descriptors. The trait is what lets a fuzzer run the same loops with queues
//! in memory, at a small part of the cost; it is never more than four calls that do not wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// The calls that a device makes of its virtual machine. None of them waits.
pub trait Wires {
    /// Takes one control message; returns its length, 0 once the other end has gone.
    fn receive(&self, message: &mut [u8]) -> Result<usize, Errno>;
    /// Sends a control message.
    fn send(&self, message: &[u8]) -> Result<usize, Errno>;
    /// Clears the kick of queue `index`, if there is such a queue.
    fn take_kick(&self, index: usize) -> Result<usize, Errno>;
    /// Raises the interrupt's line.
    fn raise(&self) -> Result<usize, Errno>;
}

/// Wires as a worker is given them.
#[derive(Debug)]
pub struct Descriptors {
    /// The control socket (`SOCK_SEQPACKET`).
    pub control: OwnedFd,
    /// One non-blocking eventfd for each queue.
    pub kicks: Vec<OwnedFd>,
    /// The irqfd, so that no process but the device's own runs between a completion and the
    /// guest's interrupt.
    pub line: OwnedFd,
}

impl Descriptors {
    /// The control socket, to wait for.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// The kick of queue `index`, to wait for.
    pub fn kick(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.kicks.get(index).map(AsFd::as_fd)
    }
}

impl Wires for Descriptors {
    fn receive(&self, message: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&self.control, message)
    }

    fn send(&self, message: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(&self.control, message)
    }

    fn take_kick(&self, index: usize) -> Result<usize, Errno> {
        self.kicks.get(index).map_or(Ok(0), |kick| rustix::io::read(kick, &mut [0; 8]))
    }

    fn raise(&self) -> Result<usize, Errno> {
        rustix::io::write(&self.line, &1u64.to_ne_bytes())
    }
}
