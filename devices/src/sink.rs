//! Where console output goes: a descriptor behind a bounded buffer.
//!
//! A sink that is slow, or faster than its bounds allow, holds its guest up; one whose reader has gone,
//! that cannot be written or that has written all it may swallows what still comes. It never ends the
//! virtual machine. Descriptors are used as they were given: they may be shared with processes outside
//! the sandbox, so their flags are left alone. What keeps a write to a pipe from blocking is that it is
//! small and follows a poll. A terminal that polls writable may have room for a single byte, so whoever
//! gives one opens it anew, with `O_NONBLOCK`.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::bounds::{Bounds, Pace};
use crate::visible::{Filter, Form, WIDEST};

/// The most bytes handed to one write: a pipe that polls writable takes them without blocking.
const WRITE: usize = 4096;

/// What of an output was not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes beyond what may be written.
    pub beyond: u64,
    /// Bytes that could not be written.
    pub failed: u64,
    /// Why not, as an error number of Linux; 0: all could be.
    pub errno: i32,
}

impl Loss {
    /// Bytes, for whatever reason.
    pub fn bytes(&self) -> u64 {
        self.beyond.saturating_add(self.failed)
    }
}

/// A buffered output.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    buffer: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    /// Bytes that may still be taken in.
    left: u64,
    loss: Loss,
    /// None: as fast as the descriptor takes it.
    pace: Option<Pace>,
    /// None: to the byte.
    screen: Option<Screen>,
    /// Nothing will be pushed any more.
    over: bool,
}

/// The end of a sink that is a terminal.
#[derive(Debug)]
struct Screen {
    filter: Filter,
    /// What is to be seen of the last piece, and how much of it is written.
    shown: String,
    written: usize,
    /// Length of that piece.
    piece: usize,
}

impl Screen {
    fn new(filter: Filter) -> Self {
        Self { filter, shown: String::with_capacity(WRITE), written: 0, piece: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.shown.as_bytes().get(self.written..).unwrap_or_default()
    }
}

impl Sink {
    /// A sink that holds at most `capacity` bytes not yet written.
    pub fn new(fd: OwnedFd, capacity: usize) -> Self {
        let buffer = VecDeque::with_capacity(capacity);
        Self {
            fd,
            buffer,
            capacity,
            closed: false,
            left: u64::MAX,
            loss: Loss::default(),
            pace: None,
            screen: None,
            over: false,
        }
    }

    /// The sink, within bounds.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.left = bounds.bytes;
        self.pace = (bounds.per_second != u64::MAX).then(|| Pace::new(bounds.per_second));
        self
    }

    /// The sink, written in this form.
    #[must_use]
    pub fn in_form(mut self, form: Form) -> Self {
        self.screen = Filter::new(form).map(Screen::new);
        self
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        let begun = |screen: &Screen| if self.over { screen.filter.begun() } else { 0 };
        let shown = self.screen.as_ref().map_or(0, |screen| screen.rest().len() + begun(screen));
        self.buffer.len() + shown
    }

    /// True once the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What was not written. A reader that has gone has lost nothing.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Takes as many bytes from the front of `bytes` as there is room for; returns how many. Those
    /// beyond what may be written need no room.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        if self.closed && self.loss.errno == 0 {
            return bytes.len();
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (wanted, beyond) = bytes.split_at(bytes.len().min(left));
        let count = if self.closed { wanted.len() } else { self.keep(wanted) };
        self.left -= count as u64;
        if count < wanted.len() {
            return count;
        }
        if self.closed {
            self.loss.failed = self.loss.failed.saturating_add(count as u64);
        }
        self.loss.beyond = self.loss.beyond.saturating_add(beyond.len() as u64);
        bytes.len()
    }

    /// Nothing will be pushed any more: what waits for more to follow is written as it is.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// Takes as much as there is room for of what is not the guest's, and is within no bounds.
    pub fn keep(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.buffer.len());
        // A slice is copied as a whole, an iterator over part of one byte by byte.
        self.buffer.extend(bytes.get(..count).unwrap_or_default());
        count
    }

    /// The descriptor to wait for, while there is something that may be written.
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (self.held() > 0 && self.pause().is_none()).then(|| self.fd.as_fd())
    }

    /// How long what is held is held back by the pace; none: it is not.
    pub fn pause(&self) -> Option<Duration> {
        let pace = self.pace.as_ref().filter(|_| self.held() > 0)?;
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
        let moved = self.show();
        let front = self.front();
        let front = front.get(..room).unwrap_or(front);
        if front.is_empty() || !self.polls_writable() {
            return moved;
        }
        match rustix::io::write(&self.fd, front) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok(count) if count > 0 => {
                self.take_off(count);
                if let Some((pace, now)) = self.pace.as_mut().zip(now) {
                    pace.spend(count, now);
                }
            }
            Ok(_) => self.close(Errno::IO),
            Err(errno) => self.close(errno),
        }
        true
    }

    /// What is to be written next.
    fn front(&self) -> &[u8] {
        self.screen.as_ref().map_or_else(|| self.buffer.as_slices().0, Screen::rest)
    }

    fn take_off(&mut self, count: usize) {
        match &mut self.screen {
            Some(screen) => screen.written += count,
            None => drop(self.buffer.drain(..count)),
        }
    }

    /// Makes the next piece of the buffer visible, once the last one is written. True if nothing is to be
    /// seen of it yet, so that there is nothing to write and more to do.
    fn show(&mut self) -> bool {
        let Some(screen) = self.screen.as_mut().filter(|screen| screen.rest().is_empty()) else {
            return false;
        };
        screen.shown.clear();
        screen.written = 0;
        screen.piece = self.buffer.len().min(WRITE / WIDEST);
        let (front, back) = self.buffer.as_slices();
        let (front, back) = (
            front.get(..screen.piece).unwrap_or(front),
            back.get(..screen.piece.saturating_sub(front.len())),
        );
        screen.filter.push(front, &mut screen.shown);
        screen.filter.push(back.unwrap_or_default(), &mut screen.shown);
        self.buffer.drain(..screen.piece);
        if self.over && self.buffer.is_empty() {
            screen.filter.end(&mut screen.shown);
        }
        screen.piece > 0 && screen.shown.is_empty()
    }

    /// The reader has gone, or nothing can be written for this reason: nothing more is kept.
    fn close(&mut self, errno: Errno) {
        self.closed = true;
        let shown = self.screen.as_mut().map_or(0, |screen| {
            screen.shown.clear();
            std::mem::take(&mut screen.piece)
        });
        if errno != Errno::PIPE {
            self.loss.errno = errno.raw_os_error();
            let lost = (self.buffer.len() + shown) as u64;
            self.loss.failed = self.loss.failed.saturating_add(lost);
        }
        self.buffer.clear();
    }

    /// Asked before every write, however the loop has polled: two sinks may share one pipe, and
    /// the first may just have filled it.
    fn polls_writable(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&now)).is_ok_and(|count| count > 0)
    }
}
