//! The worker dies with the launcher, and belongs to no terminal.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use super::Error;
use crate::fds::STATUS;

/// Asks for SIGKILL at the launcher's death and makes sure that it has not died before.
pub fn die_with() -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Error::new("parent", "ask for the parent-death signal"))?;
    if launcher_is_gone() {
        return Err(Error::new("parent", "find the launcher alive")(Errno::SRCH));
    }
    setsid().map_err(Error::new("parent", "leave the session"))?;
    Ok(())
}

/// The launcher holds the only reading end of the status pipe.
#[expect(unsafe_code, reason = "looks at a descriptor by its number before anyone owns it")]
fn launcher_is_gone() -> bool {
    // SAFETY: the descriptor is inherited and nobody closes it during this call.
    let status = unsafe { std::os::fd::BorrowedFd::borrow_raw(STATUS) };
    let mut fds = [PollFd::from_borrowed_fd(status, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().is_empty()
}
