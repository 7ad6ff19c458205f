//! A file that transparent huge pages can back, whatever the host's shmem_enabled is.
//!
//! That setting is about memfds and other files of the kernel's own tmpfs; a mount has one of its own, and anybody may
//! make one in a user namespace. So it is the only file of a tmpfs that has no place in any tree and goes with the file.
//! It has no seals, which only memfds have. It keeps its name: of a file without one, the settings of memfds count.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, ftruncate, openat};
use rustix::io::{Errno, read, write};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use crate::identity::Identity;
use crate::spawn::{Child, clone, reap, take_descriptor};
use crate::watched::readable_within;

/// How long the making of a file may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file of `len` bytes.
///
/// # Errors
/// The host has no such mounts, or no user namespaces.
pub fn file(name: &str, len: u64) -> Result<OwnedFd> {
    let file = match on_own_mount(name) {
        Err(Errno::PERM) => from_namespace(name)?,
        file => file.context("cannot make a file of an own tmpfs")?,
    };
    ftruncate(&file, len).context("cannot size a file of an own tmpfs")?;
    Ok(file)
}

/// An empty file, by a process that may mount.
fn on_own_mount(name: &str) -> rustix::io::Result<OwnedFd> {
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // For those who ask (`MADV_HUGEPAGE`), as far as there are any.
    fsconfig_set_string(tmpfs.as_fd(), "huge", "advise")?;
    // Without a limit of its own, like a memfd.
    fsconfig_set_string(tmpfs.as_fd(), "size", "0")?;
    fsconfig_create(tmpfs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(&mount, name, flags, Mode::RUSR | Mode::WUSR)
}

/// An empty file, by a process in new namespaces, where anybody may mount: it makes the file, tells its number, and
/// stays until that has been taken.
fn from_namespace(name: &str) -> Result<OwnedFd> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
    let ((admitted, admission), (told, tells)) = (pipe()?, pipe()?);
    let flags = libc::CLONE_PIDFD | libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    let Some(child) = clone(flags, None)? else {
        drop((admission, told));
        let done = make_and_tell(name, admitted.as_fd(), tells.as_fd());
        worker::jail::leave(done.is_err().into());
    };
    drop((admitted, tells));
    let taken = Identity::own().map(child.pid).and_then(|()| {
        write(&admission, &[1]).context("cannot admit a process")?;
        take_told(&child, &told)
    });
    // Gone already is as good.
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    reap(&child);
    taken
}

/// Takes the descriptor whose number `child` tells.
fn take_told(child: &Child, told: &OwnedFd) -> Result<OwnedFd> {
    ensure!(readable_within(told, PATIENCE), "a process that makes a file takes too long");
    let mut number = [0; 4];
    let len = read(told, &mut number).context("cannot hear a process")?;
    ensure!(len == number.len(), "cannot make a file of a tmpfs in a user namespace");
    take_descriptor(child, i32::from_ne_bytes(number))
}

/// In the child: waits until its ids are mapped, makes the file and tells its number; ends with the launcher, if
/// that does not end it before.
fn make_and_tell(
    name: &str,
    admitted: BorrowedFd<'_>,
    tells: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    if read(admitted, &mut [0])? != 1 {
        return Err(Errno::PERM);
    }
    let file = on_own_mount(name)?;
    write(tells, &file.as_raw_fd().to_ne_bytes())?;
    read(admitted, &mut [0]).map(drop)
}
