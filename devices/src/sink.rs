//! Where console output goes: a descriptor behind a bounded buffer.
//!
//! A sink that is slow, or faster than its bounds allow, holds its guest up; one whose reader has gone
//! or that has written all it may swallows what still comes. It never ends the virtual machine.
//! Descriptors are used as they were given: they are shared with processes outside the sandbox, so
//! their flags are left alone, and what keeps a write from blocking is that it is small and follows a
//! poll.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::bounds::{Bounds, Pace};

/// The most bytes handed to one write: a pipe that polls writable takes them without blocking.
const WRITE: usize = 4096;

/// A buffered output.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    buffer: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    /// Bytes that may still be taken in.
    left: u64,
    dropped: u64,
    /// None: as fast as the descriptor takes it.
    pace: Option<Pace>,
}

impl Sink {
    /// A sink that holds at most `capacity` bytes not yet written.
    pub fn new(fd: OwnedFd, capacity: usize) -> Self {
        let buffer = VecDeque::with_capacity(capacity);
        Self { fd, buffer, capacity, closed: false, left: u64::MAX, dropped: 0, pace: None }
    }

    /// The sink, within bounds.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.left = bounds.bytes;
        self.pace = (bounds.per_second != u64::MAX).then(|| Pace::new(bounds.per_second));
        self
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// True once the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes that were beyond what may be written.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes as many bytes from the front of `bytes` as there is room for; returns how many. Those
    /// beyond what may be written need no room.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        if self.closed {
            return bytes.len();
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (wanted, beyond) = bytes.split_at(bytes.len().min(left));
        let count = self.keep(wanted);
        self.left -= count as u64;
        if count < wanted.len() {
            return count;
        }
        self.dropped = self.dropped.saturating_add(beyond.len() as u64);
        bytes.len()
    }

    /// Takes as much as there is room for of what is not the guest's, and is within no bounds.
    pub fn keep(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.buffer.len());
        self.buffer.extend(bytes.iter().take(count));
        count
    }

    /// The descriptor to wait for, while there is something that may be written.
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (!self.buffer.is_empty() && self.pause().is_none()).then(|| self.fd.as_fd())
    }

    /// How long what is held is held back by the pace; none: it is not.
    pub fn pause(&self) -> Option<Duration> {
        let pace = self.pace.as_ref().filter(|_| !self.buffer.is_empty())?;
        // Asked in every turn: the clock, which takes a system call on some hosts, is not.
        if pace.is_used_up() { pace.pause(Instant::now()) } else { None }
    }

    /// From now on, writes as fast as the descriptor takes it. For what is left at the end.
    pub fn hurry(&mut self) {
        self.pace = None;
    }

    /// Writes once, if there is something that may be written and the descriptor takes it without
    /// blocking. Returns whether it did.
    pub fn write(&mut self) -> bool {
        let now = self.pace.as_ref().map(|_| Instant::now());
        let room = self.pace.as_ref().zip(now).map_or(WRITE, |(pace, now)| pace.room(now));
        let room = room.min(WRITE);
        let (front, _) = self.buffer.as_slices();
        let front = front.get(..room).unwrap_or(front);
        if front.is_empty() || !self.polls_writable() {
            return false;
        }
        match rustix::io::write(&self.fd, front) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok(count) if count > 0 => {
                self.buffer.drain(..count);
                if let Some((pace, now)) = self.pace.as_mut().zip(now) {
                    pace.spend(count, now);
                }
            }
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
