//! Starting a worker: a new process, in new namespaces, that becomes the worker's program.
//!
//! clone3 rather than fork, for the pidfd and the namespaces. Between clone and exec the child makes
//! system calls only; everything that allocates is done before. It is born in its control group where that
//! can be, or else goes there itself, and waits for the launcher to map its ids.
#![expect(unsafe_code, reason = "clone3 and execveat")]

use std::ffi::{CString, OsString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use worker::jail::layers::{Layer, Layers};

use crate::cgroup::Entrance;
use crate::identity::Identity;
use crate::signals;

/// Descriptors from here on are out of the way of any worker's table.
const STAGING: RawFd = 128;

/// Namespaces that the child begins in. The cgroup namespace is not among them: its root is where
/// the process is when it enters, so the child enters it after it was put into its control group.
const NAMESPACES: [(Layer, libc::c_int); 6] = [
    (Layer::UserNs, libc::CLONE_NEWUSER),
    (Layer::Root, libc::CLONE_NEWNS),
    (Layer::PidNs, libc::CLONE_NEWPID),
    (Layer::NetNs, libc::CLONE_NEWNET),
    (Layer::IpcNs, libc::CLONE_NEWIPC),
    (Layer::UtsNs, libc::CLONE_NEWUTS),
];

/// Of clone3, from Linux 5.7 on; it is not among the numbers that fit into a `c_int`.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

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

impl fmt::Display for Ended {
    /// What is said of a process, after its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(status) if status == i32::from(NOT_IN_GROUP) => {
                f.write_str("could not enter its control group")
            }
            Self::Exited(status) if status == i32::from(NOT_EXECUTED) => {
                f.write_str("could not be executed")
            }
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(libc::SIGKILL) => f.write_str("was killed (out of memory?)"),
            Self::Killed(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// What a child becomes.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable.
    pub file: BorrowedFd<'a>,
    /// Its arguments; it has no environment.
    pub args: Vec<OsString>,
    /// Its descriptors under their numbers. Whatever else is open is close-on-exec.
    pub table: Vec<(RawFd, BorrowedFd<'a>)>,
}

/// The status of a child that could not enter its control group.
const NOT_IN_GROUP: u8 = 126;
/// That of one that could not become its program.
const NOT_EXECUTED: u8 = 127;

/// Starts `program` behind the layers of `layers` that a process has to be born with: before it goes on,
/// it is mapped to `identity` and in the control group behind `entrance`.
pub fn spawn(
    program: Program<'_>,
    layers: Layers,
    identity: &Identity,
    entrance: Option<&Entrance>,
) -> Result<Child> {
    let args = program.args.into_iter().map(|arg| CString::new(arg.into_vec()));
    let args = args.collect::<Result<Vec<_>, _>>().context("an argument holds a NUL byte")?;
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let (admitted, admission) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;

    let wanted = NAMESPACES.iter().filter(|(layer, _)| layers.has(*layer));
    let flags = wanted.fold(libc::CLONE_PIDFD, |flags, (_, flag)| flags | flag);
    let entrance = entrance.filter(|_| layers.has(Layer::Cgroup));
    let home = entrance.and_then(|entrance| entrance.home.as_ref());
    let born = home.and_then(|home| clone(flags, Some(home.as_fd())).ok());
    let outside = entrance.filter(|_| born.is_none());
    match born.map_or_else(|| clone(flags, None), Ok).map_err(without_namespaces)? {
        None => {
            drop(admission);
            if outside.is_some_and(|entrance| enter(entrance).is_err()) {
                worker::jail::leave(NOT_IN_GROUP);
            }
            become_program(program.file, &argv, &program.table, &admitted, layers)
        }
        Some(child) => {
            drop(admitted);
            // Without the byte the child sees the pipe end, and gives up.
            if layers.has(Layer::UserNs) {
                identity.map(child.pid)?;
            }
            rustix::io::write(&admission, &[1]).context("cannot admit the process")?;
            Ok(child)
        }
    }
}

/// `layers` without those namespaces among `expendable` that cannot be had here.
pub fn without_missing(layers: Layers, expendable: &[Layer]) -> Layers {
    // A user without privileges may make the others only together with a user namespace.
    let privileged = rustix::process::geteuid().is_root();
    let mut left = layers;
    for (layer, flag) in NAMESPACES.iter().filter(|(layer, _)| expendable.contains(layer)) {
        let with = if privileged || !left.has(Layer::UserNs) { 0 } else { libc::CLONE_NEWUSER };
        match clone(libc::CLONE_PIDFD | flag | with, None) {
            Ok(None) => worker::jail::leave(0),
            Ok(Some(child)) => drop(reap(&child)),
            Err(_) => left = left.without(*layer),
        }
    }
    left
}

/// Says which layer is missing when a process in new namespaces cannot be started, and what would
/// bring it.
fn without_namespaces(error: anyhow::Error) -> anyhow::Error {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    let remedy = match cause.and_then(std::io::Error::raw_os_error) {
        Some(libc::ENOSPC | libc::EUSERS) => {
            "their number is limited: sysctl -w user.max_user_namespaces=16384"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "they are forbidden: sysctl -w kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0"
        }
        Some(libc::EINVAL) => "it takes a kernel with CONFIG_USER_NS and all the other kinds",
        _ => return error,
    };
    error.context(format!("layer user-ns or another namespace is missing ({remedy})"))
}

/// Clones this process, into the control group (of version 2) whose directory `home` is. `None` in the child.
pub fn clone(flags: libc::c_int, home: Option<BorrowedFd<'_>>) -> Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain numbers, for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned());
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(home) = home {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(home.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM the child has its own copy of this single-threaded process, as
    // after fork; `args` lives through the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(std::io::Error::last_os_error()).context("cannot start a process"),
        0 => Ok(None),
        pid => Ok(Some(Child {
            pid: libc::pid_t::try_from(pid)?,
            // SAFETY: clone3 has just returned this descriptor and nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// In the child: enters its control group. What is open was opened by the launcher, whose rights count.
fn enter(entrance: &Entrance) -> rustix::io::Result<()> {
    entrance.files.iter().try_for_each(|file| rustix::io::write(file, b"0").map(drop))
}

/// In the child: waits for its admission, arranges the descriptors and executes the program.
/// Exits with [`NOT_EXECUTED`] if it cannot.
fn become_program(
    file: BorrowedFd<'_>,
    argv: &[*const libc::c_char],
    table: &[(RawFd, BorrowedFd<'_>)],
    admitted: &OwnedFd,
    layers: Layers,
) -> ! {
    signals::unblock();
    let admission = rustix::io::read(admitted, &mut [0]);
    if admission == Ok(1)
        && take_identity(layers).is_ok()
        && let Some(file) = arrange(file, table)
    {
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: the path is an empty string, `argv` and the environment end with a null pointer
        // and their strings live until the program is replaced.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file,
                c"".as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
    }
    worker::jail::leave(NOT_EXECUTED)
}

/// Enters the cgroup namespace, and becomes the one user that the user namespace has.
fn take_identity(layers: Layers) -> rustix::io::Result<()> {
    if layers.has(Layer::CgroupNs) {
        // SAFETY: a single-threaded process gives up the view of its control groups, nothing else.
        if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } != 0 {
            return Err(rustix::io::Errno::PERM);
        }
    }
    if layers.has(Layer::UserNs) {
        match set_thread_groups(&[]) {
            // PERM: mapped by an unprivileged launcher, whose groups cannot be given up.
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    }
    Ok(())
}

/// Moves the descriptors to their numbers, out of each other's way. Returns the program's.
fn arrange(file: BorrowedFd<'_>, table: &[(RawFd, BorrowedFd<'_>)]) -> Option<RawFd> {
    let stage = |fd: BorrowedFd<'_>| {
        // SAFETY: duplicates an open descriptor.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, STAGING) }
    };
    let file = stage(file);
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
    Some(file)
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

/// Takes a copy of descriptor `number` of `child`.
pub fn take_descriptor(child: &Child, number: RawFd) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(
        child.pidfd.as_fd(),
        number,
        rustix::process::PidfdGetfdFlags::empty(),
    )
    .with_context(|| format!("cannot take descriptor {number} of process {}", child.pid))
}
