//! Sources given to `run`: an image is built of each once, kept, and found again.
//!
//! The guest is bare, has no agent and ends at once, or not at all: what is looked at is on the host.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use bare::Op;
use rustix::process::Signal;
use serde_json::Value;
use tests::archive::{Tar, sha256};
use tests::process::PATIENCE;
use tests::run::{KERNEL, Run, Running};
use tests::scratch::{Scratch, noise};
use tests::suite::{Need, Test};

use crate::containers::{config, layers, layout, saved};
use crate::{IMAGE, build, tool};

/// How a run ends whose guest does nothing.
const NO_AGENT: &str = "it started no virtio device";

pub fn tests() -> Vec<Test> {
    let kvm = [Need::Kvm];
    let tools = [Need::Kvm, Need::Tool("gzip"), Need::Tool("zstd")];
    vec![
        Test::new("cache::every_source_is_built_once", &tools, sources),
        Test::new("cache::one_builds_for_all", &kvm, concurrent),
        Test::new("cache::the_longest_unused_goes_first", &kvm, least_recently_used),
        Test::new("cache::what_is_in_use_stays", &kvm, in_use),
        Test::new("cache::a_bound_that_is_too_small", &kvm, too_small),
        Test::new("cache::a_damaged_image_is_built_again", &kvm, damaged),
        Test::new("cache::others_may_not_write_to_it", &[], others),
        Test::new("cache::pins", &kvm, pins),
        Test::new("cache::a_command_is_needed", &[], commands),
    ]
}

/// A guest of this kind, and a cache in the test's directory.
fn guest(last: Op) -> Scratch {
    let dir = Scratch::new();
    dir.write(KERNEL, bare::elf(&[last]));
    dir
}

fn casemate<'a>(dir: &'a Scratch, args: &[&str]) -> Run<'a> {
    let cache = format!("CASEMATE_CACHE={}", dir.path("cache").display());
    Run::new(dir, args).by(&["env", &cache])
}

fn run<'a>(dir: &'a Scratch, source: &str, options: &[&str]) -> Run<'a> {
    casemate(dir, &["run", "--kernel", KERNEL, "--rootfs", source]).args(options).args(&["--", "x"])
}

/// Runs a guest to its end, which is that it has no agent.
fn runs(dir: &Scratch, source: &str, options: &[&str]) {
    run(dir, source, options).end().exits(125).explains(&[NO_AGENT]);
}

/// Name and inode of every file in the cache.
fn kept(dir: &Scratch) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dir.path("cache/images")).unwrap();
    let mut entries: Vec<(String, u64)> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino())
        })
        .collect();
    entries.sort();
    entries
}

/// The sums of the images, the longest unused first.
fn list(dir: &Scratch) -> Vec<String> {
    let end = casemate(dir, &["image", "list", "--json"]).end();
    let found: Value = serde_json::from_slice(&end.exits(0).is_silent().stdout).unwrap();
    let images = found["images"].as_array().unwrap().iter();
    images.map(|image| image["sha256"].as_str().unwrap().to_owned()).collect()
}

/// Archives of one file, by their names.
fn archives(dir: &Scratch, names: &[&str]) {
    for name in names {
        dir.write(name, Tar::default().file("name", name.as_bytes()).bytes());
    }
}

fn sources() {
    let dir = guest(Op::Exit(0));
    let layers = layers();
    dir.write("plain.tar", Tar::default().file("a", &noise(1, 1 << 20)).bytes());
    tool(&dir, "gzip", &["-k", "plain.tar"]);
    tool(&dir, "zstd", &["-q", "plain.tar"]);
    dir.write("saved.tar", saved(&layers, &config(&layers)).bytes());
    let mut oci = Tar::default();
    for (name, bytes) in layout(&layers, &config(&layers)) {
        let path = dir.path("layout").join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &bytes).unwrap();
        oci = oci.file(&name, &bytes);
    }
    dir.write("oci.tar", oci.bytes());
    std::fs::create_dir_all(dir.path("tree/below")).unwrap();
    dir.write("tree/below/file", "text");
    let sources =
        ["plain.tar", "plain.tar.gz", "plain.tar.zst", "saved.tar", "oci.tar", "layout", "tree"];
    for (count, source) in (1..).zip(sources) {
        runs(&dir, source, &[]);
        let first = kept(&dir);
        assert_eq!(first.len(), count, "{source}: {first:?}");
        // What `image build` makes of it is the same.
        build(&dir, source, &[]).exits(0);
        assert_eq!(list(&dir).last(), Some(&sha256(&dir.read(IMAGE))), "{source}");
        runs(&dir, source, &[]);
        assert_eq!(kept(&dir), first, "{source} was built again");
    }
    let mode = |path: &str| dir.path(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("cache/images"), 0o700);
    for (name, _) in kept(&dir) {
        assert_eq!(mode(&format!("cache/images/{name}")), 0o600);
    }
}

fn concurrent() {
    let dir = guest(Op::Exit(0));
    dir.write("a.tar", Tar::default().file("a", &noise(1, 16 << 20)).bytes());
    let running: Vec<Running> = (0..4).map(|_| run(&dir, "a.tar", &[]).start()).collect();
    for running in running {
        running.end().exits(125).explains(&[NO_AGENT]);
    }
    build(&dir, "a.tar", &[]).exits(0);
    assert_eq!(list(&dir), [sha256(&dir.read(IMAGE))]);
    assert_eq!(kept(&dir).len(), 1, "something is left: {:?}", kept(&dir));
}

fn least_recently_used() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar", "b.tar", "c.tar"]);
    for source in ["a.tar", "b.tar", "c.tar", "a.tar"] {
        runs(&dir, source, &[]);
    }
    let before = list(&dir);
    assert_eq!(before.len(), 3);
    // Each is one page long, and its configuration is none.
    let prune = |args: &[&str]| casemate(&dir, &["image", "prune"]).args(args).end();
    prune(&[]).exits(0).prints("removed 0 images, 0 bytes\n");
    prune(&["--max-size", "8K"]).exits(0);
    assert_eq!(list(&dir), before[1..], "another went than the one that was unused the longest");
    // What is built next drives out as many as it has to.
    runs(&dir, "b.tar", &["--image-cache-size", "8K"]);
    assert_eq!(list(&dir), [&before[2], &before[0]].map(String::clone));
    // What a builder that was killed leaves.
    dir.write(&format!("cache/images/{}.lock", sha256(b"")), "");
    prune(&["--all", "--json"]).exits(0);
    assert_eq!(kept(&dir), []);
    prune(&["--all", "--max-size", "1"]).exits(2);
}

fn in_use() {
    let dir = guest(Op::Halt);
    archives(&dir, &["a.tar"]);
    let running = run(&dir, "a.tar", &[]).start();
    let until = Instant::now() + PATIENCE;
    while !running.workers().iter().any(|process| process.name == "casemate-blk0") {
        assert!(Instant::now() < until, "no worker");
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = list(&dir);
    casemate(&dir, &["image", "prune", "--all"])
        .end()
        .exits(0)
        .prints("removed 0 images, 0 bytes\n");
    assert_eq!(list(&dir), before);
    running.signal(Signal::TERM);
    running.end().exits(143);
    casemate(&dir, &["image", "prune", "--all"]).end().exits(0);
    assert_eq!(kept(&dir), []);
}

fn too_small() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar"]);
    runs(&dir, "a.tar", &["--image-cache-size", "0"]);
    assert_eq!(kept(&dir), []);
}

fn damaged() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar"]);
    runs(&dir, "a.tar", &[]);
    let (name, _) = kept(&dir).remove(0);
    let path = dir.path("cache/images").join(&name);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let end = run(&dir, "a.tar", &[]).end();
    end.exits(125);
    for words in ["was damaged", NO_AGENT] {
        end.check(end.stderr.contains(words), words);
    }
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

fn others() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar"]);
    let images = dir.path("cache/images");
    std::fs::create_dir_all(&images).unwrap();
    for mode in [0o770, 0o707, 0o722] {
        std::fs::set_permissions(&images, std::fs::Permissions::from_mode(mode)).unwrap();
        run(&dir, "a.tar", &[]).end().exits(125).explains(&["others may write", "cache/images"]);
    }
    std::fs::remove_dir(&images).unwrap();
    std::os::unix::fs::symlink("/tmp", &images).unwrap();
    run(&dir, "a.tar", &[]).end().exits(125).explains(&["cannot open image cache"]);
}

fn pins() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar"]);
    std::fs::create_dir(dir.path("tree")).unwrap();
    let right = sha256(&dir.read("a.tar"));
    let wrong = sha256(b"");
    for _ in 0..2 {
        runs(&dir, &format!("a.tar,sha256={right}"), &[]);
        let end = run(&dir, &format!("a.tar,sha256={wrong}"), &[]).end();
        end.exits(125).explains(&["root file system \"a.tar\"", &right, &wrong]);
    }
    let end = run(&dir, &format!("tree,sha256={wrong}"), &[]).end();
    end.exits(2).explains(&["cannot pin \"tree\"", "casemate image build"]);
}

fn commands() {
    let dir = guest(Op::Exit(0));
    archives(&dir, &["a.tar"]);
    let bare = casemate(&dir, &["run", "--kernel", KERNEL]);
    bare.end().exits(2).explains(&["no command"]).prints("");
    let source = casemate(&dir, &["run", "--kernel", KERNEL, "--rootfs", "a.tar"]);
    source.end().exits(2).explains(&["no command"]).prints("");
}
