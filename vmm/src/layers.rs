//! Which layers are really on, read back from the kernel, and whether that is enough.
//!
//! Nothing is taken for granted because it was asked for: what can be read in /proc of a sealed
//! worker is read there, for every thread. What the kernel tells nobody (Landlock) is the worker's
//! own word from before it saw anything of the guest.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use worker::jail::layers::{Layer, Layers};

use crate::host;

/// How far a layer is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In full.
    Active,
    /// In part, and what is missing.
    Partial(String),
    /// Not at all, and why.
    Absent(String),
}

/// One layer of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The worker.
    pub worker: String,
    /// The layer.
    pub layer: Layer,
    /// What was found.
    pub state: State,
    /// The layer's level where it has one: the Landlock ABI.
    pub level: u8,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => write!(f, "active"),
            Self::Partial(reason) => write!(f, "partial: {reason}"),
            Self::Absent(reason) => write!(f, "absent: {reason}"),
        }
    }
}

/// What a sandbox has to have: the default floor, and what the command line adds and takes away.
#[derive(Clone, Debug)]
pub struct Floor {
    required: Vec<(Layer, u8)>,
}

/// Layers that a run can go without by default: an unprivileged user may have no control group to
/// divide, and not every kernel or CPU has core scheduling.
const OPTIONAL: [Layer; 2] = [Layer::Cgroup, Layer::CoreSched];

/// A layer on the command line: `NAME` or `NAME>=LEVEL`.
pub type Requirement = (Layer, u8);

/// Parses a requirement.
pub fn parse_requirement(text: &str) -> Result<Requirement, String> {
    let (name, level) = match text.split_once(">=") {
        Some((name, level)) => (name, level.parse().map_err(|_| "the level has to be a number")?),
        None => (text, 1),
    };
    let layer = parse_layer(name)?;
    Ok((layer, level))
}

/// Parses a layer's name.
pub fn parse_layer(name: &str) -> Result<Layer, String> {
    Layer::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Layer::ALL.into_iter().map(Layer::name).collect();
        format!("no such layer; there are {}", names.join(", "))
    })
}

impl Floor {
    /// The default floor with `more` added and `missing` taken away.
    pub fn new(more: &[Requirement], missing: &[Layer]) -> Self {
        let default = Layer::ALL.into_iter().filter(|layer| !OPTIONAL.contains(layer));
        let required = default
            .filter(|layer| !missing.contains(layer))
            .map(|layer| (layer, 1))
            .chain(more.iter().copied())
            .collect();
        Self { required }
    }

    /// Refuses when a required layer is not on in full for every worker.
    pub fn check(&self, findings: &[Finding]) -> Result<()> {
        for &(layer, level) in &self.required {
            for finding in findings.iter().filter(|finding| finding.layer == layer) {
                if finding.state != State::Active {
                    bail!(
                        "layer {} of the {} worker is {} ({}; --insecure-allow-missing {} goes \
                         without it)",
                        layer.name(),
                        finding.worker,
                        finding.state,
                        remedy(layer),
                        layer.name()
                    );
                }
                if finding.level < level {
                    bail!(
                        "layer {} has level {}, {level} is required ({})",
                        layer.name(),
                        finding.level,
                        remedy(layer)
                    );
                }
            }
        }
        Ok(())
    }
}

/// What would bring a layer.
fn remedy(layer: Layer) -> &'static str {
    match layer {
        Layer::UserNs => "sysctl -w user.max_user_namespaces=16384",
        Layer::Landlock => "boot with lsm=landlock,… on a kernel with CONFIG_SECURITY_LANDLOCK",
        Layer::Cgroup => {
            "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes"
        }
        Layer::CoreSched => "it takes a kernel with CONFIG_SCHED_CORE on a CPU with SMT",
        Layer::Seccomp => "it takes a kernel with CONFIG_SECCOMP_FILTER",
        _ => "it takes a kernel with this kind of namespace, or an unconfined launcher",
    }
}

/// What the launcher did for every worker of a sandbox, besides the worker's own layers.
#[derive(Clone, Debug)]
pub struct Given {
    /// The layers that were asked for.
    pub layers: Layers,
    /// Name of the control group, or why there is none.
    pub cgroup: Result<String, String>,
    /// Why there is no core-scheduling cookie, if there is none.
    pub core_sched: Result<(), String>,
    /// The workers' user on the host.
    pub uid: u32,
}

/// Reads back every layer of the sealed worker `name`, process `pid`, whose Landlock ABI is
/// `landlock` by its own word.
pub fn read_back(
    name: &str,
    pid: libc::pid_t,
    landlock: u8,
    given: &Given,
) -> Result<Vec<Finding>> {
    let statuses = host::tasks(pid, "task")?
        .into_iter()
        .map(|(task, _)| host::read_proc(pid, &format!("task/{task}/status")))
        .collect::<Result<Vec<_>>>()?;
    let findings = Layer::ALL.into_iter().map(|layer| {
        let state = state(layer, pid, landlock, given, &statuses)
            .with_context(|| format!("cannot read back layer {}", layer.name()))?;
        let level = if layer == Layer::Landlock { landlock } else { 1 };
        Ok(Finding { worker: name.to_owned(), layer, state, level })
    });
    findings.collect()
}

fn state(
    layer: Layer,
    pid: libc::pid_t,
    landlock: u8,
    given: &Given,
    statuses: &[String],
) -> Result<State> {
    if !given.layers.has(layer) {
        return Ok(State::Absent("not asked for".to_owned()));
    }
    Ok(match layer {
        Layer::UserNs => match all(statuses, "Uid", |ids| {
            ids.split_ascii_whitespace().all(|id| id == given.uid.to_string())
        }) {
            State::Active => namespace(pid, "user")?,
            other => other,
        },
        Layer::Root => root(pid)?,
        Layer::PidNs => namespace(pid, "pid")?,
        Layer::NetNs => namespace(pid, "net")?,
        Layer::IpcNs => namespace(pid, "ipc")?,
        Layer::UtsNs => namespace(pid, "uts")?,
        Layer::CgroupNs => namespace(pid, "cgroup")?,
        Layer::Cgroup => match &given.cgroup {
            Ok(name) if host::read_proc(pid, "cgroup")?.contains(name) => State::Active,
            Ok(name) => State::Absent(format!("the worker is not in {name}")),
            Err(reason) => State::Absent(reason.clone()),
        },
        Layer::CoreSched => match &given.core_sched {
            Ok(()) => State::Active,
            Err(reason) => State::Absent(reason.clone()),
        },
        Layer::Descriptors => State::Active,
        Layer::Limits => limits(&host::read_proc(pid, "limits")?),
        Layer::Capabilities => {
            let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
            let none = |set: &str| set.bytes().all(|digit| digit == b'0');
            sets.into_iter()
                .map(|set| all(statuses, set, none))
                .find(|state| *state != State::Active)
                .unwrap_or(State::Active)
        }
        Layer::NoNewPrivs => all(statuses, "NoNewPrivs", |value| value == "1"),
        Layer::Landlock if landlock > 0 => State::Active,
        Layer::Landlock => State::Absent("the kernel has no Landlock".to_owned()),
        Layer::Seccomp => all(statuses, "Seccomp", |value| value == "2"),
    })
}

/// Checks a field of the status of every thread.
fn all(statuses: &[String], field: &str, good: impl Fn(&str) -> bool) -> State {
    for status in statuses {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        match value.map(str::trim) {
            Some(value) if good(value) => {}
            Some(value) => return State::Absent(format!("{field} is {value}")),
            None => return State::Absent(format!("the kernel does not tell {field}")),
        }
    }
    State::Active
}

/// Compares a namespace of process `pid` with our own.
fn namespace(pid: libc::pid_t, kind: &str) -> Result<State> {
    let of = |pid: libc::pid_t| -> Result<Option<String>> {
        let links = host::tasks(pid, "ns")?;
        Ok(links.into_iter().find(|(name, _)| name == kind).and_then(|(_, link)| link))
    };
    let own = of(libc::pid_t::try_from(std::process::id())?)?;
    Ok(match of(pid)? {
        Some(link) if Some(&link) != own.as_ref() => State::Active,
        Some(_) => State::Absent("it is the launcher's own".to_owned()),
        None => State::Absent("the kernel does not tell".to_owned()),
    })
}

/// The worker's mounts: one, empty and read-only.
fn root(pid: libc::pid_t) -> Result<State> {
    let mounts = host::read_proc(pid, "mountinfo")?;
    let read_only = mounts.split(' ').nth(5).is_some_and(|options| {
        ["ro", "nosuid", "nodev", "noexec"]
            .iter()
            .all(|word| options.split(',').any(|o| o == *word))
    });
    Ok(match mounts.lines().count() {
        1 if read_only && mounts.contains(" - tmpfs ") => State::Active,
        1 => State::Partial("the root is not an empty read-only file system".to_owned()),
        count => State::Absent(format!("the worker sees {count} mounts")),
    })
}

/// /proc/PID/limits: no core, nothing locked, few descriptors.
fn limits(text: &str) -> State {
    let hard = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let rows = [("Max core file size", 0), ("Max locked memory", 0), ("Max open files", 128)];
    for (name, most) in rows {
        match hard(name) {
            Some(value) if value <= most => {}
            Some(value) => return State::Partial(format!("{name} is {value}")),
            None => return State::Partial(format!("{name} is unlimited")),
        }
    }
    State::Active
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(layer: Layer, state: State, level: u8) -> Finding {
        Finding { worker: "blk0".to_owned(), layer, state, level }
    }

    #[test]
    fn the_floor_refuses_what_is_missing_and_says_how_to_mend_it() {
        let absent = || State::Absent("no".to_owned());
        let partial = || State::Partial("half".to_owned());
        let none = Floor::new(&[], &[]);
        for layer in Layer::ALL {
            let refused = none.check(&[finding(layer, absent(), 1)]).is_err();
            assert_eq!(refused, !OPTIONAL.contains(&layer), "{}", layer.name());
            assert!(none.check(&[finding(layer, State::Active, 1)]).is_ok());
            let required = Floor::new(&[(layer, 1)], &[]);
            assert!(required.check(&[finding(layer, absent(), 1)]).is_err());
            assert!(required.check(&[finding(layer, partial(), 1)]).is_err());
            let without = Floor::new(&[], &[layer]);
            assert!(without.check(&[finding(layer, absent(), 1)]).is_ok());
        }
        let abi = Floor::new(&[(Layer::Landlock, 6)], &[]);
        assert!(abi.check(&[finding(Layer::Landlock, State::Active, 6)]).is_ok());
        let error = abi.check(&[finding(Layer::Landlock, State::Active, 2)]).unwrap_err();
        assert!(error.to_string().contains("level 2, 6 is required"), "{error}");
    }

    #[test]
    fn requirements_are_parsed() {
        assert_eq!(parse_requirement("landlock>=6"), Ok((Layer::Landlock, 6)));
        assert_eq!(parse_requirement("cgroup"), Ok((Layer::Cgroup, 1)));
        for bad in ["", "wall", "landlock>=", "landlock>=x"] {
            assert!(parse_requirement(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_thread_counts() {
        let thread = |value| format!("Name:\tx\nNoNewPrivs:\t{value}\n");
        let good = |value: &str| value == "1";
        assert_eq!(all(&[thread(1), thread(1)], "NoNewPrivs", good), State::Active);
        assert!(matches!(all(&[thread(1), thread(0)], "NoNewPrivs", good), State::Absent(_)));
        assert!(matches!(all(&["Name:\tx\n".to_owned()], "NoNewPrivs", good), State::Absent(_)));
    }
}
