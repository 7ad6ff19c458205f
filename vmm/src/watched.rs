//! One worker as the launcher has it: its process, its status pipe, and its filter's listener.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use worker::status::{RECORD, Record};

use crate::sandbox::Worker;
use crate::spawn::{Ended, reap};

/// How long the console worker may take for the kernel's last words when the guest was killed, and a
/// process that is on its way out to be gone.
pub const LAST_WORDS: Duration = Duration::from_millis(500);
/// More records than a worker of ours ever writes.
const MOST_RECORDS: u32 = 1024;

/// A worker that is waited for.
#[derive(Debug)]
pub struct Watched {
    /// The worker.
    pub worker: Worker,
    /// Its pipe has not come to its end.
    pub open: bool,
    /// It said that every layer is on, and they were read back.
    pub sealed: bool,
    /// The listener of its filter.
    pub listener: Option<OwnedFd>,
    /// Its process has ended and was waited for.
    pub ended: bool,
    /// Its peak resident memory in KiB, once it has ended.
    pub peak: u64,
    records: u32,
}

impl Watched {
    /// A worker that has not said anything.
    pub fn new(worker: Worker) -> Self {
        Self {
            worker,
            open: true,
            sealed: false,
            listener: None,
            ended: false,
            peak: 0,
            records: 0,
        }
    }

    /// Everything that says when there is something to hear.
    pub fn waiting(&self) -> impl Iterator<Item = PollFd<'_>> {
        let status = self.open.then(|| self.worker.status.as_fd());
        let process = (!self.ended).then(|| self.worker.child.pidfd.as_fd());
        let listener = self.listener().map(AsFd::as_fd);
        let all = [status, listener, process].into_iter().flatten();
        all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// The listener of the worker's filter, while there is somebody to hear of.
    pub fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref().filter(|_| !self.ended)
    }

    /// How the process ended, if it has just done so.
    pub fn reap(&mut self) -> Option<Ended> {
        if self.ended || !readable_within(self.worker.child.pidfd.as_fd(), Duration::ZERO) {
            return None;
        }
        let (ended, peak) = reap(&self.worker.child);
        self.ended = true;
        self.peak = peak;
        Some(ended)
    }

    /// True when the process has ended, or does so now: one on its way out has no descriptors and no
    /// namespaces any more, but is not waited for yet.
    pub fn is_ending(&self) -> bool {
        self.ended || readable_within(self.worker.child.pidfd.as_fd(), LAST_WORDS)
    }

    /// The next record, if one has come.
    pub fn next_record(&mut self) -> Option<Record> {
        if !self.open || !readable_within(self.worker.status.as_fd(), Duration::ZERO) {
            return None;
        }
        let mut bytes = [0; RECORD];
        match rustix::io::read(&self.worker.status, &mut bytes) {
            Ok(RECORD) if self.records < MOST_RECORDS => {
                self.records += 1;
                Some(Record::decode(&bytes).unwrap_or_else(malformed))
            }
            Ok(0) => {
                self.open = false;
                None
            }
            Err(errno) if errno.kind() == ErrorKind::Interrupted => None,
            Ok(_) | Err(_) => {
                self.open = false;
                Some(malformed())
            }
        }
    }
}

fn malformed() -> Record {
    Record::Failed("wrote a malformed status record".to_owned())
}

/// True when `fd` is readable, or becomes so within `time`.
pub fn readable_within(fd: impl AsFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, time.as_ref()), Ok(ready) if ready > 0)
}
