//! The host's files. Every path that casemate opens is opened in this module and nowhere else.
//!
//! What a guest will read or write has to be a regular file, and that is asked of the open
//! descriptor, not of the path. Nothing is read here but directories, `modules.dep`, the agent and
//! modules: images and kernels are left to the worker that is jailed for it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

pub mod cache;
mod control;
pub mod directory;
mod huge_pages;
mod image;
pub mod kernel;
pub mod modules;
pub mod processes;
pub mod sum;
pub mod target;
mod temporary;
pub mod terminal;

pub use cache::cache;
pub use control::{
    CgroupMount, cgroup_mounts, make_cgroup, open_cgroup, open_cgroup_file, own_link,
    parse_cgroup_mounts, proc_link, read_cgroup, read_own, read_proc, remove_cgroup, tasks,
    write_cgroup, write_proc,
};
pub use huge_pages::{
    HUGE_PAGES, HugePages, TRANSPARENT, chosen, huge_pages, transparent_huge_pages,
};
pub use image::{Image, image};
pub use temporary::temporary;

use sum::Sum;

/// The longest file that is read as a whole, in bytes: a module or the agent.
const MAX_READ: u64 = 64 << 20;

/// Opens a regular file for reading. `what` names its purpose in errors.
pub fn open(what: &str, path: &Path) -> Result<File> {
    open_with(what, path, OpenOptions::new().read(true))
}

/// The same, and refuses a file whose SHA-256 is not `sum`.
pub fn pinned(what: &str, path: &Path, sum: Option<&Sum>) -> Result<File> {
    let file = open(what, path)?;
    sum::check(what, path, &file, sum)?;
    Ok(file)
}

fn open_with(what: &str, path: &Path, options: &mut OpenOptions) -> Result<File> {
    // Without O_NONBLOCK a FIFO would hold us up for ever.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits())?;
    let file = options
        .custom_flags(nonblock)
        .open(path)
        .with_context(|| format!("cannot open {what} {path:?}"))?;
    regular(what, path, file)
}

/// Opens a regular file for reading, below `directory` whatever `path` says and wherever links lead:
/// both may come from somebody whose kernel is to be run, not trusted.
pub fn open_below(what: &str, directory: &File, path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(directory, path, flags, Mode::empty(), beneath).map_err(|errno| {
        let outside = if errno == Errno::XDEV { " (it leads out of its directory)" } else { "" };
        anyhow::anyhow!("cannot open {what} {path:?}: {}{outside}", std::io::Error::from(errno))
    })?;
    regular(what, path, file.into())
}

/// Refuses everything but a regular file.
fn regular(what: &str, path: &Path, file: File) -> Result<File> {
    let kind = file.metadata().with_context(|| format!("cannot look at {what} {path:?}"))?;
    let kind = kind.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(file),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_block_device() => "a block device",
        () if kind.is_char_device() => "a character device",
        () => "something else",
    };
    bail!("cannot use {what} {path:?}: it is {found}, and has to be a regular file");
}

/// Creates or empties a file for output. Refuses to follow a symbolic link at the end of `path`, and to
/// empty a file that has another name, which may be where somebody else has put it.
pub fn create(path: &Path) -> Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits())?;
    // Not emptied as it is opened: it is looked at first.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("cannot create {path:?}"))?;
    let found = file.metadata().with_context(|| format!("cannot look at {path:?}"))?;
    if found.is_file() {
        if found.nlink() > 1 {
            bail!("cannot write {path:?}: it has other names too (hard links); remove it first");
        }
        file.set_len(0).with_context(|| format!("cannot empty {path:?}"))?;
    }
    Ok(file)
}

/// The same for what has to be a regular file: a worker waits for it in the middle of its work.
pub fn create_regular(path: &Path) -> Result<File> {
    regular("for output", path, create(path)?)
}

/// Opens a directory for output, which is made if it is not there and has to be empty.
pub fn output_directory(path: &Path) -> Result<File> {
    let failed = || format!("cannot use {path:?} for output");
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(failed);
        }
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).with_context(failed)?;
    let entries = rustix::fs::Dir::read_from(&directory).with_context(failed)?;
    for entry in entries {
        let entry = entry.with_context(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            bail!(
                "cannot use {path:?} for output: it is not empty, and nothing there is overwritten"
            );
        }
    }
    Ok(directory.into())
}

/// Opens /dev/kvm.
pub fn kvm() -> Result<File> {
    /// Major and minor number that Linux gives to KVM (Documentation/admin-guide/devices.txt).
    const DEVICE: (u32, u32) = (10, 232);
    let path = "/dev/kvm";
    let kvm = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        let fix = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "load kvm_intel or kvm_amd, and enable virtualization in the firmware"
            }
            std::io::ErrorKind::PermissionDenied => "add yourself to its group: usermod -aG kvm",
            _ => "is virtualization enabled in the firmware?",
        };
        anyhow::anyhow!("cannot open {path}: {error} ({fix})")
    })?;
    let device = kvm.metadata().with_context(|| format!("cannot look at {path}"))?.rdev();
    if (rustix::fs::major(device), rustix::fs::minor(device)) != DEVICE {
        bail!("cannot use {path}: it is not KVM's device (load kvm_intel or kvm_amd)");
    }
    Ok(kvm)
}

/// Opens /dev/null.
pub fn null() -> Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null").context("cannot open /dev/null")
}

/// Opens a program that is installed beside casemate's own executable.
pub fn companion(name: &str) -> Result<File> {
    let own = std::env::current_exe().context("cannot find casemate's own executable")?;
    open("the program", &own.with_file_name(name))
}

/// A file without a name, opened a second time: what is read from it does not move where it is written.
pub fn again(file: &File) -> Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(&path).with_context(|| format!("cannot open {path}"))
}

/// Reads a whole file that came from [`open`].
pub fn read(file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len())? > MAX_READ {
        bail!("longer than {} MiB", MAX_READ >> 20);
    }
    Ok(bytes)
}

/// The root file system that scripts/quickstart made.
pub fn default_rootfs() -> Result<PathBuf> {
    cache()
        .map(|cache| cache.join("rootfs/debian-python3.squashfs"))
        .filter(|path| path.exists())
        .context("no root file system: give --rootfs IMAGE, or make one with scripts/debian-rootfs")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn output_follows_no_link_and_empties_no_file_with_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(dir.path().join("target"), &link).unwrap();
        assert!(create(&link).is_err());
        assert!(!dir.path().join("target").exists());
        let (file, other) = (dir.path().join("file"), dir.path().join("other"));
        std::fs::write(&file, "kept").unwrap();
        std::fs::hard_link(&file, &other).unwrap();
        assert!(format!("{:#}", create(&file).unwrap_err()).contains("hard links"));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "kept");
        std::fs::remove_file(&other).unwrap();
        assert!(create(&file).is_ok());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    }
}
