//! A system call that a worker never makes, made by it: what an attacker's code in it would do.
//!
//! By ptrace, from outside, so that the worker is the real one and not a build for tests. It waits in a
//! system call; the instruction that made that call makes the other one instead. The registers that hold
//! arguments stay as they are, which is how the worker can go on if it is let.
#![expect(unsafe_code, reason = "ptrace")]

use std::ptr::null_mut;
use std::time::Instant;

use crate::process::{PATIENCE, Process};

/// Length of the `syscall` instruction.
const SYSCALL: u64 = 2;

/// Makes the first thread of `process` call `number` once, with the arguments of the call that it is in.
pub fn call(process: &Process, number: i64) {
    let pid = process.pid.as_raw_nonzero().get();
    let begun = Instant::now();
    while !call_now(pid, number) {
        assert!(begun.elapsed() < PATIENCE, "{} is never in a system call", process.name);
    }
}

/// False if the process was not in a system call.
fn call_now(pid: libc::pid_t, number: i64) -> bool {
    // SAFETY: asks for a process to be traced; it takes no pointer.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    assert_eq!(seized, 0, "cannot trace: {}", std::io::Error::last_os_error());
    // SAFETY: stops a process that we trace.
    let stopped = unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) };
    assert_eq!(stopped, 0, "cannot stop: {}", std::io::Error::last_os_error());
    // SAFETY: waits for a process that we trace; nobody is told its status.
    let waited = unsafe { libc::waitpid(pid, null_mut(), libc::__WALL) };
    assert_eq!(waited, pid, "cannot wait: {}", std::io::Error::last_os_error());
    // SAFETY: the registers are plain numbers, for which all zeroes is a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the process is stopped, and `registers` is a place for its registers.
    let read = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) };
    assert_eq!(read, 0, "cannot read: {}", std::io::Error::last_os_error());
    let in_call = registers.orig_rax != u64::MAX;
    if in_call {
        registers.rip -= SYSCALL;
        registers.rax = number.unsigned_abs();
        // It is in no call any more that the kernel would begin again.
        registers.orig_rax = u64::MAX;
        // SAFETY: the process is stopped, and `registers` holds what it is to go on with.
        let written = unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw mut registers) };
        assert_eq!(written, 0, "cannot write: {}", std::io::Error::last_os_error());
    }
    // SAFETY: lets a process that we trace go.
    let detached = unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    assert_eq!(detached, 0, "cannot let go: {}", std::io::Error::last_os_error());
    in_call
}
