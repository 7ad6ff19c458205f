//! What no safe wrapper offers: to run code between fork and exec, exec itself, signals by number,
//! and an I/O port.

#![expect(
    unsafe_code,
    reason = "the agent's only module with unsafe code besides the entry's name"
)]

use std::ffi::{CString, c_char};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// Forks, sets up the child as `command` says, and calls `last` there, which ends in an exec or an error.
pub fn spawn(
    command: &mut Command,
    last: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<Child> {
    // SAFETY: the agent has only one thread when it forks (the reaper starts later), so no lock can
    // be held by a thread that the child lacks.
    unsafe { command.pre_exec(last) };
    command.spawn()
}

/// Replaces this process; returns only the error.
pub fn execve(path: &CString, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: three NUL-terminated things that live to the end of the call: a string and two arrays
    // of pointers to strings.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
}

/// Sends a signal, 1 to 64, to a process group.
pub fn signal_group(group: Pid, number: u8) -> Result<(), Errno> {
    if !(1..=64).contains(&number) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the number is a signal of Linux, and it is only sent to processes that are not this one.
    let signal = unsafe { Signal::from_raw_unchecked(i32::from(number)) };
    kill_process_group(group, signal)
}

/// Writes one byte to an I/O port. Not through `/dev/port`, which Debian's cloud kernel lacks.
pub fn write_port(port: u16, value: u8) -> io::Result<()> {
    // SAFETY: only grants this thread the access.
    if unsafe { libc::ioperm(port.into(), 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: writing a port touches no memory of this process, and the access has been granted.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    }
    Ok(())
}
