//! Breaches: a worker asked the kernel for something that its filter does not allow.
//!
//! The kernel holds the call back and tells the launcher through the filter's listener which call it
//! was and with which arguments. The launcher never lets it through, but for learning what a table
//! lacks, which has to be asked for by an insecure name.
#![expect(unsafe_code, reason = "the listener's ioctls have no safe wrapper")]

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND};

/// A forbidden call, as the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Call {
    /// Architecture of the call, as AUDIT_ARCH; x86_64 has 0xc000003e.
    pub arch: u32,
    /// Number of the system call.
    pub number: i32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

const X86_64: u32 = 0xc000_003e;
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE.
const CONTINUE: u32 = 1;

impl Call {
    /// The system call's name, if it is one of x86_64.
    pub fn name(&self) -> Option<&'static str> {
        let number = usize::try_from(self.number).ok()?;
        syscalls::Sysno::new(number).filter(|_| self.arch == X86_64).map(|call| call.name())
    }

    /// The smallest rule that would allow the call, as the table would have it: the first argument
    /// is pinned, being the descriptor more often than not.
    pub fn rule(&self) -> String {
        let name = self.name().unwrap_or("?");
        let [first, ..] = self.arguments;
        format!("rule(libc::SYS_{name}, \"{name}\", &[(0, {first:#x})], \"why\")")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}(")?,
            None => write!(f, "system call {} of architecture {:#x}(", self.number, self.arch)?,
        }
        for (index, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument:#x}", if index == 0 { "" } else { ", " })?;
        }
        write!(f, ")")
    }
}

/// What becomes of a forbidden call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It stays held back until its caller is killed.
    Hold,
    /// It happens.
    LetThrough,
    /// It fails with this errno.
    Fail(i32),
}

/// The call that `listener`, which polls readable, tells of; it is answered with `reply`.
pub fn receive(listener: &OwnedFd, reply: Reply) -> Option<Call> {
    // SAFETY: seccomp_notif is plain numbers, for which all zeroes is a value, the one asked for.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: RECV fills in a seccomp_notif.
    let received =
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, &raw mut notice) };
    if received != 0 {
        return None;
    }
    let answer = match reply {
        Reply::Hold => None,
        Reply::LetThrough => Some((0, CONTINUE)),
        Reply::Fail(errno) => Some((-errno, 0)),
    };
    if let Some((error, flags)) = answer {
        let mut answer = libc::seccomp_notif_resp { id: notice.id, val: 0, error, flags };
        // SAFETY: SEND reads a seccomp_notif_resp. If the caller is gone there is no one to answer.
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
    let data = notice.data;
    Some(Call { arch: data.arch, number: data.nr, arguments: data.args })
}
