//! The kernel's own file systems, before and after the change of root.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::failure::{Failed, cause};

/// A file system without a disk: type, place, flags, options.
type Row = (&'static str, &'static str, MountFlags, &'static std::ffi::CStr);

const NODEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const INERT: MountFlags = NODEV.union(MountFlags::NOEXEC);

const DEV: Row = ("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755");

const PROC: Row = ("proc", "/proc", INERT, c"");

/// What a command expects to find. In this order: later places lie in earlier ones.
const SYSTEM: [Row; 6] = [
    DEV,
    PROC,
    ("sysfs", "/sys", INERT, c""),
    (
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        c"gid=5,mode=0620,ptmxmode=0666",
    ),
    ("tmpfs", "/dev/shm", NODEV, c"mode=1777"),
    ("tmpfs", "/run", NODEV, c"mode=0755,size=20%"),
];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts `/dev` in the initramfs, and puts `/dev/null` where the kernel left no standard streams:
/// without them the next files opened would become the command's.
pub fn devices() -> Result<(), Errno> {
    put(&DEV)?;
    loop {
        let null = open("/dev/null", OFlags::RDWR, Mode::empty())?;
        if rustix::fd::AsRawFd::as_raw_fd(&null) > 2 {
            return Ok(());
        }
        let _kept_open = rustix::fd::IntoRawFd::into_raw_fd(null);
    }
}

/// Mounts what a command expects, in the new root.
pub fn system() -> Result<(), Failed> {
    for row in &SYSTEM {
        let (kind, place, ..) = row;
        put(row).map_err(|errno| {
            Failed::setup(format!(
                "cannot mount {kind} at {place} of the root disk: {}",
                cause(errno)
            ))
        })?;
    }
    for (target, link) in LINKS {
        // An existing one is the kernel's or the image's own.
        let _ = rustix::fs::symlink(target, link);
    }
    Ok(())
}

/// Mounts `/proc` once more if the command took it away or hid it.
pub fn proc() -> Result<(), Errno> {
    put(&PROC)
}

fn put(&(kind, place, flags, options): &Row) -> Result<(), Errno> {
    directory(place)?;
    match mount(kind, place, kind, flags, options) {
        Err(Errno::BUSY) => Ok(()), // it is there already
        other => other,
    }
}

/// Makes a directory, or finds it there.
pub fn directory(path: &str) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Makes a directory and those above it, as far as they are not there.
pub fn directories(path: &OsStr) -> Result<(), Errno> {
    let made = std::fs::create_dir_all(path);
    made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOTDIR))
}

/// Removes a file of the initramfs, whose memory the guest can use better.
pub fn forget(path: impl AsRef<Path>) {
    let _ = std::fs::remove_file(path);
}
