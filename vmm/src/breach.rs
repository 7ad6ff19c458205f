//! Breaches: a worker asked the kernel for something that its filter does not allow.
//!
//! The kernel holds the call back and tells the launcher through the filter's listener which call it
//! was and with which arguments. The launcher never lets it through, but for learning what a table
//! lacks, which has to be asked for by an insecure name.
#![expect(unsafe_code, reason = "the listener's ioctls have no safe wrapper")]

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

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

    /// The smallest rule that would allow the call, as the table would have it: with every argument
    /// pinned that says what the call is about. Addresses and lengths are not among those.
    pub fn rule(&self) -> String {
        let name = self.name().unwrap_or("?");
        let pinned = PINNED.iter().find(|(_, names)| names.contains(&name));
        let pins = pinned.map_or(&[][..], |(pins, _)| pins).iter().map(|&index| {
            // The filter compares 32 bits, which is what the kernel reads of each of these.
            let value = self.arguments[index] & u64::from(u32::MAX);
            format!("({index}, {value:#x})")
        });
        let pins: Vec<String> = pins.collect();
        format!("rule(libc::SYS_{name}, \"{name}\", &[{}], \"why\")", pins.join(", "))
    }
}

/// Which arguments of which calls a rule pins: descriptors, requests, commands, protections, clocks.
const PINNED: [(&[usize], &[&str]); 5] = [
    (&[0, 1], &["ioctl", "fcntl"]),
    (
        &[0],
        &[
            "read",
            "write",
            "readv",
            "writev",
            "pread64",
            "pwrite64",
            "preadv",
            "pwritev",
            "preadv2",
            "pwritev2",
            "close",
            "fstat",
            "lseek",
            "fsync",
            "fdatasync",
            "ftruncate",
            "fallocate",
            "dup",
            "sendto",
            "recvfrom",
            "sendmsg",
            "recvmsg",
            "shutdown",
            "epoll_wait",
            "epoll_pwait",
            "clock_gettime",
            "clock_nanosleep",
        ],
    ),
    (&[1], &["futex"]),
    (&[2], &["mprotect", "madvise"]),
    (&[2, 3], &["mmap"]),
];

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

/// What a listener tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing now.
    Nothing,
    /// Nobody is left whose calls could be told.
    End,
    /// A forbidden call.
    Call(Call),
}

/// Hears what `listener` has to tell, without waiting; a call is answered with `reply`.
pub fn receive(listener: &OwnedFd, reply: Reply) -> Heard {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(1..) if fds[0].revents().contains(PollFlags::IN) => {}
        Ok(1..) => return Heard::End,
        Ok(0) | Err(_) => return Heard::Nothing,
    }
    // SAFETY: seccomp_notif is plain numbers, for which all zeroes is a value, the one asked for.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: RECV fills in a seccomp_notif.
    let received =
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, &raw mut notice) };
    if received != 0 {
        // The caller was killed in the meantime.
        return Heard::Nothing;
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
    Heard::Call(Call { arch: data.arch, number: data.nr, arguments: data.args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_pins_what_the_call_is_about() {
        let arguments = [0xffff_ffff_0000_0005, 0x80, 3, 0x22, 0, 0];
        let rows = [
            (libc::SYS_read, "rule(libc::SYS_read, \"read\", &[(0, 0x5)], \"why\")"),
            (libc::SYS_ioctl, "rule(libc::SYS_ioctl, \"ioctl\", &[(0, 0x5), (1, 0x80)], \"why\")"),
            (libc::SYS_futex, "rule(libc::SYS_futex, \"futex\", &[(1, 0x80)], \"why\")"),
            (libc::SYS_mmap, "rule(libc::SYS_mmap, \"mmap\", &[(2, 0x3), (3, 0x22)], \"why\")"),
            (libc::SYS_getppid, "rule(libc::SYS_getppid, \"getppid\", &[], \"why\")"),
        ];
        for (number, expected) in rows {
            let number = i32::try_from(number).unwrap();
            assert_eq!(Call { arch: X86_64, number, arguments }.rule(), expected);
        }
        let known = |name: &&str| name.parse::<syscalls::Sysno>().is_ok();
        assert!(PINNED.iter().flat_map(|(_, names)| *names).all(known));
    }
}
