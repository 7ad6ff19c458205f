//! `without FEATURE PROGRAM …`: runs a program on a kernel that seems to lack a feature.
//!
//! A seccomp filter makes the feature's first system call fail as it does where the kernel was built
//! without it (`ENOSYS`), or where it is turned off (`EOPNOTSUPP`). The filter stays on for all that the
//! program starts.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// A feature, the system call that begins its use, and how the call fails.
const FEATURES: [(&str, i64, i32); 3] = [
    ("landlock", libc::SYS_landlock_create_ruleset, libc::ENOSYS),
    ("landlock-turned-on", libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP),
    ("seccomp", libc::SYS_seccomp, libc::ENOSYS),
];

/// Returns only if it cannot be done.
fn run(words: &[OsString]) -> Result<(), Box<dyn Error>> {
    let [name, program, args @ ..] = words else { return Err("FEATURE PROGRAM …".into()) };
    let feature = FEATURES.iter().find(|(feature, ..)| name == feature);
    let (_, call, errno) = feature.ok_or("no such feature")?;
    let calls = BTreeMap::from([(*call, Vec::new())]);
    let fails = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, fails, TargetArch::x86_64)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    Err(Command::new(program).args(args).exec().into())
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Err(error) = run(&words) {
        eprintln!("without: {error}");
    }
    ExitCode::FAILURE
}
