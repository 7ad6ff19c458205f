//! A jailed process as the launcher has it: its end, its status pipe, and its filter's listener.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::breach::{self, Call, Heard, Reply};
use crate::spawn::{Child, Ended, reap, take_descriptor};

/// How long a process that is on its way out may take to be gone.
const GRACE: Duration = Duration::from_secs(1);
/// More records than a process of ours ever writes.
const MOST_RECORDS: u32 = 1024;

/// A process that is waited for; killed and reaped when this goes.
#[derive(Debug)]
pub struct Watched {
    child: Child,
    status: OwnedFd,
    /// The status pipe has not come to its end.
    open: bool,
    listener: Option<OwnedFd>,
    ended: Option<Ended>,
    peak: u64,
    records: u32,
}

/// A record on the status pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<const LENGTH: usize> {
    /// A whole one.
    Record([u8; LENGTH]),
    /// Half a record, or more records than there can be. There is no more to come.
    Malformed,
}

/// What a process that is waited for alone did next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<const LENGTH: usize> {
    /// It said something.
    Said(Said<LENGTH>),
    /// It made a forbidden call, which is held back.
    Called(Call),
    /// It has ended, and said and called nothing any more.
    Ended,
    /// Nothing, in the time that it had, or before something else was to be read.
    Nothing,
}

/// How long a process's next event is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Until<'a> {
    /// Until then; none: for ever.
    pub time: Option<Instant>,
    /// Until there is something to read here.
    pub readable: Option<BorrowedFd<'a>>,
}

impl From<Option<Instant>> for Until<'_> {
    fn from(time: Option<Instant>) -> Self {
        Self { time, readable: None }
    }
}

impl Watched {
    /// A process that has not said anything; `status` is the reading end of its status pipe.
    pub fn new(child: Child, status: OwnedFd) -> Self {
        Self { child, status, open: true, listener: None, ended: None, peak: 0, records: 0 }
    }

    /// Its process id, valid until it is waited for.
    pub fn pid(&self) -> libc::pid_t {
        self.child.pid
    }

    /// Its process has ended and was waited for.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Its status pipe has come to its end.
    pub fn is_silent(&self) -> bool {
        !self.open
    }

    /// Its peak resident memory in KiB, once it was waited for.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Everything that says when there is something to hear.
    pub fn waiting(&self) -> impl Iterator<Item = PollFd<'_>> {
        let status = self.open.then(|| self.status.as_fd());
        let process = self.ended.is_none().then(|| self.child.pidfd.as_fd());
        let listener = self.listener.as_ref().filter(|_| self.ended.is_none()).map(AsFd::as_fd);
        let all = [status, listener, process].into_iter().flatten();
        all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// Takes the listener of a sealed process's filter, which has this number. False when there is
    /// nothing to take it from any more: one on its way out has no descriptors and no namespaces, but
    /// is not waited for yet.
    pub fn take_listener(&mut self, number: Option<RawFd>) -> Result<bool> {
        let Some(number) = number else { return Ok(true) };
        match take_descriptor(&self.child, number) {
            Ok(listener) => self.listener = Some(listener),
            Err(_) if self.is_ending() => return Ok(false),
            Err(error) => return Err(error.context("cannot take the listener of its filter")),
        }
        Ok(true)
    }

    /// True when the process has ended, or does so now.
    pub fn is_ending(&self) -> bool {
        self.ended.is_some() || readable_within(self.child.pidfd.as_fd(), GRACE)
    }

    /// The next forbidden call, which is answered with `reply`, if there is one.
    pub fn next_call(&mut self, reply: Reply) -> Option<Call> {
        match breach::receive(self.listener.as_ref().filter(|_| self.ended.is_none())?, reply) {
            Heard::Call(call) => Some(call),
            Heard::Nothing => None,
            // It is on its way out, which its pidfd will tell.
            Heard::End => {
                self.listener = None;
                None
            }
        }
    }

    /// The next record, if one has come.
    pub fn next_record<const LENGTH: usize>(&mut self) -> Option<Said<LENGTH>> {
        if !self.open || !readable_within(self.status.as_fd(), Duration::ZERO) {
            return None;
        }
        let mut bytes = [0; LENGTH];
        match rustix::io::read(&self.status, &mut bytes) {
            Ok(length) if length == LENGTH && self.records < MOST_RECORDS => {
                self.records += 1;
                Some(Said::Record(bytes))
            }
            Ok(0) => {
                self.open = false;
                None
            }
            Err(Errno::INTR) => None,
            Ok(_) | Err(_) => {
                self.open = false;
                Some(Said::Malformed)
            }
        }
    }

    /// Waits for the next event, `until` then at most; a forbidden call is one if it is held back.
    pub fn next_event<'a, const LENGTH: usize>(
        &mut self,
        reply: Reply,
        until: impl Into<Until<'a>>,
    ) -> Event<LENGTH> {
        let Until { time, readable } = until.into();
        loop {
            // Looked at first, so that nothing it said can be missed.
            let ended =
                self.ended.is_some() || readable_within(self.child.pidfd.as_fd(), Duration::ZERO);
            while let Some(call) = self.next_call(reply) {
                if reply == Reply::Hold {
                    return Event::Called(call);
                }
            }
            if let Some(said) = self.next_record() {
                return Event::Said(said);
            }
            if ended {
                return Event::Ended;
            }
            let left = time.map(|time| time.saturating_duration_since(Instant::now()));
            let other = readable.is_some_and(|fd| readable_within(fd, Duration::ZERO));
            if other || left == Some(Duration::ZERO) {
                return Event::Nothing;
            }
            let other = readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            wait(&mut self.waiting().chain(other).collect::<Vec<_>>(), left);
        }
    }

    /// How the process ended, if it has just done so.
    pub fn reap(&mut self) -> Option<Ended> {
        if self.ended.is_some() || !readable_within(self.child.pidfd.as_fd(), Duration::ZERO) {
            return None;
        }
        Some(self.await_end())
    }

    /// Waits for the process's end. Returns how it ended.
    pub fn await_end(&mut self) -> Ended {
        *self.ended.get_or_insert_with(|| {
            let (ended, peak) = reap(&self.child);
            self.peak = peak;
            ended
        })
    }

    /// Kills the process, unless it was waited for.
    pub fn kill(&self) {
        if self.ended.is_none() {
            // Gone already is as good.
            let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.kill();
        self.await_end();
    }
}

/// Waits until one of `fds` has something to tell, for `time` at most; false when the time is over. Whoever
/// waits looks at everything again, interrupted or not.
pub fn wait(fds: &mut [PollFd<'_>], time: Option<Duration>) -> bool {
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    poll(fds, time.as_ref()) != Ok(0)
}

/// True when `fd` is readable, or becomes so within `time`.
pub fn readable_within(fd: impl AsFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, time.as_ref()), Ok(ready) if ready > 0)
}
