//! Root file systems: every kind, and what is not one.

use std::fs::{copy, create_dir_all};
use std::os::unix::fs::symlink;

use tests::fixtures::Fixture;
use tests::run::Run;
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

use crate::{KERNEL, run_with, script, tool};

/// By the kind: the program that makes one from a tree, and its arguments.
const KINDS: [(&str, &str, &[&str]); 3] = [
    ("ext4", "mke2fs", &["-q", "-t", "ext4", "-d", "tree", "root.img", "32M"]),
    ("squashfs", "mksquashfs", &["tree", "root.img", "-quiet", "-no-progress"]),
    ("erofs", "mkfs.erofs", &["root.img", "tree"]),
];

pub fn tests() -> Vec<Test> {
    let base = [Need::Linux, Need::Fixture(KERNEL)];
    let kinds = KINDS.into_iter().map(|(kind, program, args)| {
        let needs = [&base[..], &[Need::Fixture(Fixture::Busybox), Need::Tool(program)]].concat();
        Test::new(format!("roots::{kind}"), &needs, move || check(program, args))
    });
    let busybox = [&base[..], &[Need::Fixture(Fixture::Busybox)]].concat();
    let own = [
        Test::new("roots::image_build", &busybox, own_image),
        Test::new("roots::none_of_them", &base, none),
    ];
    kinds.chain(own).collect()
}

fn run<'a>(dir: &'a Scratch, text: &str) -> Run<'a> {
    run_with(dir, KERNEL, "root.img", &[], &script(text))
}

fn check(program: &str, args: &[&str]) {
    let dir = tree();
    tool(&dir, program, args);
    boots(&dir);
}

/// What casemate itself makes of a tree.
fn own_image() {
    let dir = tree();
    Run::new(&dir, &["image", "build", "tree", "-o", "root.img"]).end().exits(0);
    boots(&dir);
}

/// One static program, and nothing of what a distribution has besides: not even a place to mount at.
fn tree() -> Scratch {
    let dir = Scratch::new();
    create_dir_all(dir.path("tree/bin")).unwrap();
    copy(Fixture::Busybox.path(), dir.path("tree/bin/busybox")).unwrap();
    for name in ["sh", "cat", "sync"] {
        symlink("busybox", dir.path("tree/bin").join(name)).unwrap();
    }
    dir.write("tree/word", "unchanged\n");
    dir
}

/// The command runs, and what it writes stays out of the image.
fn boots(dir: &Scratch) {
    let image = dir.read("root.img");
    let end = run(dir, "cat /word; echo changed >/word; sync; cat /word").end();
    end.exits(0).prints("unchanged\nchanged\n").is_silent();
    assert_same(&dir.read("root.img"), &image, "the root image");
}

fn none() {
    let dir = Scratch::new();
    dir.write("root.img", noise(4, 1 << 20));
    let end = run(&dir, "true").end();
    end.exits(125).outcome("setup").explains(&["squashfs", "ext4", "erofs"]);
}
