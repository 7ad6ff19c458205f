//! End to end with Linux guests, for hosts whose KVM runs them; elsewhere in `scripts/emulated-host`.
//!
//! | module | promises |
//! |---|---|
//! | [`kernels`] | which kernels boot, with how many vCPUs and how much memory |
//! | [`commands`] | exit status, streams, environment, signals |
//! | [`disks`] | what is written is in the image, and a read-only one is left alone |
//! | [`ends`] | panic, power-off, reset, time limit, a kernel without its drivers |
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod disks;
mod ends;
mod kernels;

use std::process::ExitCode;
use std::time::Duration;

use tests::fixtures::Fixture;
use tests::run::{REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::Need;

/// The kernel of every test that is not about kernels.
const KERNEL: Fixture = Fixture::Kernel("cloud");
/// What most tests need.
const NEEDS: &[Need] = &[Need::Linux, Need::Fixture(KERNEL), Need::Fixture(Fixture::Rootfs)];
/// An emulated host that does several things at once is slow.
const LIMIT: Duration = Duration::from_secs(400);

/// `casemate run` of `kernel` and the Debian userland; the command has to be added.
fn run_with(dir: &Scratch, kernel: Fixture) -> Run<'_> {
    let (kernel, rootfs) = (kernel.path(), Fixture::Rootfs.path());
    let run = Run::new(dir, &["run", "--report", REPORT]).limit(LIMIT);
    run.args(&["--kernel".as_ref(), kernel.as_os_str(), "--rootfs".as_ref(), rootfs.as_os_str()])
}

/// `casemate run` of the usual kernel.
fn run(dir: &Scratch) -> Run<'_> {
    run_with(dir, KERNEL)
}

fn main() -> ExitCode {
    let suites = [kernels::tests(), commands::tests(), disks::tests(), ends::tests()];
    tests::suite::run("linux", suites.into_iter().flatten().collect())
}
