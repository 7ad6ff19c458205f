//! Directories and archives.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};

use rustix::fs::{CWD, FileType, XattrFlags, getxattr, mknodat, setxattr};
use tar::EntryType;
use tests::archive::{More, Tar};
use tests::process::PATIENCE;
use tests::run::Run;
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};
use tests::terminal::Terminal;

use crate::{IMAGE, build, build_twice, listing, tool};

pub fn tests() -> Vec<Test> {
    let squashfs = Need::Tool("unsquashfs");
    vec![
        Test::new("sources::directory", &[squashfs, Need::Root], directory),
        Test::new("sources::tar", &[squashfs], tar),
        Test::new("sources::packed_tar", &[Need::Tool("gzip"), Need::Tool("zstd")], packed),
        Test::new("sources::without_root", &[squashfs], without_root),
        Test::new("sources::sparse_3_gib", &[squashfs, Need::Tool("tar")], sparse),
        Test::new("sources::many_files", &[squashfs], many),
        Test::new("sources::long_work_is_seen_on_a_terminal", &[Need::Tool("setsid")], seen),
        Test::new("sources::replaces_only_what_is_complete", &[], replaces),
    ]
}

/// Everything that a file system holds, with what `tar` would lose.
fn directory() {
    let dir = Scratch::new();
    let tree = |name: &str| dir.path("tree").join(name);
    fs::create_dir_all(tree("bin")).unwrap();
    fs::create_dir_all(tree("empty")).unwrap();
    let long = "n".repeat(200);
    fs::write(tree(&long), "long").unwrap();
    let content = noise(1, 300_000);
    fs::write(tree("bin/tool"), &content).unwrap();
    chown(tree("bin/tool"), Some(70_000), Some(3_000_000_000)).unwrap();
    fs::set_permissions(tree("bin/tool"), PermissionsExt::from_mode(0o4751)).unwrap();
    let none = XattrFlags::empty();
    setxattr(tree("bin/tool"), "user.note", b"two\nlines", none).unwrap();
    setxattr(tree("bin/tool"), "trusted.mark", &[0, 255], none).unwrap();
    setxattr(tree("empty"), "user.note", b"two\nlines", none).unwrap();
    fs::hard_link(tree("bin/tool"), tree("zz")).unwrap();
    symlink("/etc/passwd", tree("absolute")).unwrap();
    symlink("../bin/tool", tree("bin/relative")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    let nodes = [
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("disk", FileType::BlockDevice, rustix::fs::makedev(259, 70_000)),
        ("fifo", FileType::Fifo, 0),
    ];
    for (name, kind, device) in nodes {
        mknodat(CWD, tree(name), kind, mode, device).unwrap();
    }
    build_twice(&dir, "tree");
    tool(&dir, "unsquashfs", &["-quiet", "-no-progress", "-dest", "out", IMAGE]);
    let out = |name: &str| dir.path("out").join(name);
    let names =
        ["bin", "bin/tool", "bin/relative", "absolute", "null", "disk", "fifo", "empty", &long];
    for name in names {
        let [made, found] = [tree(name), out(name)].map(|path| path.symlink_metadata().unwrap());
        let facts = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid(), of.rdev(), of.mtime());
        assert_eq!(facts(&found), facts(&made), "{name}");
    }
    assert_same(&fs::read(out("bin/tool")).unwrap(), &content, "a file");
    let identity =
        |name: &str| (out(name).metadata().unwrap().ino(), out(name).metadata().unwrap().nlink());
    assert_eq!(identity("bin/tool"), identity("zz"));
    assert_eq!(identity("zz").1, 2);
    for (name, attribute, expected) in [
        ("bin/tool", "user.note", &b"two\nlines"[..]),
        ("bin/tool", "trusted.mark", &[0, 255]),
        ("empty", "user.note", b"two\nlines"),
    ] {
        let mut value = [0; 64];
        let length = getxattr(out(name), attribute, &mut value[..]).unwrap();
        assert_eq!(&value[..length], expected, "{name} {attribute}");
    }
    assert_eq!(fs::read_link(out("absolute")).unwrap().to_str(), Some("/etc/passwd"));
    assert_eq!(fs::read_to_string(out(&long)).unwrap(), "long");
}

/// An archive with owners that the test could not give.
fn archive() -> Tar {
    let mode = |mode, owner| More { mode, owner, ..More::default() };
    let device = |device| More { mode: 0o666, device, ..More::default() };
    Tar::default()
        .add(EntryType::Directory, "./", &mode(0o755, (0, 0)))
        .add(EntryType::Directory, "./home/", &mode(0o1777, (1000, 1000)))
        .pax("SCHILY.xattr.user.note", b"two\nlines")
        .add(
            EntryType::Regular,
            "home/a",
            &More { content: b"abc", ..mode(0o4755, (4_000_000_000, 7)) },
        )
        .link(EntryType::Link, "b", "./home/a")
        .link(EntryType::Symlink, "s", "home/../b")
        .add(EntryType::Char, "tty", &device((5, 0)))
        .add(EntryType::Block, "sda", &device((8, 1)))
        .add(EntryType::Fifo, "pipe", &mode(0o600, (0, 0)))
        .file("made/on/the/way", &noise(2, 200_000))
        .file("replaced", b"first")
        .file("replaced", b"second")
}

fn tar() {
    let dir = Scratch::new();
    dir.write("source", archive().bytes());
    build_twice(&dir, "source");
    let expected = [
        "drwxr-xr-x 0/0 /",
        "-rwsr-xr-x 4000000000/7 /b",
        "drwxrwxrwt 1000/1000 /home",
        "-rwsr-xr-x 4000000000/7 /home/a",
        "drwxr-xr-x 0/0 /made",
        "drwxr-xr-x 0/0 /made/on",
        "drwxr-xr-x 0/0 /made/on/the",
        "-rw-r--r-- 0/0 /made/on/the/way",
        "prw------- 0/0 /pipe",
        "-rw-r--r-- 0/0 /replaced",
        "lrwxrwxrwx 0/0 /s -> home/../b",
        "brw-rw-rw- 0/0 /sda",
        "crw-rw-rw- 0/0 /tty",
    ];
    assert_eq!(listing(&dir), expected);
    let read = |name| tool(&dir, "unsquashfs", &["-cat", IMAGE, name]);
    assert_eq!(read("replaced"), "second");
    assert_eq!(read("b"), "abc");
    let whole = tool(&dir, "unsquashfs", &["-lln", IMAGE]);
    assert!(whole.contains("8,  1") && whole.contains("5,  0"), "{whole}");
    // Nothing of what was replaced is in the image; small as it is, it is not packed.
    let image = dir.read(IMAGE);
    assert!(!image.windows(5).any(|bytes| bytes == b"first"));
}

fn packed() {
    let dir = Scratch::new();
    dir.write("source", archive().bytes());
    let plain = build_twice(&dir, "source");
    tool(&dir, "gzip", &["-k", "source"]);
    tool(&dir, "zstd", &["-q", "source"]);
    for name in ["source.gz", "source.zst"] {
        assert_same(&build_twice(&dir, name), &plain, name);
    }
}

fn without_root() {
    let dir = Scratch::new();
    dir.write("source", archive().bytes());
    let expected = build_twice(&dir, "source");
    fs::remove_file(dir.path(IMAGE)).unwrap();
    let run = || Run::new(&dir, &["image", "build", "source", "-o", IMAGE]).unprivileged();
    run().end().exits(0).is_silent();
    assert_same(&dir.read(IMAGE), &expected, "an image built without root");
}

/// A file of 3 GiB with little in it, as a directory and as an archive with holes.
fn sparse() {
    const SIZE: u64 = 3 << 30;
    let dir = Scratch::new();
    fs::create_dir(dir.path("tree")).unwrap();
    let file = fs::File::create(dir.path("tree/big")).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"middle", SIZE / 2 + 1).unwrap();
    file.write_all_at(b"end", SIZE - 3).unwrap();
    drop(file);
    build(&dir, "tree", &[]).exits(0).is_silent();
    let image = dir.read(IMAGE);
    assert!(image.len() < 1 << 20, "{} bytes", image.len());
    tool(&dir, "unsquashfs", &["-quiet", "-no-progress", "-no-xattrs", "-dest", "out", IMAGE]);
    let out = fs::File::open(dir.path("out/big")).unwrap();
    assert_eq!(out.metadata().unwrap().len(), SIZE);
    for (at, expected) in [(SIZE / 2, &b"\0middle\0"[..]), (SIZE - 4, b"\0end"), (0, b"\0\0")] {
        let mut found = vec![0; expected.len()];
        out.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, expected, "at {at}");
    }
    tool(&dir, "tar", &["--format=gnu", "-S", "-C", "tree", "-cf", "holes.tar", "big"]);
    assert!(dir.read("holes.tar").len() < 1 << 20);
    build(&dir, "holes.tar", &[]).exits(0).is_silent();
    let files = tool(&dir, "unsquashfs", &["-lln", IMAGE]);
    assert!(files.contains(&SIZE.to_string()), "{files}");
    tool(&dir, "unsquashfs", &["-quiet", "-no-progress", "-no-xattrs", "-dest", "again", IMAGE]);
    tool(&dir, "cmp", &["out/big", "again/big"]);
}

/// More names than one directory header, one block of inodes and one fragment hold.
fn many() {
    let dir = Scratch::new();
    let mut archive = Tar::default();
    for number in 0..3000 {
        archive = archive.file(&format!("d{}/f{number:04}", number % 2), &noise(number, 100));
    }
    dir.write("source", archive.bytes());
    build_twice(&dir, "source");
    tool(&dir, "unsquashfs", &["-quiet", "-no-progress", "-no-xattrs", "-dest", "out", IMAGE]);
    for number in [0, 1, 255, 256, 511, 512, 1500, 2999] {
        let found = fs::read(dir.path(&format!("out/d{}/f{number:04}", number % 2))).unwrap();
        assert_same(&found, &noise(number, 100), "one of many files");
    }
    assert_eq!(listing(&dir).len(), 3003);
}

fn replaces() {
    let dir = Scratch::new();
    dir.write("good", archive().bytes());
    dir.write("bad", Tar::default().file("../x", b"").bytes());
    dir.write(IMAGE, "something else");
    build(&dir, "bad", &[]).exits(125).explains(&["\"..\""]);
    assert_eq!(dir.read(IMAGE), b"something else");
    build(&dir, "good", &[]).exits(0);
    assert_eq!(dir.read(IMAGE)[..4], *b"hsqs");
    assert_eq!(dir.list(), ["bad", "good", IMAGE]);
}

/// A bar, and nothing of it is left on the screen's line. Elsewhere builds are silent, as all other tests say.
fn seen() {
    let dir = Scratch::new();
    dir.write("source", Tar::default().file("a", &noise(1, 48 << 20)).bytes());
    let mut terminal = Terminal::new(24, 100);
    let run = Run::new(&dir, &["image", "build", "source", "-o", IMAGE]).on(&terminal);
    let running = run.start();
    terminal.find("building", PATIENCE);
    terminal.find("MiB of 48.00 MiB", PATIENCE);
    running.end().exits(0);
    let shown = terminal.shown();
    assert!(shown.trim_end().ends_with("bytes)"), "{shown}");
}
