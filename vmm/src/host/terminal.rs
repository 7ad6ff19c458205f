//! The user's terminal, opened anew: the description that casemate was given is shared with the shell, so
//! `O_NONBLOCK` may not be set on it, and it is for reading and writing whatever it is used for.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// The terminal behind `fd`, for reading alone.
pub fn for_reading(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_anew(fd, OFlags::RDONLY)
}

/// The terminal behind `fd`, for writing alone.
pub fn for_writing(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_anew(fd, OFlags::WRONLY)
}

/// Through /proc, where the number is the file itself and no name of it that may have changed hands.
fn open_anew(fd: BorrowedFd<'_>, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty())
}
