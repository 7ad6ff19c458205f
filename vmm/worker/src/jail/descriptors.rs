//! Nothing is open but what the plan names.
#![expect(unsafe_code, reason = "closes descriptors by number")]

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use super::Error;
use crate::fds::{Inherited, STATUS};

/// Closes every descriptor that is not in `keep`, and checks that each of those is open.
pub fn close_all_but(mut keep: Vec<RawFd>) -> Result<Inherited, Error> {
    keep.sort_unstable();
    keep.dedup();
    let mut first = 0;
    for &number in &keep {
        close_range(first, number - 1)?;
        first = number + 1;
        // SAFETY: only asks the kernel whether the number is open; nothing owns it yet.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_getfd(descriptor)
            .map_err(Error::new("descriptors", "find an inherited descriptor"))?;
    }
    close_range(first, RawFd::MAX)?;
    Ok(Inherited::new(keep))
}

/// The numbers that the next two descriptors will have.
pub fn lowest_two() -> Result<[RawFd; 2], Error> {
    // SAFETY: every worker has its status pipe, and nobody closes it during this call.
    let status = unsafe { BorrowedFd::borrow_raw(STATUS) };
    let duplicate = || rustix::io::fcntl_dupfd_cloexec(status, 0);
    let failed = Error::new("descriptors", "find the next numbers");
    let (first, second) = (duplicate().map_err(&failed)?, duplicate().map_err(&failed)?);
    Ok([first.as_raw_fd(), second.as_raw_fd()])
}

/// The number that the next descriptor will have.
pub fn lowest_free() -> Result<u64, Error> {
    // SAFETY: every worker has its status pipe, and nobody closes it during this call.
    let status = unsafe { BorrowedFd::borrow_raw(STATUS) };
    let duplicate = rustix::io::fcntl_dupfd_cloexec(status, 0)
        .map_err(Error::new("descriptors", "find the next number"))?;
    Ok(u64::from(duplicate.as_raw_fd().unsigned_abs()))
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), Error> {
    if first > last {
        return Ok(());
    }
    // SAFETY: called before anything in this process owns a descriptor; standard output and error,
    // if closed, are not used: a worker speaks through its status pipe alone.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return Ok(());
    }
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
    Err(Error::new("descriptors", "close what is not ours")(errno))
}
