//! An empty, read-only root: no path leads anywhere.
//!
//! The only paths that a worker ever names are here, before it sees anything of a guest.

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::Error;

const LAYER: &str = "root";

/// Any directory that every host has: it is covered by the new root for a moment.
const COVERED: &str = "/proc";

/// Replaces the mount namespace's root by an empty tmpfs that nothing can be created in.
pub fn empty() -> Result<(), Error> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(Error::new(LAYER, "make the mounts private"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("none", COVERED, "tmpfs", flags, c"size=4k,nr_inodes=1,mode=0555")
        .map_err(Error::new(LAYER, "mount an empty file system"))?;
    chdir(COVERED).map_err(Error::new(LAYER, "enter the empty file system"))?;
    pivot_root(".", ".").map_err(Error::new(LAYER, "make it the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(Error::new(LAYER, "let go of the old root"))?;
    chdir("/").map_err(Error::new(LAYER, "enter the new root"))?;
    mount_remount("/", flags | MountFlags::RDONLY, "")
        .map_err(Error::new(LAYER, "make the root read-only"))
}

/// Forbids user namespaces inside this one: with none, no capability can come back.
pub fn forbid_user_namespaces() -> Result<(), Error> {
    let failed = |step| Error::new("user-ns", step);
    let path = "/proc/sys/user/max_user_namespaces";
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let limit = rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty())
        .map_err(failed("open its limit of user namespaces"))?;
    rustix::io::write(&limit, b"0").map_err(failed("forbid user namespaces inside"))?;
    Ok(())
}
