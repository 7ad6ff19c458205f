//! A running sandbox, as its processes show it.

use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory};
use serde::Serialize;
use worker::plan::{Plan, Role};

use super::{Clock, id};
use crate::cli::Cli;
use crate::host::processes::Process;

/// A running sandbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sandbox {
    /// What its report will call it.
    pub id: String,
    /// Its launcher's process id.
    pub pid: libc::pid_t,
    /// When it began, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub age_seconds: u64,
    /// What it is at.
    pub state: State,
    /// Number of vCPUs, once they are there.
    pub cpus: Option<u8>,
    /// Guest memory, once it is there.
    pub memory_bytes: Option<u64>,
    /// The command, as the command line has it.
    pub command: Option<Vec<String>>,
    /// The kernel, as the command line has it.
    pub kernel: Option<String>,
    /// The profile, which may say what the command line does not.
    pub config: Option<String>,
}

/// What a sandbox is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Files are opened and workers started.
    Starting,
    /// There is a virtual machine.
    Running,
    /// Somebody stopped the launcher with a signal; the guest goes on.
    Stopped,
    /// The virtual machine is gone, the workers not yet.
    Ending,
}

/// The sandboxes of `user` among `all` processes. `own`: this process, which has a launcher's name.
pub fn find(own: &Process, user: u32, all: &[Process], clock: &Clock) -> Vec<Sandbox> {
    let named: Vec<&Process> =
        all.iter().filter(|process| process.name == own.name && process.pid != own.pid).collect();
    // A launcher's clones have its name until they become something else.
    let is_clone = |process: &Process| named.iter().any(|other| other.pid == process.parent);
    let launchers = named.iter().filter(|process| !is_clone(process));
    let launchers = launchers.filter(|process| process.user() == Some(user));
    launchers.filter_map(|launcher| of(launcher, all, clock)).collect()
}

fn of(launcher: &Process, all: &[Process], clock: &Clock) -> Option<Sandbox> {
    let words = launcher.words();
    let options = Options::of(&words)?;
    let workers = || all.iter().filter(|process| process.parent == launcher.pid);
    let vcpu = workers().find(|worker| worker.name == "casemate-vcpu");
    let others = workers().any(|worker| worker.name.starts_with("casemate-"));
    let state = match vcpu {
        _ if "Tt".contains(launcher.state) => State::Stopped,
        Some(vcpu) if vcpu.state != 'Z' => State::Running,
        None if !others => State::Starting,
        _ => State::Ending,
    };
    let plan = vcpu.and_then(|vcpu| Plan::from_args(&vcpu.words()).ok());
    let (age, started) = clock.age(launcher.begun).ok()?;
    Some(Sandbox {
        id: id(launcher),
        pid: launcher.pid,
        started,
        age_seconds: age.as_secs(),
        state,
        cpus: plan.as_ref().and_then(|plan| match plan.role {
            Role::Vcpu { cpus, .. } => Some(cpus),
            _ => None,
        }),
        memory_bytes: plan.as_ref().map(|plan| plan.memory),
        command: options.command,
        kernel: options.kernel,
        config: options.config,
    })
}

/// What a launcher's command line says of its guest.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    command: Option<Vec<String>>,
    kernel: Option<String>,
    config: Option<String>,
}

impl Options {
    /// None: it runs no guest.
    fn of(words: &[OsString]) -> Option<Self> {
        let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
        let (name, matches) = matches.subcommand()?;
        let command = match name {
            "run" => raw(matches, "argv"),
            "boot" => None,
            _ => return None,
        };
        let first = |id| raw(matches, id).and_then(|values| values.into_iter().next());
        Some(Self { command, kernel: first("kernel"), config: first("config") })
    }
}

fn raw(matches: &ArgMatches, id: &str) -> Option<Vec<String>> {
    let values = matches.get_raw(id)?;
    Some(values.map(|value| value.to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_that_run_a_guest() {
        let options =
            |words: &[&str]| Options::of(&words.iter().map(OsString::from).collect::<Vec<_>>());
        let some = |text: &str| Some(text.to_owned());
        let run = options(&["casemate", "run", "--kernel", "k", "--mem=1G", "--", "sh", "-c", "x"]);
        let command = ["sh", "-c", "x"].map(str::to_owned).to_vec();
        let expected = Options { command: Some(command), kernel: some("k"), config: None };
        assert_eq!(run, Some(expected));
        let profile = options(&["casemate", "run", "--config", "p.toml"]);
        let expected = Options { command: None, kernel: None, config: some("p.toml") };
        assert_eq!(profile, Some(expected));
        let boot = options(&["/bin/casemate", "boot", "--kernel", "k,sha256=x"]);
        assert!(boot.is_some_and(|options| options.command.is_none()));
        for words in [&["casemate", "ps"][..], &["casemate"], &[], &["casemate", "doctor"]] {
            assert_eq!(options(words), None, "{words:?}");
        }
    }
}
