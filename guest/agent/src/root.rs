//! The command's root: the read-only disk below, a private tmpfs or a scratch disk above, one overlay of
//! both; and the files that came in with it.
//!
//! The layers are unmounted as soon as the overlay stands. It keeps both alive by private
//! mounts of its own, which no path and no mount namespace reaches, so the overlay is the only way in.
//! What is left is `/dev/vda` itself, which the device refuses to write, and the scratch disk, which is
//! the command's own to break.

use std::ffi::{CStr, OsStr};

use protocol::task::Task;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use crate::device::open_when_ready;
use crate::failure::{Failed, cause};
use crate::modules::Modules;
use crate::mounts;

/// The root disk: the first block device.
const DISK: &str = "/dev/vda";
const BASE: &str = "/base";
const UPPER: &str = "/upper";
const NEW: &str = "/new";

/// File systems by the magic number in their superblock: name, place in bytes, number.
const KINDS: [(&str, usize, &[u8]); 3] = [
    ("squashfs", 0, b"hsqs"),
    ("ext4", 1024 + 56, &[0x53, 0xef]),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
];

/// Enough of the disk to see every magic number: four sectors.
const SUPERBLOCK: usize = 2048;

/// Makes the root disk, writable in memory or on the task's scratch disk only, the root of this process
/// and all after it.
pub fn enter(task: &Task, modules: &Modules) -> Result<(), Failed> {
    let kind = find_kind(modules)?;
    mount_base(kind).map_err(|errno| refused(DISK, kind, errno, modules))?;
    let upper = task.scratch.as_ref().map(|disk| disk.to_string_lossy());
    let (upper, kind) = upper.as_deref().map_or(("tmpfs", "tmpfs"), |disk| (disk, "ext4"));
    mount_upper(upper, kind).map_err(|errno| refused(upper, kind, errno, modules))?;
    let layers = c"lowerdir=/base,upperdir=/upper/root,workdir=/upper/work";
    put("overlay", NEW, "overlay", MountFlags::empty(), layers)
        .map_err(|errno| refused("the overlay", "overlay", errno, modules))?;
    change_root().map_err(|errno| {
        Failed::setup(format!("cannot make the overlay the guest's root: {}", cause(errno)))
    })?;
    mounts::system()?;
    for (disk, place) in &task.inputs {
        let disk = disk.to_string_lossy();
        mount_input(&disk, place).map_err(|errno| {
            let failed = refused(&disk, "squashfs", errno, modules);
            Failed::setup(format!("cannot bring files in at {place:?}: {}", failed.text))
        })?;
    }
    Ok(())
}

fn find_kind(modules: &Modules) -> Result<&'static str, Failed> {
    let disk = open_when_ready(DISK, OFlags::RDONLY).map_err(|errno| {
        let cause = cause(errno);
        Failed::setup(format!(
            "no root disk: cannot open {DISK}: {cause}; the guest kernel needs virtio_mmio and virtio_blk{modules}"
        ))
    })?;
    let mut superblock = [0; SUPERBLOCK];
    let length = rustix::io::pread(&disk, &mut superblock, 0)
        .map_err(|errno| Failed::setup(format!("cannot read {DISK}: {}", cause(errno))))?;
    kind_of(superblock.get(..length).unwrap_or_default()).ok_or_else(|| {
        Failed::setup(format!(
            "cannot mount {DISK}: neither squashfs, ext4 nor erofs; give a root image of one of these"
        ))
    })
}

fn kind_of(superblock: &[u8]) -> Option<&'static str> {
    let found = KINDS
        .iter()
        .find(|(_, at, magic)| superblock.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    found.map(|(name, ..)| *name)
}

/// An ext4 whose journal still holds something cannot be mounted from a read-only disk unless the
/// journal is left alone.
fn mount_base(kind: &'static str) -> Result<(), Errno> {
    let plain = put(DISK, BASE, kind, MountFlags::RDONLY, c"");
    match plain {
        Err(errno) if kind == "ext4" && errno != Errno::NODEV => {
            put(DISK, BASE, kind, MountFlags::RDONLY, c"noload").map_err(|_| errno)
        }
        other => other,
    }
}

/// A disk, or a tmpfs.
fn mount_upper(disk: &str, kind: &str) -> Result<(), Errno> {
    if kind == "tmpfs" {
        put(disk, UPPER, kind, MountFlags::empty(), c"mode=0755")?;
    } else {
        open_when_ready(disk, OFlags::RDONLY)?;
        put(disk, UPPER, kind, MountFlags::NOATIME, c"")?;
    }
    mounts::directory("/upper/root")?;
    mounts::directory("/upper/work")
}

fn mount_input(disk: &str, place: &OsStr) -> Result<(), Errno> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    open_when_ready(disk, OFlags::RDONLY)?;
    mounts::directories(place)?;
    mount(disk, place, "squashfs", flags, c"")
}

fn put(from: &str, to: &str, kind: &str, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    mounts::directory(to)?;
    mount(from, to, kind, flags, options)
}

fn change_root() -> Result<(), Errno> {
    unmount(BASE, UnmountFlags::empty())?;
    unmount(UPPER, UnmountFlags::empty())?;
    // The open channel keeps this one busy; the new root gets a /dev of its own.
    unmount("/dev", UnmountFlags::DETACH)?;
    mounts::forget("/init");
    rustix::process::chdir(NEW)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

fn refused(what: &str, kind: &str, errno: Errno, modules: &Modules) -> Failed {
    Failed::setup(match errno {
        Errno::NODEV => {
            format!("cannot mount {what}: the guest kernel has no {kind} (module {kind}){modules}")
        }
        errno => format!("cannot mount {what} as {kind}: {}{modules}", cause(errno)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart_by_their_magic() {
        let disk = |at: usize, magic: &[u8]| {
            let mut bytes = vec![0; SUPERBLOCK];
            bytes[at..at + magic.len()].copy_from_slice(magic);
            bytes
        };
        for (bytes, expected) in [
            (disk(0, b"hsqs"), Some("squashfs")),
            (disk(1080, &0xef53u16.to_le_bytes()), Some("ext4")),
            (disk(1024, &0xe0f5_e1e2u32.to_le_bytes()), Some("erofs")),
            (disk(0, b"sqsh"), None),
            (disk(0, b""), None),
            (b"hsqs".to_vec(), Some("squashfs")),
            (vec![0; 1080], None),
            (Vec::new(), None),
        ] {
            assert_eq!(kind_of(&bytes), expected);
        }
    }

    #[test]
    fn a_missing_file_system_is_named_with_its_module() {
        let failed = refused(DISK, "squashfs", Errno::NODEV, &Modules::default());
        assert_eq!(
            failed.text,
            "cannot mount /dev/vda: the guest kernel has no squashfs (module squashfs)"
        );
        let failed = refused(DISK, "erofs", Errno::INVAL, &Modules::default());
        assert_eq!(failed.text, "cannot mount /dev/vda as erofs: Invalid argument");
    }
}
