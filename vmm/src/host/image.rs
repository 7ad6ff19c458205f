//! Disk images: whole sectors, locked, one writer alone or any number of readers.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use devices::blk::{SECTOR, Shape};
use devices::overlay;
use devices::throttle::Rates;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use worker::plan::Backing;

use super::{open_with, sum, temporary};
use crate::cli::{Access, DiskArg};

/// A disk image, open and locked.
#[derive(Debug)]
pub struct Image {
    /// The image.
    pub file: File,
    /// What the guest is told about it.
    pub shape: Shape,
    /// Where what is written goes.
    pub backing: Backing,
    /// The file for it, if it is not the image.
    pub copy: Option<File>,
    /// How fast it may be.
    pub rates: Rates,
}

/// Opens a disk image and locks it: one writer alone, or any number of readers.
pub fn image(what: &str, disk: &DiskArg) -> Result<Image> {
    let path = &disk.path;
    let writes = disk.access == Access::Write;
    let file = open_with(what, path, OpenOptions::new().read(true).write(writes)).map_err(
        |error| match error.root_cause().downcast_ref::<std::io::Error>() {
            Some(cause) if writes && is_denied(cause) => error.context(
                "cannot write (add ,ro to give the disk for reading only, or ,ephemeral to keep nothing)",
            ),
            _ => error,
        },
    )?;
    let sectors = sectors(what, path, &file)?;
    let size = sectors * SECTOR;
    if matches!(disk.access, Access::Ephemeral(_)) && size > overlay::SIZE_MAX {
        let most = overlay::SIZE_MAX >> 40;
        bail!(
            "cannot use {what} {path:?}: it is {size} bytes long, and {most} TiB can be ephemeral"
        );
    }
    let lock = if writes {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    match flock(&file, lock) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) if !writes => {
            bail!("cannot use {what} {path:?}: another run is writing to it");
        }
        Err(Errno::WOULDBLOCK) => {
            bail!("cannot write {what} {path:?}: another run is using it");
        }
        Err(errno) => return Err(errno).with_context(|| format!("cannot lock {what} {path:?}")),
    }
    sum::check(what, path, &file, disk.sum.as_ref())?;
    let shape = Shape { sectors, read_only: disk.access == Access::Read };
    let (backing, copy) = match disk.access {
        Access::Ephemeral(most) => (Backing::Copy(most), Some(temporary()?)),
        Access::Read | Access::Write => (Backing::Image, None),
    };
    Ok(Image { file, shape, backing, copy, rates: disk.rates })
}

/// Length of an image in sectors, of which it has to have one at least.
fn sectors(what: &str, path: &Path, file: &File) -> Result<u64> {
    let size = file.metadata().with_context(|| format!("cannot look at {what} {path:?}"))?.size();
    if size == 0 {
        bail!("cannot use {what} {path:?}: it is empty");
    }
    if size % SECTOR != 0 {
        bail!(
            "cannot use {what} {path:?}: its size, {size} bytes, is no multiple of {SECTOR} \
             (truncate -s %{SECTOR} FILE makes it one)"
        );
    }
    Ok(size / SECTOR)
}

fn is_denied(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn disk(path: &Path, read_only: bool) -> DiskArg {
        let access = if read_only { Access::Read } else { Access::Write };
        DiskArg { path: path.to_owned(), access, rates: Rates::NONE, sum: None }
    }

    #[test]
    fn only_regular_files_of_whole_sectors_are_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("whole"), [0; 1024]).unwrap();
        std::fs::write(path("odd"), [0; 513]).unwrap();
        std::fs::write(path("empty"), []).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), 0o600.into()).unwrap();
        symlink(path("fifo"), path("to-fifo")).unwrap();
        symlink("/dev/null", path("to-device")).unwrap();
        symlink(path("whole"), path("to-whole")).unwrap();
        let rows = [
            ("whole", Ok(2)),
            ("to-whole", Ok(2)),
            ("odd", Err("no multiple of 512")),
            ("empty", Err("it is empty")),
            (".", Err("a directory")),
            ("fifo", Err("a FIFO")),
            ("to-fifo", Err("a FIFO")),
            ("to-device", Err("a character device")),
            ("missing", Err("No such file")),
        ];
        for (name, expected) in rows {
            match (image("disk image", &disk(&path(name), true)), expected) {
                (Ok(image), Ok(sectors)) => assert_eq!(image.shape.sectors, sectors),
                (Err(error), Err(part)) => {
                    let text = format!("{error:#}");
                    assert!(text.contains(part) && text.contains(name), "{name}: {text}");
                }
                (result, _) => panic!("{name}: {result:?}"),
            }
        }
    }

    #[test]
    fn one_writer_or_many_readers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(512).unwrap();
        let open = |read_only| image("disk image", &disk(file.path(), read_only));
        let readers = (open(true).unwrap(), open(true).unwrap());
        assert!(format!("{:#}", open(false).unwrap_err()).contains("another run is using it"));
        drop(readers);
        let _writer = open(false).unwrap();
        assert!(format!("{:#}", open(true).unwrap_err()).contains("another run is writing"));
        assert!(open(false).is_err());
    }
}
