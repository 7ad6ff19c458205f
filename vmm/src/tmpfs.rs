//! A file that says itself whether transparent huge pages back it.
//!
//! The host's shmem_enabled is about memfds and other files of the kernel's own tmpfs; a mount has a setting of
//! its own, and anybody may make one in a user namespace. So it is a nameless file of a tmpfs that has no place in
//! any tree and goes with the file. It has no seals, which only memfds have.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, Mode, OFlags, ftruncate, openat, unlinkat};
use rustix::io::{Errno, read, write};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::identity::Identity;
use crate::spawn::{clone, reap, take_descriptor};

/// Whom huge pages back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Huge {
    /// Those who ask (`MADV_HUGEPAGE`), as far as there are any.
    Advise,
    /// Nobody.
    Never,
}

/// A file of `len` bytes.
///
/// # Errors
/// The host has no such mounts, or no user namespaces.
pub fn file(name: &str, len: u64, huge: Huge) -> Result<OwnedFd> {
    let file = match on_own_mount(name, huge) {
        Err(Errno::PERM) => from_namespace(name, huge)?,
        file => file.context("cannot make a file of an own tmpfs")?,
    };
    ftruncate(&file, len).context("cannot size a file of an own tmpfs")?;
    Ok(file)
}

/// An empty file, by a process that may mount.
fn on_own_mount(name: &str, huge: Huge) -> rustix::io::Result<OwnedFd> {
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let huge = match huge {
        Huge::Advise => "advise",
        Huge::Never => "never",
    };
    fsconfig_set_string(tmpfs.as_fd(), "huge", huge)?;
    // Without a limit of its own, like a memfd.
    fsconfig_set_string(tmpfs.as_fd(), "size", "0")?;
    fsconfig_create(tmpfs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&mount, name, flags, Mode::RUSR | Mode::WUSR)?;
    // What is left of the name is what maps show.
    unlinkat(&mount, name, AtFlags::empty())?;
    Ok(file)
}

/// An empty file, by a process in new namespaces, where anybody may mount: it makes the file, tells its number, and
/// stays until that has been taken.
fn from_namespace(name: &str, huge: Huge) -> Result<OwnedFd> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
    let ((admitted, admission), (told, tells)) = (pipe()?, pipe()?);
    let flags = libc::CLONE_PIDFD | libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    let Some(child) = clone(flags, None)? else {
        drop((admission, told));
        let done = make_and_tell(name, huge, admitted.as_fd(), tells.as_fd());
        worker::jail::leave(done.is_err().into());
    };
    drop((admitted, tells));
    let taken =
        Identity::of_sandbox().and_then(|identity| identity.map(child.pid)).and_then(|()| {
            write(&admission, &[1]).context("cannot admit a process")?;
            let mut number = [0; 4];
            let len = read(&told, &mut number).context("cannot hear a process")?;
            ensure!(len == number.len(), "cannot make a file of a tmpfs in a user namespace");
            take_descriptor(&child, i32::from_ne_bytes(number))
        });
    drop(admission);
    reap(&child);
    taken
}

/// In the child: waits until its ids are mapped, makes the file and tells its number; returns once nobody waits for
/// anything more.
fn make_and_tell(
    name: &str,
    huge: Huge,
    admitted: BorrowedFd<'_>,
    tells: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    if read(admitted, &mut [0])? != 1 {
        return Err(Errno::PERM);
    }
    let file = on_own_mount(name, huge)?;
    write(tells, &file.as_raw_fd().to_ne_bytes())?;
    read(admitted, &mut [0]).map(drop)
}
