//! Reaps every process of the guest, in a thread of its own, and reports the command's end.
//!
//! The pipe to the serving thread carries the command's end as two bytes, and its own end says that
//! no process is left.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::failure::{Failed, cause};

const STACK: usize = 64 * 1024;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
}

/// What the reaper has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The command has ended; others may live on.
    Ended(End),
    /// No process is left.
    AllGone,
}

/// The serving thread's end of the pipe.
#[derive(Debug)]
pub struct Reaper(OwnedFd);

/// Starts reaping. Only once the command runs: with no process at all the reaper would end at once.
pub fn start(command: Pid) -> Result<Reaper, Failed> {
    let (news, report) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| Failed::setup(format!("cannot make a pipe: {}", cause(errno))))?;
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || reap(command, &report))
        .map_err(|error| Failed::setup(format!("cannot start the reaper: {error}")))?;
    Ok(Reaper(news))
}

impl Reaper {
    /// Reads the next news. Only after a poll: without news it would block.
    pub fn news(&self) -> Result<News, Errno> {
        let mut bytes = [0; 2];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut bytes))? {
            2 => Ok(News::Ended(match bytes {
                [0, code] => End::Exited(code),
                [_, signal] => End::Signaled(signal),
            })),
            _ => Ok(News::AllGone),
        }
    }
}

impl AsFd for Reaper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn reap(command: Pid, report: &OwnedFd) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                // The pipe is empty and its reader lives as long as the guest.
                let _ = rustix::io::write(report, &in_bytes(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn in_bytes(status: WaitStatus) -> [u8; 2] {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match status.terminating_signal() {
        Some(signal) => [1, byte(signal)],
        None => [0, status.exit_status().map_or(u8::MAX, byte)],
    }
}
