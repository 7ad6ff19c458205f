//! Where an image is written to: a file without a name until it is complete.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// What the name of a file begins with that has not got its own yet.
const PREFIX: &str = ".casemate-";

/// A file to be.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// It has no name, and is gone with this process, however that ends.
    Nameless(File),
    /// Where the file system cannot do without names: gone unless this process is killed.
    Named(NamedTempFile),
}

impl Target {
    /// A new file in the directory of `path`.
    pub fn new(path: &Path) -> Result<Self> {
        let failed = || format!("cannot create {path:?}");
        if path.file_name().is_none() || path.is_dir() {
            bail!("cannot create {path:?}: it is a directory");
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let kind = match openat(CWD, directory(path), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Kind::Nameless(file.into()),
            // ISDIR: a kernel or file system that does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let mut named = tempfile::Builder::new();
                let named = named.prefix(PREFIX).tempfile_in(directory(path));
                Kind::Named(named.with_context(failed)?)
            }
            Err(errno) => return Err(errno).with_context(failed),
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// The file.
    pub fn file(&self) -> &File {
        match &self.kind {
            Kind::Nameless(file) => file,
            Kind::Named(named) => named.as_file(),
        }
    }

    /// The same, to be published under another name in the same directory.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.path.set_file_name(name);
        self
    }

    /// Opens the file for reading. It never gets a name.
    pub fn reopen(&self) -> Result<File> {
        let path = format!("/proc/self/fd/{}", self.file().as_raw_fd());
        File::open(path).with_context(|| format!("cannot open {:?} again", self.path))
    }

    /// Gives the file its name, in place of what had it. It is on the disk by then.
    pub fn publish(self) -> Result<()> {
        let path = &self.path;
        let failed = || format!("cannot write {path:?}");
        self.file().sync_all().with_context(failed)?;
        match self.kind {
            Kind::Nameless(file) => {
                // A link cannot replace a file, a rename can.
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                let mut named = tempfile::Builder::new();
                let named = named.prefix(PREFIX).make_in(directory(path), |name| {
                    Ok(linkat(CWD, &own, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
                });
                let named = named.with_context(failed)?.into_temp_path();
                named.persist(path).map_err(|error| error.error).with_context(failed)
            }
            Kind::Named(named) => {
                named.persist(path).map_err(|error| error.error).with_context(failed).map(drop)
            }
        }
    }

    /// The file that has the name now, by device and inode.
    pub fn replaces(&self) -> Option<(u64, u64)> {
        self.path.symlink_metadata().ok().map(|there| (there.dev(), there.ino()))
    }

    /// A file without a name beside this one, for what is needed on the way.
    pub fn beside(&self) -> Result<File> {
        let directory = directory(&self.path);
        tempfile::tempfile_in(directory).with_context(|| format!("cannot write to {directory:?}"))
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_complete_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let path = dir.path().join("image");
        for (there, text) in [(0, "first"), (1, "second")] {
            let target = Target::new(&path).unwrap();
            target.file().write_all(text.as_bytes()).unwrap();
            assert_eq!(names(), there);
            assert_eq!(target.replaces().is_some(), there == 1);
            target.publish().unwrap();
            assert_eq!((names(), std::fs::read_to_string(&path).unwrap()), (1, text.to_owned()));
        }
        drop(Target::new(&dir.path().join("other")).unwrap());
        assert_eq!(names(), 1);
        assert!(Target::new(dir.path()).unwrap_err().to_string().contains("directory"));
        assert!(Target::new(&path.join("x")).is_err());
    }
}
