//! The user's own streams, which the console worker gets: when stdin is not for it, and how far the files
//! behind the others may grow.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use devices::bounds::Bounds;
use devices::kernel_log;
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::process::getpgrp;
use rustix::stdio;
use rustix::termios::tcgetpgrp;

use crate::guest::Guest;

/// What may be written besides the guest's own output: a line on what was dropped.
const SLACK: u64 = 64 << 10;

/// True when stdin is a terminal on which another job is in front. What is typed there is not for the
/// guest, and the console worker, being in a session of its own, would not be stopped for reading it.
pub fn in_background() -> bool {
    tcgetpgrp(stdio::stdin()).is_ok_and(|front| front != getpgrp())
}

/// The size that no file behind the console worker's outputs grows beyond, in bytes: the worker keeps
/// `output` itself, and this holds when it has been taken over. `u64::MAX`: no bound, as was asked for.
pub fn most_file_size(guest: &Guest) -> u64 {
    most(stdout(guest), guest.console.as_ref(), guest.output)
}

/// What a guest's output goes to.
pub fn stdout(guest: &Guest) -> BorrowedFd<'_> {
    match &guest.streams {
        Some(streams) => streams.output.as_fd(),
        None => stdio::stdout(),
    }
}

fn most(stdout: BorrowedFd<'_>, console: Option<&File>, output: Bounds) -> u64 {
    let outputs = [end_of(stdout), end_of(stdio::stderr())].into_iter().flatten();
    // Both may be the same file.
    let outputs = outputs.max().map(|end| end.saturating_add(output.bytes.saturating_mul(2)));
    let console = console.and_then(|file| end_of(file.as_fd()));
    let console = console.map(|end| end.saturating_add(kernel_log::MAX_FILE as u64));
    let most = outputs.max(console).unwrap_or(0);
    most.saturating_add(SLACK)
}

/// Where a regular file ends, or where it is written if that is further.
fn end_of(fd: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstat(fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let size = u64::try_from(stat.st_size).ok()?;
    Some(size.max(seek(fd, SeekFrom::Current(0)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_has_an_end_and_a_pipe_has_none() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 100]).unwrap();
        assert_eq!(end_of(file.as_fd()), Some(100));
        seek(&file, SeekFrom::Start(5000)).unwrap();
        assert_eq!(end_of(file.as_fd()), Some(5000));
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(end_of(pipe.as_fd()), None);
    }

    #[test]
    fn the_console_file_counts_with_its_own_bound() {
        let file = tempfile::tempfile().unwrap();
        let bounds = Bounds { bytes: 0, per_second: u64::MAX };
        let most = most(stdio::stdout(), Some(&file), bounds);
        assert!(most >= kernel_log::MAX_FILE as u64 + SLACK, "{most}");
    }
}
