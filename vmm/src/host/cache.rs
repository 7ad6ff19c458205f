//! The cache of built images: a directory of this user's, with a file for each image.
//!
//! | name | what |
//! |---|---|
//! | `KEY-SUM.squashfs` | an image: KEY says what it was built of and by what, SUM is its SHA-256 |
//! | `KEY.lock` | somebody is building it |
//!
//! An image has its name when it is complete, and is compared with its SHA-256 whenever it is used. Who uses
//! it holds a shared lock on it, and the time of its file is when it was last used. Whoever may write to
//! the directory could put in it what he likes, so it has to be this user's own.

use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, fstat,
    futimens, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::sum::{self, Sum};
use super::target::Target;

/// What the name of an image ends with.
const IMAGE: &str = ".squashfs";
/// What the name of a lock ends with.
const LOCK: &str = ".lock";

/// The directory of all that is cached: the scripts fill it with kernels and root file systems.
pub fn cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("CASEMATE_CACHE")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("casemate")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".cache/casemate")))
}

/// The cache of images.
#[derive(Debug)]
pub struct ImageCache {
    path: PathBuf,
    directory: OwnedFd,
}

/// An image of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it was built of, and by what.
    pub key: String,
    /// Its SHA-256.
    pub sum: String,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// Leave to build what a key names. Gone when this goes.
#[derive(Debug)]
pub struct Turn<'a> {
    cache: &'a ImageCache,
    name: String,
    /// Locked for this process alone.
    _lock: OwnedFd,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = unlinkat(&self.cache.directory, &self.name, AtFlags::empty());
    }
}

impl Entry {
    fn name(&self) -> String {
        format!("{}-{}{IMAGE}", self.key, self.sum)
    }
}

impl ImageCache {
    /// Opens the cache, which is made if it is not there.
    pub fn open() -> Result<Self> {
        let path = cache()
            .context("no place for an image cache: set XDG_CACHE_HOME or HOME")?
            .join("images");
        let failed = || format!("cannot make image cache {path:?}");
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&path).with_context(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty())
            .with_context(|| format!("cannot open image cache {path:?}"))?;
        let found = fstat(&directory).with_context(failed)?;
        if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o022 != 0 {
            bail!(
                "cannot use image cache {path:?}: others may write to it (chown and chmod 700 it, or \
                 set XDG_CACHE_HOME to a directory of your own)"
            );
        }
        Ok(Self { path, directory })
    }

    /// A file to be in the cache, and to have its name with [`ImageCache::keep`].
    pub fn target(&self) -> Result<Target> {
        Target::new(&self.path.join("new"))
    }

    /// Keeps a complete image, whose SHA-256 is `sum`, and opens it for use.
    pub fn keep(&self, image: Target, key: &Sum, sum: &Sum) -> Result<File> {
        let name = format!("{key}-{sum}{IMAGE}");
        image.named(&name).publish()?;
        self.using(&name)
    }

    /// The image that `key` names, if it is there and is what it was: for reading, locked while it is
    /// open. True when there was one that is not what it was any more; it is gone.
    pub fn find(&self, key: &Sum) -> Result<(Option<File>, bool)> {
        let key = key.to_string();
        let mut damaged = false;
        for entry in self.entries()?.into_iter().filter(|entry| entry.key == key) {
            let name = entry.name();
            let file = match self.using(&name) {
                Ok(file) => file,
                // Pruned in this moment.
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(error),
            };
            let found = sum::of(&file).with_context(|| self.unreadable(&name))?;
            if found.to_string() == entry.sum {
                return Ok((Some(file), damaged));
            }
            damaged = true;
            self.remove(&name)?;
        }
        Ok((None, damaged))
    }

    /// Waits until nobody else builds what `key` names.
    pub fn turn(&self, key: &Sum) -> Result<Turn<'_>> {
        let name = format!("{key}{LOCK}");
        let failed = || format!("cannot lock {name:?} of image cache {:?}", self.path);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let lock = openat(&self.directory, &name, flags, Mode::from_raw_mode(0o600))
                .with_context(failed)?;
            flock(&lock, FlockOperation::LockExclusive).with_context(failed)?;
            let ours = fstat(&lock).with_context(failed)?;
            match statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(there) if there.st_ino == ours.st_ino => {
                    return Ok(Turn { cache: self, name, _lock: lock });
                }
                // Whoever had it was through, and took the name away: once more.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).with_context(failed),
            }
        }
    }

    /// Every image, the one first that was not used for the longest time.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> =
            self.names()?.iter().filter_map(|name| self.entry(name)).collect();
        entries.sort_by(|a, b| (a.used, &a.key).cmp(&(b.used, &b.key)));
        Ok(entries)
    }

    /// Removes images that are not in use, those first that were not used for the longest time, until the
    /// others have `most` bytes together. Returns those that are gone.
    pub fn prune(&self, most: u64) -> Result<Vec<Entry>> {
        let entries = self.entries()?;
        let mut all = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        let mut gone = Vec::new();
        for entry in entries {
            if all <= most {
                break;
            }
            if self.remove_unused(&entry.name())? {
                all = all.saturating_sub(entry.bytes);
                gone.push(entry);
            }
        }
        // Left behind by builders that were killed.
        for name in self.names()?.iter().filter(|name| name.ends_with(LOCK)) {
            self.remove_unused(name)?;
        }
        Ok(gone)
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = || format!("cannot list image cache {:?}", self.path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            names.extend(entry.file_name().to_str().map(str::to_owned));
        }
        Ok(names)
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        let (key, sum) = name.strip_suffix(IMAGE)?.split_once('-')?;
        let (_, _): (Sum, Sum) = (key.parse().ok()?, sum.parse().ok()?);
        let stat = statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).ok()?;
        let since = Duration::new(u64::try_from(stat.st_mtime).ok()?, nanoseconds);
        Some(Entry {
            key: key.to_owned(),
            sum: sum.to_owned(),
            bytes: u64::try_from(stat.st_size).ok()?,
            used: SystemTime::UNIX_EPOCH.checked_add(since)?,
        })
    }

    /// Opens an image, locks it against its removal, and takes note of the time.
    fn using(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = || format!("cannot open {name:?} of image cache {:?}", self.path);
        let file =
            File::from(openat(&self.directory, name, flags, Mode::empty()).with_context(failed)?);
        // Whoever looks whether it may go is through with that at once. If it went, it is still here.
        flock(&file, FlockOperation::LockShared).with_context(failed)?;
        let found = file.metadata().with_context(failed)?;
        if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
            bail!(
                "cannot use {name:?} of image cache {:?}: it is no file of this user's",
                self.path
            );
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&file, &Timestamps { last_access: now, last_modification: now })
            .with_context(failed)?;
        Ok(file)
    }

    /// Removes a file unless somebody has a lock on it. True when it is gone.
    fn remove_unused(&self, name: &str) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(true),
            Err(errno) => return Err(errno).with_context(|| self.unreadable(name)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.remove(name).map(|()| true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno).with_context(|| self.unreadable(name)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno)
                .with_context(|| format!("cannot remove {name:?} of image cache {:?}", self.path)),
        }
    }

    fn unreadable(&self, name: &str) -> String {
        format!("cannot read {name:?} of image cache {:?}", self.path)
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let cause = error.root_cause();
    matches!(cause.downcast_ref::<Errno>(), Some(&Errno::NOENT))
}
