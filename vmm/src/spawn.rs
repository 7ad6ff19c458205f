//! Starting a worker: a new process that becomes the worker's program with a table of descriptors.
//!
//! clone3 rather than fork, for the pidfd now and for the namespaces of the jail. Between clone and
//! exec the child makes system calls only; everything that allocates is done before.
#![expect(unsafe_code, reason = "clone3 and execveat")]

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};

use crate::signals;

/// Descriptors from here on are out of the way of any worker's table.
const STAGING: RawFd = 128;

/// A started process.
#[derive(Debug)]
pub struct Child {
    /// Its process id, valid until it is waited for.
    pub pid: libc::pid_t,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

/// Starts `program` with `args`; the child has `table`'s descriptors under their numbers and
/// no environment. Whatever else is open closes by itself, being close-on-exec.
pub fn spawn(
    program: BorrowedFd<'_>,
    args: Vec<OsString>,
    table: &[(RawFd, BorrowedFd<'_>)],
) -> Result<Child> {
    let args = args.into_iter().map(|arg| CString::new(arg.into_vec()));
    let args = args.collect::<Result<Vec<_>, _>>().context("an argument holds a NUL byte")?;
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());

    let mut pidfd: RawFd = -1;
    let mut clone = libc::clone_args {
        flags: u64::try_from(libc::CLONE_PIDFD)?,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: u64::try_from(libc::SIGCHLD)?,
        ..empty()
    };
    // SAFETY: without CLONE_VM the child has its own copy of this single-threaded process, as
    // after fork; `clone` lives through the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut clone, size_of::<libc::clone_args>())
    };
    match pid {
        -1 => Err(std::io::Error::last_os_error()).context("cannot start a process"),
        0 => become_worker(program, &argv, table),
        pid => Ok(Child {
            pid: libc::pid_t::try_from(pid)?,
            // SAFETY: clone3 has just returned this descriptor and nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

fn empty() -> libc::clone_args {
    libc::clone_args {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    }
}

/// In the child: arranges the descriptors and executes the program. Exits with 127 if it cannot.
fn become_worker(
    program: BorrowedFd<'_>,
    argv: &[*const libc::c_char],
    table: &[(RawFd, BorrowedFd<'_>)],
) -> ! {
    signals::unblock();
    if let Some(program) = arrange(program, table) {
        let empty_path: &CStr = c"";
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: the path is an empty string, `argv` and the environment end with a null pointer
        // and their strings live until the program is replaced.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program,
                empty_path.as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
    }
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Moves the descriptors to their numbers, out of each other's way. Returns the program's.
fn arrange(program: BorrowedFd<'_>, table: &[(RawFd, BorrowedFd<'_>)]) -> Option<RawFd> {
    let stage = |fd: BorrowedFd<'_>| {
        // SAFETY: duplicates an open descriptor.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, STAGING) }
    };
    let program = stage(program);
    let mut staged = [-1; STAGING.unsigned_abs() as usize];
    for (slot, (_, fd)) in staged.iter_mut().zip(table) {
        *slot = stage(*fd);
    }
    for (slot, (number, _)) in staged.iter().zip(table) {
        // SAFETY: the child owns its whole descriptor table and uses nothing but the staged
        // descriptors from here on; the numbers of a table are below those.
        if unsafe { libc::dup2(*slot, *number) } < 0 {
            return None;
        }
    }
    Some(program)
}

/// Waits for an ended child. Returns how it ended and its peak resident memory in KiB.
pub fn reap(child: &Child) -> (Ended, u64) {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are places for what wait4 returns; the child has not been waited for before.
    unsafe { libc::wait4(child.pid, &raw mut status, 0, &raw mut usage) };
    let ended = if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    };
    (ended, u64::try_from(usage.ru_maxrss).unwrap_or(0))
}
