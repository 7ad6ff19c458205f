//! The loops of the device workers: wait, serve, and leave when the virtual machine ends.
//!
//! | loop | worker | serves |
//! |---|---|---|
//! | [`BlkLoop`] | blk*n* | one block device |
//! | [`ConsoleLoop`] | console | every console, standard input and output, signals to forward |
//!
//! Each turn does a bounded amount of work, so that control messages are answered however busy the
//! guest keeps its rings. When the control socket ends, what the guest left in its rings is served
//! once more and the loop returns. `run` is the whole life of a worker; `turn` is one turn, for a
//! caller that wants to see what lies between two; `act` is a turn without its waiting. Neither opens or closes a descriptor.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::violation::Fault;

mod blk;
mod consoles;
mod line;

pub use blk::BlkLoop;
pub use consoles::{ConsoleLoop, Dropped, Inputs, News, Source};
pub use line::{Joined, Line};

/// Turns of serving after the end; with the budget of a turn this bounds what is still moved.
const LAST_TURNS: usize = 64;

/// What one turn of a loop came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was nothing to do.
    Idle,
    /// Something was done, and there may be more.
    Worked,
    /// The virtual machine has ended.
    Ended,
}

/// Waits for any of `fds`, or for so long.
fn poll_for(fds: &mut [PollFd<'_>], within: Option<Duration>) -> Result<(), Fault> {
    let within = within.and_then(|within| Timespec::try_from(within).ok());
    match poll(fds, within.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Fault::System("cannot poll", errno)),
    }
}

/// Whether a descriptor has something, be it an error: what is wrong shows when it is used.
fn ready(fd: &PollFd<'_>) -> bool {
    fd.revents() != PollFlags::empty()
}
