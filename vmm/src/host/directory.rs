//! A directory as a tar archive, so that whoever builds an image of it never opens a path.
//!
//! Entries come in the order of their names. No symbolic link is followed, nothing but regular files is
//! opened, and another file system that is mounted inside is left out, as is a socket.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, lgetxattr, llistxattr, openat, readlinkat,
    seek, statat,
};
use rustix::io::Errno;
use tar::{EntryType, Header};

/// Blocks of an archive are so long, in bytes.
const BLOCK: usize = 512;
/// The longest attribute, and the longest list of them, in bytes: what Linux allows.
const XATTR_MAX: usize = 64 << 10;
/// Where a name in a header ends, if it is in the header.
const NAME_MAX: usize = 100;

/// What an archive of a directory does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Sockets.
    pub sockets: u64,
    /// Contents of directories where something else is mounted.
    pub mounts: u64,
}

/// What the name of an archive ends with that an image is to be built of for a run.
const ARCHIVES: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// True for what an image has to be built of before it can be run: a directory, or an archive by its name.
/// No file is looked into for that.
pub fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    path.is_dir() || ARCHIVES.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// Opens what an image is to be made of: a directory; `None` for what is none.
pub fn open(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(rustix::fs::CWD, path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("cannot open source {path:?}")),
    }
}

/// How much of a directory may be taken, and which option says so.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Bytes of content.
    pub bytes: u64,
    /// The option's name.
    pub option: &'static str,
}

/// Writes the directory `root` into `archive`, without the file `but`. No more than `most` is taken. `tell` hears how many bytes were written.
pub fn archive(
    root: OwnedFd,
    archive: File,
    but: Option<(u64, u64)>,
    most: Most,
    tell: &mut dyn FnMut(u64),
) -> Result<(File, LeftOut)> {
    let stat = fstat(&root).context("cannot look at the directory")?;
    let mut walk = Walk {
        archive,
        device: stat.st_dev,
        but,
        most,
        content: 0,
        links: HashMap::new(),
        left_out: LeftOut::default(),
        tell,
    };
    walk.entry(&root, b".", b".", &stat)?;
    walk.below(root, b"")?;
    walk.archive.write_all(&[0; 2 * BLOCK]).context("cannot write the archive")?;
    Ok((walk.archive, walk.left_out))
}

struct Walk<'a> {
    archive: File,
    device: u64,
    but: Option<(u64, u64)>,
    most: Most,
    content: u64,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    left_out: LeftOut,
    tell: &'a mut dyn FnMut(u64),
}

impl Walk<'_> {
    /// Writes everything in `directory`, which is at `path`.
    fn below(&mut self, directory: OwnedFd, path: &[u8]) -> Result<()> {
        let failed = || format!("cannot list {}", shown(path));
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let name = entry.with_context(failed)?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { [path, &name].join(&b'/') };
            let failed = || format!("cannot look at {}", shown(&path));
            let stat =
                statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW).with_context(failed)?;
            if self.but == Some((stat.st_dev, stat.st_ino)) {
                continue;
            }
            self.entry(&directory, &name, &path, &stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if stat.st_dev != self.device {
                    self.left_out.mounts += 1;
                    continue;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = openat(&directory, &*name, flags, Mode::empty())
                    .with_context(|| format!("cannot open {}", shown(&path)))?;
                self.below(inner, &path)?;
            }
        }
        Ok(())
    }

    /// Writes what is `name` in `directory` and has this `path` in the archive.
    fn entry(&mut self, directory: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) -> Result<()> {
        let mut header = header(EntryType::Regular);
        let mut records = Vec::new();
        let mut link = Vec::new();
        let mut content = None;
        let identity = (stat.st_dev, stat.st_ino);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let known = self.links.get(&identity).filter(|_| kind != FileType::Directory);
        let kind = match kind {
            _ if known.is_some() => {
                link = known.cloned().unwrap_or_default();
                EntryType::Link
            }
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new());
                link = target.with_context(|| format!("cannot read {}", shown(path)))?.into_bytes();
                EntryType::Symlink
            }
            FileType::RegularFile => {
                content = Some(open_file(directory, name, path, stat)?);
                header.set_size(u64::try_from(stat.st_size)?);
                EntryType::Regular
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                if kind == FileType::BlockDevice { EntryType::Block } else { EntryType::Char }
            }
            FileType::Fifo => EntryType::Fifo,
            _ => {
                self.left_out.sockets += 1;
                return Ok(());
            }
        };
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        if kind != EntryType::Link {
            xattrs(directory, name, path, &mut records)?;
        }
        place(&mut header.as_old_mut().name, path, b"path", &mut records);
        place(&mut header.as_old_mut().linkname, &link, b"linkpath", &mut records);
        header.set_cksum();
        self.write(&records, &header).context("cannot write the archive")?;
        if let Some(file) = content {
            self.content(&file, path, u64::try_from(stat.st_size)?)?;
        }
        if stat.st_nlink > 1 && !matches!(kind, EntryType::Directory | EntryType::Link) {
            self.links.insert(identity, path.to_vec());
        }
        Ok(())
    }

    fn write(&mut self, records: &[u8], of: &Header) -> io::Result<()> {
        if !records.is_empty() {
            let mut extension = header(EntryType::XHeader);
            extension.set_size(records.len() as u64);
            extension.set_cksum();
            self.archive.write_all(extension.as_bytes())?;
            self.archive.write_all(records)?;
            self.pad(records.len() as u64)?;
        }
        self.archive.write_all(of.as_bytes())
    }

    /// Copies a file's content, leaving holes where it has some.
    fn content(&mut self, file: &File, path: &[u8], size: u64) -> Result<()> {
        self.content = self.content.saturating_add(size);
        if self.content > self.most.bytes {
            let Most { bytes, option } = self.most;
            bail!("it is larger than the {bytes} bytes it may be, at {} ({option})", shown(path));
        }
        let begin = self.archive.stream_position()?;
        let mut at = 0;
        while at < size {
            let data = match seek(file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => size,
                Err(_) => at,
            };
            if data == size {
                break;
            }
            let hole = seek(file, rustix::fs::SeekFrom::Hole(data)).unwrap_or(size).min(size);
            self.archive.seek(SeekFrom::Start(begin + data))?;
            let mut source = file;
            source.seek(SeekFrom::Start(data))?;
            let copied = io::copy(&mut source.take(hole - data), &mut self.archive)
                .with_context(|| format!("cannot copy {}", shown(path)))?;
            if copied < hole - data {
                bail!("{} changed while it was read", shown(path));
            }
            at = hole;
            (self.tell)(begin + at);
        }
        self.archive.seek(SeekFrom::Start(begin + size))?;
        self.pad(size).context("cannot write the archive")
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let zeroes = [0; BLOCK];
        let missing = usize::try_from(length.next_multiple_of(BLOCK as u64) - length).unwrap_or(0);
        self.archive.write_all(&zeroes[..missing])
    }
}

/// A header whose every number is there.
fn header(kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Opens the regular file that was looked at, and no other.
fn open_file(directory: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let failed = || format!("cannot open {}", shown(path));
    let file = openat(directory, name, flags, Mode::empty()).with_context(failed)?;
    let opened = fstat(&file).with_context(failed)?;
    if (opened.st_dev, opened.st_ino, opened.st_size) != (stat.st_dev, stat.st_ino, stat.st_size) {
        bail!("{} changed while it was read", shown(path));
    }
    Ok(file.into())
}

/// Puts a name where a header has it, or into a record of its own.
fn place(field: &mut [u8; NAME_MAX], name: &[u8], key: &[u8], records: &mut Vec<u8>) {
    match field.get_mut(..name.len()) {
        Some(field) => field.copy_from_slice(name),
        None => record(key, name, records),
    }
}

/// Adds a pax record, which begins with its own length.
fn record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Adds a file's attributes. They can only be asked for by a path: that of its directory's descriptor.
fn xattrs(directory: &OwnedFd, name: &[u8], path: &[u8], records: &mut Vec<u8>) -> Result<()> {
    let own = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    let place = Path::new(&own).join(std::ffi::OsStr::from_bytes(name));
    let failed = || format!("cannot read the attributes of {}", shown(path));
    let mut list = vec![0; XATTR_MAX];
    let length = match llistxattr(&place, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno).with_context(failed),
    };
    let mut names: Vec<&[u8]> =
        list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0; XATTR_MAX];
        match lgetxattr(&place, name, &mut value[..]) {
            Ok(length) => {
                record(&[b"SCHILY.xattr.", name].concat(), &value[..length], records);
            }
            // Gone, or for somebody else's eyes.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(errno).with_context(failed),
        }
    }
    Ok(())
}

/// A name from the directory, as it may be shown.
fn shown(path: &[u8]) -> String {
    format!("\"{}\"", path.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        for length in [1, 90, 91, 92, 990, 991, 992] {
            let mut records = Vec::new();
            record(b"path", &vec![b'x'; length], &mut records);
            let text = String::from_utf8(records).unwrap();
            assert_eq!(text.split_once(' ').unwrap().0.parse(), Ok(text.len()));
        }
    }
}
