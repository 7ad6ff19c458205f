//! `casemate image` and pinned images. No virtual machine is needed but where a pin is right.
//!
//! | module | promises |
//! |---|---|
//! | [`sources`] | every kind of source: the same bytes each time, and everything that is in it |
//! | [`containers`] | layers and whiteouts, `docker save` and OCI image layouts |
//! | [`malicious`] | what is refused, for which reason, with nothing left behind |
//! | [`inspect`] | what is said of an image |
//! | [`cache`] | sources given to `run`: built once, kept, found again, pruned |
//! | [`jail`] | the layers around the process that parses, read from /proc |
//! | [`pins`] | kernels, roots and disks that are, or are not, what they have to be |
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cache;
mod containers;
mod inspect;
mod jail;
mod malicious;
mod pins;
mod sources;

use std::process::{Command, ExitCode, Stdio};

use tests::run::{End, Run};
use tests::scratch::{Scratch, assert_same};

/// What is built in every test.
const IMAGE: &str = "image.sqfs";

/// `casemate image build` of a source in the test's directory.
fn build(dir: &Scratch, source: &str, options: &[&str]) -> End {
    Run::new(dir, &["image", "build", source, "-o", IMAGE]).args(options).end()
}

/// Builds an image twice. Returns it, which is the same both times.
fn build_twice(dir: &Scratch, source: &str) -> Vec<u8> {
    build(dir, source, &[]).exits(0).is_silent();
    let first = dir.read(IMAGE);
    std::fs::remove_file(dir.path(IMAGE)).unwrap();
    build(dir, source, &[]).exits(0).is_silent();
    assert_same(&dir.read(IMAGE), &first, source);
    first
}

/// Runs a program of the host in the test's directory. Returns its stdout.
fn tool(dir: &Scratch, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir.dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tests::process::spawn(&mut command).wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is in the image, as unsquashfs lists it, without times and sizes: kind and permissions, owners,
/// path and link.
fn listing(dir: &Scratch) -> Vec<String> {
    let text = tool(dir, "unsquashfs", &["-lln", IMAGE]);
    let lines = text.lines().filter(|line| line.contains("squashfs-root"));
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (mode, owners) = (words.next().unwrap(), words.next().unwrap());
        let path = line.split_once("squashfs-root").unwrap().1;
        format!("{mode} {owners} {}", if path.is_empty() { "/" } else { path })
    };
    lines.map(line).collect()
}

fn main() -> ExitCode {
    let suites = [
        sources::tests(),
        containers::tests(),
        malicious::tests(),
        inspect::tests(),
        jail::tests(),
        pins::tests(),
        cache::tests(),
    ];
    tests::suite::run("image", suites.into_iter().flatten().collect())
}
