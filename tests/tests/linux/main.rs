//! End to end with Linux guests, for hosts whose KVM runs them; elsewhere in `scripts/emulated-host`.
//!
//! | module | promises |
//! |---|---|
//! | [`kernels`] | which kernels boot, with how many vCPUs and how much memory |
//! | [`commands`] | exit status, environment, user, what a command finds around it |
//! | [`streams`] | stdin, stdout and stderr |
//! | [`terminal`] | a command on a terminal: size, keys, job control, the end |
//! | [`signals`] | what signals to casemate do to the command |
//! | [`disks`] | what is written is in the image, and a read-only one is left alone |
//! | [`files`] | files that come in and out, and a root on a disk |
//! | [`roots`] | root file systems of every kind |
//! | [`containers`] | sources as roots, and how a container image wants to be run |
//! | [`record`] | a guest's accesses as a fuzz program |
//! | [`ends`] | panic, power-off, reset, time limit, kernels and images that will not do |
//! | [`guide`] | every command of the guide, and what it says of failures |
//! | [`own_init`] | `casemate boot` of a Linux that brings its own init |
//!
//! Guests are slow in emulation: what can share a boot does, and all but the tests of kernels use the
//! kernel that boots fastest.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod commands;
mod containers;
mod disks;
mod ends;
mod files;
mod guide;
mod kernels;
mod own_init;
mod picture;
mod record;
mod roots;
mod signals;
mod streams;
mod terminal;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use tests::fixtures::Fixture;
use tests::run::{REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::Need;

/// The kernel of every test that is not about kernels: nothing has to be unpacked for its start.
const KERNEL: Fixture = Fixture::Elf("cloud");
/// What most tests need.
const NEEDS: &[Need] = &[Need::Linux, Need::Fixture(KERNEL), Need::Fixture(Fixture::Rootfs)];
/// An emulated host that does several things at once is slow.
const LIMIT: Duration = Duration::from_secs(400);

/// `casemate run` of a command with the usual kernel and the Debian userland.
fn run<'a>(dir: &'a Scratch, options: &[&str], command: &[&str]) -> Run<'a> {
    run_with(dir, KERNEL, &Fixture::Rootfs.path().to_string_lossy(), options, command)
}

/// `casemate run` of a command with this kernel and root image.
fn run_with<'a>(
    dir: &'a Scratch,
    kernel: Fixture,
    rootfs: &str,
    options: &[&str],
    command: &[&str],
) -> Run<'a> {
    let run = Run::new(dir, &["run", "--report", REPORT, "--rootfs", rootfs, "--kernel"]);
    run.args(&[kernel.path()]).args(options).args(&["--"]).args(command).limit(LIMIT)
}

/// A shell script as a command.
fn script(text: &str) -> [&str; 3] {
    ["sh", "-c", text]
}

/// Runs a program of the host in a test's directory. Returns its stdout.
fn tool(dir: &Scratch, program: &str, args: &[&str]) -> Vec<u8> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.args(args).current_dir(dir.dir()).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tests::process::spawn(&mut command).wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    output.stdout
}

fn main() -> ExitCode {
    let suites = [
        kernels::tests(),
        commands::tests(),
        streams::tests(),
        signals::tests(),
        terminal::tests(),
        disks::tests(),
        files::tests(),
        roots::tests(),
        containers::tests(),
        record::tests(),
        ends::tests(),
        own_init::tests(),
        guide::tests(),
    ];
    tests::suite::run("linux", suites.into_iter().flatten().collect())
}
