//! Where the doctor's facts come from: files below one directory, and the kernel's answers.
//!
//! This is the only module of the doctor that opens anything, and it writes nothing. What is read
//! comes from the kernel but is taken for what it is, text: bounded, of any content, maybe missing.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, open, stat};
use rustix::io::Errno;

use super::answers::Answers;
use super::cpuinfo::Cpuinfo;

/// The longest part of a file that is read, in bytes: /proc/cpuinfo of a few thousand CPUs.
const MAX_READ: u64 = 8 << 20;

/// A host, or in tests a directory that looks like one.
#[derive(Debug)]
pub struct Source {
    root: PathBuf,
    /// What the kernel says that is in no file.
    pub answers: Answers,
    /// Large hosts take their time to write it.
    cpuinfo: OnceCell<Cpuinfo>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Its text, without white space around it.
    Text(String),
    /// There is no such file.
    Absent,
    /// It is there and cannot be read, for this reason.
    Unreadable(String),
}

impl Source {
    /// This host.
    pub fn host() -> Self {
        Self { root: "/".into(), answers: Answers::of_kernel(), cpuinfo: OnceCell::new() }
    }

    /// A host whose files are below `root`.
    #[cfg(test)]
    pub fn below(root: PathBuf, answers: Answers) -> Self {
        Self { root, answers, cpuinfo: OnceCell::new() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> Fact {
        match read_bounded(&self.path(path)) {
            Ok(bytes) => Fact::Text(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::NODEV) => Fact::Absent,
                _ => Fact::Unreadable(error.kind().to_string()),
            },
        }
    }

    /// The text of a file; none when it is missing or cannot be read.
    pub fn text(&self, path: &str) -> Option<String> {
        match self.read(path) {
            Fact::Text(text) => Some(text),
            Fact::Absent | Fact::Unreadable(_) => None,
        }
    }

    /// /proc/cpuinfo; empty where it cannot be read.
    pub fn cpuinfo(&self) -> &Cpuinfo {
        self.cpuinfo.get_or_init(|| Cpuinfo::parse(&self.text("/proc/cpuinfo").unwrap_or_default()))
    }

    /// The names in a directory, in order; none when it is missing or cannot be read.
    pub fn names(&self, path: &str) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(self.path(path)).ok()?;
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Some(names)
    }

    /// The permission bits of a file; none when it is missing or out of sight.
    pub fn mode(&self, path: &str) -> Option<u32> {
        stat(self.path(path)).ok().map(|stat| stat.st_mode & 0o7777)
    }

    /// True when there is such a file and it is in sight.
    pub fn has(&self, path: &str) -> bool {
        self.mode(path).is_some()
    }

    /// True when this process may write to a file or make files in a directory.
    pub fn may_write(&self, path: &str) -> bool {
        accessat(CWD, self.path(path), Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    /// Opens a character device for reading and writing, and closes it again.
    pub fn open_device(&self, path: &str) -> Result<(), Errno> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let device = open(self.path(path), flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&device)?.st_mode) {
            FileType::CharacterDevice => Ok(()),
            _ => Err(Errno::NOTTY),
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    // Without NONBLOCK a FIFO would hold us up for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}
