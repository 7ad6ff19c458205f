//! From a disk that a guest has written to a directory of the host.
//!
//! Twice over the archive: the first time everything is checked and nothing is written, so that an archive
//! that is refused leaves nothing behind. The second time directories and files are made, each by its whole
//! path below the one directory, which is empty at the start and whose every entry has to be new. What the
//! host then refuses, a full disk for one, takes back what was made, and so does an end that is asked for.
//!
//! | in the archive | comes out |
//! |---|---|
//! | file | a new file with its permissions, readable and writable for its owner |
//! | directory | the same |
//! | symbolic or hard link, device, FIFO | refused |
//! | set-user-id, set-group-id or sticky bit | refused |
//! | owner, times, extended attributes | left out |

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use protocol::collected::{ARCHIVE, MARK, Mark};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, unlinkat};

use crate::archive::{Archive, Entry, Kind};
use crate::error::{Error, Name, Why};
use crate::path;
use crate::source::{Source, Stream, Window};

/// The most entries.
pub const ENTRIES_MAX: usize = 1 << 17;
/// The most bytes of all their names.
pub const NAMES_MAX: usize = 16 << 20;
/// Content is copied in pieces of this length, in bytes.
const PIECE: usize = 128 << 10;

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files.
    pub files: u64,
    /// What is in them, in bytes.
    pub bytes: u64,
}

/// Every path of the archive, and whether it is a directory.
type Tree = BTreeMap<Vec<u8>, bool>;

/// How much is read of an archive of `most` bytes of content: headers take room too.
pub fn most_read(most: u64) -> u64 {
    most.saturating_add(most / 2).saturating_add(64 << 20)
}

/// Unpacks what is on the disk `source`, `length` bytes long, into `directory`: at most `most` bytes.
/// `ends` is asked again and again whether nothing of it is wanted any more.
pub fn unpack(
    source: Source,
    length: u64,
    directory: BorrowedFd<'_>,
    most: u64,
    ends: &dyn Fn() -> bool,
) -> Result<Unpacked, Error> {
    let window = archive(source, length)?;
    let open = || Ok::<_, Error>(Archive::new(Stream::plain(window, most_read(most))));
    let tree = check(open()?, most, ends)?;
    let mut made = Vec::new();
    let unpacked = make(open()?, &tree, directory, &mut made, ends);
    if unpacked.is_err() {
        for (path, is_directory) in made.iter().rev() {
            let flags = if *is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            // What cannot be taken back is the host's to tell; the reason is told already.
            let _ = unlinkat(directory, path.as_slice(), flags);
        }
    }
    unpacked
}

/// Where the archive is, as the mark says.
fn archive(source: Source, length: u64) -> Result<Window, Error> {
    let mut mark = [0; MARK];
    source.read_exact_at(&mut mark, 0).map_err(Error::of_reading)?;
    match Mark::decode(&mark) {
        Some(Mark::Complete(archive)) => {
            Window::all(source, length).part(ARCHIVE, archive).map_err(|_| Error::Unmarked)
        }
        Some(Mark::Failed(reason)) => Err(Error::Guest(reason)),
        None => Err(Error::Unmarked),
    }
}

/// The first time: refuses whatever may not come out.
fn check(mut archive: Archive, most: u64, ends: &dyn Fn() -> bool) -> Result<Tree, Error> {
    let (mut tree, mut names, mut bytes) = (Tree::new(), 0, 0_u64);
    while let Some(entry) = archive.next()? {
        go_on(ends)?;
        let path = path::parts(&entry.path).map_err(|why| entry.refused(why))?.join(&b'/');
        names += path.len();
        bytes = bytes.saturating_add(entry.size);
        if tree.len() >= ENTRIES_MAX {
            return Err(Error::OutEntries);
        }
        if names > NAMES_MAX {
            return Err(Error::OutNames);
        }
        let is_directory = is_directory(&entry).map_err(|why| entry.refused(why))?;
        if bytes > most {
            return Err(entry.refused(Why::OutSize(most)));
        }
        // The directory itself needs no making.
        if path.is_empty() {
            if !is_directory {
                return Err(entry.refused(Why::Root));
            }
            continue;
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at]);
        if let Some(parent) = parent
            && tree.get(parent) != Some(&true)
        {
            return Err(entry.refused(Why::Through(Name::new(parent))));
        }
        if tree.insert(path, is_directory).is_some() {
            return Err(entry.refused(Why::Twice));
        }
    }
    Ok(tree)
}

/// True for a directory, false for a file; everything else is refused.
fn is_directory(entry: &Entry) -> Result<bool, Why> {
    if entry.mode & 0o7000 != 0 {
        return Err(Why::SetId);
    }
    match &entry.kind {
        Kind::File => Ok(false),
        Kind::Directory => Ok(true),
        Kind::HardLink(_) => Err(Why::OutKind("a hard link")),
        Kind::Symlink(_) => Err(Why::OutKind("a symbolic link")),
        Kind::Character(..) | Kind::Block(..) => Err(Why::OutKind("a device")),
        Kind::Fifo => Err(Why::OutKind("a FIFO or a socket")),
    }
}

/// The second time: makes what is in `tree`, and notes in `made` what was made.
fn make(
    mut archive: Archive,
    tree: &Tree,
    directory: BorrowedFd<'_>,
    made: &mut Vec<(Vec<u8>, bool)>,
    ends: &dyn Fn() -> bool,
) -> Result<Unpacked, Error> {
    let mut unpacked = Unpacked::default();
    let mut piece = vec![0; PIECE];
    while let Some(entry) = archive.next()? {
        go_on(ends)?;
        let path = path::parts(&entry.path).map_err(|why| entry.refused(why))?.join(&b'/');
        if path.is_empty() {
            continue;
        }
        // Nobody writes to the disk any more, so this is what was checked.
        let is_directory = *tree.get(&path).ok_or(Error::Changed)?;
        let failed = |errno: rustix::io::Errno| Error::Make(Name::new(&path), errno.into());
        let mode = u32::from(entry.mode & 0o777);
        if is_directory {
            mkdirat(directory, path.as_slice(), Mode::from_raw_mode(mode | 0o700))
                .map_err(failed)?;
            made.push((path, true));
            continue;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let mode = Mode::from_raw_mode(mode | 0o600);
        let file = openat2(directory, path.as_slice(), flags, mode, beneath).map_err(failed)?;
        made.push((path.clone(), false));
        let mut file = std::fs::File::from(file);
        loop {
            go_on(ends)?;
            let count = archive.fill(&mut piece)?;
            if count == 0 {
                break;
            }
            let written = file.write_all(&piece[..count]);
            written.map_err(|error| Error::Make(Name::new(&path), error))?;
            unpacked.bytes += count as u64;
        }
        unpacked.files += 1;
    }
    Ok(unpacked)
}

fn go_on(ends: &dyn Fn() -> bool) -> Result<(), Error> {
    if ends() { Err(Error::Ended) } else { Ok(()) }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
