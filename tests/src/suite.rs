//! A suite: named tests, what each needs of the machine, and a run in the manner of `cargo test`.
//!
//! A test whose needs are not met is listed as ignored, with a line `not run: NAME: WHY` on stderr.
//! `CASEMATE_REQUIRE=SUITE` makes it fail instead: for a caller who knows that the machine can.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Trial};

use crate::{fixtures, huge_pages, process};

/// What a test needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// /dev/kvm, of whatever kind.
    Kvm,
    /// A KVM that runs Linux guests.
    Linux,
    /// To be root.
    Root,
    /// So many huge pages of 2 MiB, which root can set aside.
    HugePages(u64),
    /// Mount namespaces of one's own.
    Namespaces,
    /// A program of the host.
    Tool(&'static str),
    /// A fixture.
    Fixture(fixtures::Fixture),
    /// A fixture that nobody has to have.
    Extra(fixtures::Fixture),
}

impl Need {
    /// Why the need is not met, if it is not.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Kvm => kvm(),
            Self::Linux => kvm().or_else(|| {
                let runs = ["kvm_intel", "kvm_amd"]
                    .iter()
                    .any(|name| Path::new("/sys/module").join(name).exists());
                (!runs).then(|| "needs a KVM that runs Linux (kvm_intel or kvm_amd)".to_owned())
            }),
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::HugePages(count) => huge_pages::missing(count),
            Self::Namespaces => namespaces(),
            Self::Tool(name) => (!has_program(name)).then(|| format!("needs the program {name}")),
            Self::Fixture(fixture) | Self::Extra(fixture) => fixture.find().err(),
        }
    }
}

fn kvm() -> Option<String> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.err().map(|error| format!("needs /dev/kvm: {error}"))
}

fn namespaces() -> Option<String> {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = WORKS.get_or_init(|| {
        let [program, args @ ..] = own_mounts();
        let status = Command::new(program)
            .args(args)
            .args(["mount", "-t", "tmpfs", "none", "/mnt"])
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    });
    (!works).then(|| "needs a mount namespace (unshare)".to_owned())
}

/// The command that gives another one a mount namespace of its own, as root of it.
pub fn own_mounts() -> [&'static str; 2] {
    if rustix::process::geteuid().is_root() { ["unshare", "-m"] } else { ["unshare", "-rm"] }
}

/// Whether a program is on PATH, or where those of the system are.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(name).is_file())
}

/// One test.
pub struct Test {
    name: String,
    needs: Vec<Need>,
    check: Box<dyn FnOnce() + Send>,
}

impl Test {
    /// A test that passes when `check` returns.
    pub fn new(
        name: impl Into<String>,
        needs: &[Need],
        check: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { name: name.into(), needs: needs.to_vec(), check: Box::new(check) }
    }
}

/// Runs the tests that the command line selects. Returns the process's exit code.
pub fn run(suite: &str, tests: Vec<Test>) -> ExitCode {
    let arguments = Arguments::from_args();
    process::adopt_orphans();
    let required = std::env::var("CASEMATE_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == suite);
    let trials = tests.into_iter().map(|test| {
        let Test { name, needs, check } = test;
        let unmet = needs.iter().find_map(|need| Some((*need, need.missing()?)));
        match unmet {
            None => Trial::test(name, || {
                check();
                Ok(())
            }),
            Some((need, why)) => {
                let ignored = !required || matches!(need, Need::Extra(_));
                if ignored && is_selected(&arguments, &name) {
                    eprintln!("not run: {name}: {why}");
                }
                Trial::test(name, move || Err(why.into())).with_ignored_flag(ignored)
            }
        }
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    let skipped = arguments.skip.iter().any(matches);
    !arguments.list && !skipped && arguments.filter.as_ref().is_none_or(matches)
}
