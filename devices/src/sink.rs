//! Where console output goes: a descriptor behind a bounded buffer.
//!
//! A sink that is slow holds its guest up; one whose reader has gone swallows what still comes. It
//! never ends the virtual machine. Descriptors are used as they were given: they are shared with
//! processes outside the sandbox, so their flags are left alone, and what keeps a write from
//! blocking is that it is small and follows a poll.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The most bytes handed to one write: a pipe that polls writable takes them without blocking.
const WRITE: usize = 4096;

/// A buffered output.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    buffer: VecDeque<u8>,
    capacity: usize,
    closed: bool,
}

impl Sink {
    /// A sink that holds at most `capacity` bytes not yet written.
    pub fn new(fd: OwnedFd, capacity: usize) -> Self {
        Self { fd, buffer: VecDeque::with_capacity(capacity), capacity, closed: false }
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// True once the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes as many bytes from the front of `bytes` as there is room for; returns how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        if self.closed {
            return bytes.len();
        }
        let count = bytes.len().min(self.capacity - self.buffer.len());
        self.buffer.extend(bytes.iter().take(count));
        count
    }

    /// The descriptor to wait for, while there is something to write.
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (!self.buffer.is_empty()).then(|| self.fd.as_fd())
    }

    /// Writes once, if there is something to write and the descriptor takes it without blocking.
    /// Returns whether it did.
    pub fn write(&mut self) -> bool {
        let (front, _) = self.buffer.as_slices();
        let front = front.get(..WRITE).unwrap_or(front);
        if front.is_empty() || !self.polls_writable() {
            return false;
        }
        match rustix::io::write(&self.fd, front) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok(count) if count > 0 => drop(self.buffer.drain(..count)),
            // The reader has gone, or the disk is full: whichever, nothing more can be kept.
            Ok(_) | Err(_) => {
                self.closed = true;
                self.buffer.clear();
            }
        }
        true
    }

    /// Asked before every write, however the loop has polled: two sinks may share one pipe, and
    /// the first may just have filled it.
    fn polls_writable(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&now)).is_ok_and(|count| count > 0)
    }
}
