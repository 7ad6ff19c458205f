//! What a hostile guest may write to its disk: each refused for its own reason, and nothing is left.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use tar::{EntryType, Header};

use super::*;

const MOST: u64 = 100_000;

/// An archive, as long as it is.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// Adds an entry; its name goes into the header as it is.
    fn add(mut self, kind: EntryType, name: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        if kind == EntryType::Link || kind == EntryType::Symlink {
            header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
        }
        if kind == EntryType::Char || kind == EntryType::Block {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, name, 0o644, content)
    }

    fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, 0o755, &[])
    }

    /// A disk with the archive and its mark.
    fn disk(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        marked(&Mark::Complete(self.0.len() as u64), &self.0)
    }
}

fn marked(mark: &Mark, archive: &[u8]) -> Vec<u8> {
    let mut disk = mark.encode().to_vec();
    disk.resize(usize::try_from(ARCHIVE).unwrap(), 0);
    disk.extend_from_slice(archive);
    disk
}

/// Unpacks a disk. Returns what came of it, in words, and the directory.
fn unpack_disk(disk: &[u8]) -> (Result<Unpacked, String>, tempfile::TempDir) {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(disk, 0).unwrap();
    let source: Source = Box::leak(Box::new(file));
    let dir = tempfile::tempdir().unwrap();
    let directory = File::open(dir.path()).unwrap();
    let unpacked = unpack(source, disk.len() as u64, directory.as_fd(), MOST, &|| false);
    (unpacked.map_err(|error| error.to_string()), dir)
}

#[test]
fn files_and_directories_come_out() {
    let disk = Tar::default()
        .dir("./")
        .dir("a")
        .add(EntryType::Directory, "a/closed/", 0o500, &[])
        .file("a/closed/b", b"inside")
        .add(EntryType::Regular, "run", 0o755, b"#!")
        .file("empty", b"")
        .disk();
    let (unpacked, dir) = unpack_disk(&disk);
    assert_eq!(unpacked, Ok(Unpacked { files: 3, bytes: 8 }));
    assert_eq!(std::fs::read(dir.path().join("a/closed/b")).unwrap(), b"inside");
    let mode = |name| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("run") & 0o700, mode("a/closed") & 0o700), (0o700, 0o700));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    assert_eq!(unpack_disk(&Tar::default().disk()).0, Ok(Unpacked::default()));
}

#[test]
fn what_may_not_come_out_is_refused_and_leaves_nothing() {
    let tar = || Tar::default().dir("good").file("good/file", b"content");
    let entry = |kind, name, mode| tar().add(kind, name, mode, &[]).disk();
    let many = |count: usize| {
        (0..count).fold(Tar::default(), |tar, n| tar.file(&format!("{n}"), b"")).disk()
    };
    let large = vec![1; 60_000];
    let whole = tar().disk();
    let mut damaged = whole.clone();
    damaged[usize::try_from(ARCHIVE).unwrap() + 3] ^= 1;
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "ends early"),
        ("no mark", vec![0; 8192], "did not complete"),
        ("no archive", marked(&Mark::Complete(100), &[1; 100]), "no tar archive"),
        ("a mark that lies", marked(&Mark::Complete(1 << 40), &whole), "did not complete"),
        ("an overflowing mark", marked(&Mark::Complete(u64::MAX), &whole), "did not complete"),
        ("the guest gave up", marked(&Mark::Failed("no room".into()), &[]), "guest says: no room"),
        ("cut off", marked(&Mark::Complete(1024), &whole[4096..4096 + 1024]), "ends early"),
        ("a damaged header", damaged, "no tar archive"),
        ("a symbolic link", entry(EntryType::Symlink, "x", 0o777), "a symbolic link"),
        ("a hard link", entry(EntryType::Link, "x", 0o644), "a hard link"),
        ("a character device", entry(EntryType::Char, "x", 0o644), "a device"),
        ("a block device", entry(EntryType::Block, "x", 0o644), "a device"),
        ("a FIFO", entry(EntryType::Fifo, "x", 0o644), "a FIFO"),
        ("an unknown type", entry(EntryType::new(b'V'), "x", 0o644), "type"),
        ("set-user-id", entry(EntryType::Regular, "x", 0o4755), "set-id"),
        ("set-group-id", entry(EntryType::Regular, "x", 0o2755), "set-id"),
        ("set-group-id of a directory", entry(EntryType::Directory, "x", 0o2755), "set-id"),
        ("a sticky directory", entry(EntryType::Directory, "x", 0o1777), "sticky"),
        ("an absolute path", tar().file("/tmp/x", b"").disk(), "absolute"),
        ("a path that climbs", tar().file("good/../../x", b"").disk(), "\"..\""),
        ("a path through a file", tar().file("good/file/x", b"").disk(), "goes through"),
        ("a path through nothing", tar().file("bad/x", b"").disk(), "goes through"),
        ("the same file twice", tar().file("good/file", b"").disk(), "twice"),
        ("the same, written otherwise", tar().file("./good//file", b"").disk(), "twice"),
        ("a file for a directory", tar().file("good", b"").disk(), "twice"),
        ("a file for all of it", tar().file(".", b"").disk(), "not a directory"),
        ("too much", tar().file("a", &large).file("b", &large).disk(), "--max-out"),
        ("too many", many(ENTRIES_MAX + 1), "more than 131072 entries"),
    ];
    for (name, disk, words) in rows {
        let (unpacked, dir) = unpack_disk(&disk);
        let why = unpacked.expect_err(name);
        assert!(why.contains(words), "{name}: {why}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{name} left something");
    }
}

#[test]
fn what_was_made_is_taken_back_when_the_host_refuses() {
    let disk =
        Tar::default().dir("a").file("a/one", b"1").dir("a/b").file("in-the-way", b"2").disk();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&disk, 0).unwrap();
    let source: Source = Box::leak(Box::new(file));
    let dir = tempfile::tempdir().unwrap();
    // Nobody but the caller sees to it that the directory is empty.
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("in-the-way")).unwrap();
    let directory = File::open(dir.path()).unwrap();
    let error = unpack(source, disk.len() as u64, directory.as_fd(), MOST, &|| false).unwrap_err();
    assert!(error.to_string().contains("cannot make \"in-the-way\""), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Whenever it is asked to end, the directory is as it was.
#[test]
fn what_was_made_is_taken_back_when_the_end_is_asked_for() {
    let large = vec![1; 3 * PIECE / 2];
    let disk =
        Tar::default().dir("a").file("a/one", &large).dir("a/b").file("a/b/two", b"2").disk();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&disk, 0).unwrap();
    let source: Source = Box::leak(Box::new(file));
    let dir = tempfile::tempdir().unwrap();
    let directory = File::open(dir.path()).unwrap();
    let (asked, most) = (std::cell::Cell::new(0), large.len() as u64 + 1);
    let ends_at = |at| {
        asked.set(0);
        let ends = || asked.replace(asked.get() + 1) == at;
        unpack(source, disk.len() as u64, directory.as_fd(), most, &ends)
    };
    let mut at = 0;
    while let Err(error) = ends_at(at) {
        assert!(matches!(error, Error::Ended), "{at}: {error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{at}: something is left");
        at += 1;
    }
    // Four entries twice, and between the pieces of their contents.
    assert!(at >= 12, "asked {at} times only");
}
