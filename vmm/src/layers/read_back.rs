//! Reading back, of a sealed worker, which layers are on.
//!
//! Nothing is taken for granted because it was asked for: what the kernel tells of a worker is read
//! from the kernel, for every thread where threads can differ.
//!
//! | layer | read |
//! |---|---|
//! | user-ns | `Uid` and `Gid` of every thread, its namespace |
//! | root | its namespace, the mounts, and that the root is empty |
//! | pid-ns … cgroup-ns | every thread's namespaces, compared with our own |
//! | cgroup | which group the worker is in, and the group's limits |
//! | core-sched | every thread's cookie, compared with our own |
//! | descriptors | what is open under which number, compared with the plan |
//! | limits | every limit that the plan sets |
//! | capabilities, no-new-privs | every thread's status |
//! | seccomp | every thread's mode, and one filter more than we have |
//! | landlock | the kernel tells nobody: the worker's own word, from before it saw anything of a guest |
//!
//! An unprivileged launcher may read all that: it owns the workers' user namespaces, in which they
//! were executed, so that it counts as privileged over processes that are not dumpable. A host may
//! still forbid it (a security module); what cannot be read back is reported as partial.

use std::io::ErrorKind;
use std::os::fd::RawFd;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource};
use rustix::thread::{CoreSchedulingScope, core_scheduling_cookie};
use worker::jail::layers::{Layer, Layers};
use worker::jail::limits;
use worker::plan::{On, Plan, Role};

use super::as_planned::{descriptors, resource_limits};
use super::{Finding, State};
use crate::cgroup;
use crate::host;

/// What the launcher did for every process of a sandbox, besides the process's own layers.
#[derive(Clone, Debug)]
pub struct Given {
    /// The layers that were asked for.
    pub layers: Layers,
    /// The control group, or why there is none.
    pub cgroup: Result<cgroup::Group, String>,
    /// Why there is no core-scheduling cookie, if there is none.
    pub core_sched: Result<(), String>,
    /// The workers' user on the host.
    pub uid: u32,
    /// Their group on the host.
    pub gid: u32,
}

/// A sealed process.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// The descriptors that it keeps, and what each is open on.
    pub descriptors: Vec<(RawFd, On)>,
    /// How many vCPUs it has.
    pub cpus: u8,
    /// The limits that it sets, besides those from the start, the one on descriptors for the listener that
    /// it has.
    pub limits: Vec<(Resource, u64)>,
    /// The process.
    pub pid: libc::pid_t,
    /// The Landlock ABI in force, by its own word.
    pub landlock: u8,
    /// Number of its filter's listener.
    pub listener: Option<RawFd>,
}

impl Subject {
    /// A worker with this plan.
    pub fn worker(plan: &Plan, pid: libc::pid_t, landlock: u8, listener: Option<RawFd>) -> Self {
        Self {
            name: plan.name(),
            descriptors: plan.sealed_descriptors(),
            cpus: match plan.role {
                Role::Vcpu { cpus, .. } => cpus,
                _ => 0,
            },
            limits: limits::for_the_loop(plan, next(listener)),
            pid,
            landlock,
            listener,
        }
    }

    /// Every limit that can be compared.
    fn all_limits(&self) -> Vec<(Resource, u64)> {
        let mut all = limits::FROM_THE_START.to_vec();
        all.extend(&self.limits);
        // Without a filter there is no listener to tell which number was next.
        all.retain(|(resource, _)| self.listener.is_some() || *resource != Resource::Nofile);
        all
    }
}

/// The number of the descriptor that was next when the limits were set.
pub fn next(listener: Option<RawFd>) -> u64 {
    listener.map_or(0, |number| u64::from(number.unsigned_abs()))
}

/// What differs from thread to thread.
struct Thread {
    id: Pid,
    status: String,
}

/// Reads back every layer of a sealed worker.
pub fn read_back(subject: &Subject, given: &Given) -> Result<Vec<Finding>> {
    let worker = subject.name.clone();
    let threads = threads(subject.pid)?;
    let findings = Layer::ALL.into_iter().map(|layer| {
        let state = if given.layers.has(layer) {
            state(layer, subject, given, &threads)
                .or_else(unreadable)
                .with_context(|| format!("cannot read back layer {}", layer.name()))?
        } else {
            State::Absent("it was left out".to_owned())
        };
        let level = if layer == Layer::Landlock { subject.landlock } else { 1 };
        Ok(Finding { worker: worker.clone(), layer, state, level })
    });
    findings.collect()
}

fn threads(pid: libc::pid_t) -> Result<Vec<Thread>> {
    let ids = host::tasks(pid, "task")?.into_iter().filter_map(|(id, _)| id.parse().ok());
    let threads = ids.map(|id| {
        let status = host::read_proc(pid, &format!("task/{id}/status"))?;
        Ok(Thread { id: Pid::from_raw(id).context("a thread without a number")?, status })
    });
    threads.collect()
}

/// What this user may not read is not on for sure. Other errors are those of a process that is gone.
fn unreadable(error: anyhow::Error) -> Result<State> {
    match error.root_cause().downcast_ref::<std::io::Error>() {
        Some(cause) if cause.kind() == ErrorKind::PermissionDenied => {
            Ok(State::Partial(format!("it cannot be read back: {error:#}")))
        }
        _ => Err(error),
    }
}

fn state(layer: Layer, subject: &Subject, given: &Given, threads: &[Thread]) -> Result<State> {
    let pid = subject.pid;
    Ok(match layer {
        Layer::UserNs => first_bad([
            all(threads, "Uid", |ids| are_all(ids, given.uid)),
            all(threads, "Gid", |ids| are_all(ids, given.gid)),
            namespace(pid, threads, "user")?,
        ]),
        Layer::Root => first_bad([namespace(pid, threads, "mnt")?, root(pid)?]),
        Layer::PidNs => namespace(pid, threads, "pid")?,
        Layer::NetNs => namespace(pid, threads, "net")?,
        Layer::IpcNs => namespace(pid, threads, "ipc")?,
        Layer::UtsNs => namespace(pid, threads, "uts")?,
        Layer::CgroupNs => namespace(pid, threads, "cgroup")?,
        Layer::Cgroup => match &given.cgroup {
            Ok(group) => in_group(group, &host::read_proc(pid, "cgroup")?),
            Err(reason) => State::Absent(reason.clone()),
        },
        Layer::CoreSched => match &given.core_sched {
            Ok(()) => cookies(threads),
            Err(reason) => State::Absent(reason.clone()),
        },
        Layer::Descriptors => {
            let open = host::tasks(pid, "fd")?.into_iter().filter_map(|(number, target)| {
                Some((number.parse().ok()?, target.unwrap_or_default()))
            });
            descriptors(&subject.descriptors, subject.cpus, subject.listener, open.collect())
        }
        Layer::Limits => {
            let text = host::read_proc(pid, "limits")?;
            resource_limits(&text, &subject.all_limits())
        }
        Layer::Capabilities => {
            let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
            let none = |set: &str| set.bytes().all(|digit| digit == b'0');
            first_bad(sets.map(|set| all(threads, set, none)))
        }
        Layer::NoNewPrivs => all(threads, "NoNewPrivs", |value| value == "1"),
        Layer::Landlock if subject.landlock > 0 => State::Active,
        Layer::Landlock => State::Absent("the kernel has no Landlock".to_owned()),
        Layer::Seccomp => {
            // Whatever started us may have put a filter on us, which our workers have inherited.
            let own = field(&host::read_own("status")?, "Seccomp_filters")
                .and_then(|count| count.parse::<u32>().ok())
                .unwrap_or(0);
            let filters = (own + 1).to_string();
            first_bad([
                all(threads, "Seccomp", |mode| mode == "2"),
                all(threads, "Seccomp_filters", |count| count == filters),
            ])
        }
    })
}

/// Real, effective, saved and file system id are this one.
fn are_all(ids: &str, expected: u32) -> bool {
    let mut ids = ids.split_ascii_whitespace().map(str::parse);
    ids.all(|id| id == Ok(expected))
}

fn first_bad<const N: usize>(states: [State; N]) -> State {
    states.into_iter().find(|state| *state != State::Active).unwrap_or(State::Active)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim)
}

/// Checks a field of the status of every thread.
fn all(threads: &[Thread], name: &str, good: impl Fn(&str) -> bool) -> State {
    for thread in threads {
        match field(&thread.status, name) {
            Some(value) if good(value) => {}
            Some(value) => return State::Absent(format!("{name} is {value}")),
            None => return State::Absent(format!("the kernel does not tell {name}")),
        }
    }
    State::Active
}

/// Compares a namespace of every thread of process `pid` with our own.
fn namespace(pid: libc::pid_t, threads: &[Thread], kind: &str) -> Result<State> {
    let own = host::own_link(&format!("ns/{kind}"))?;
    for thread in threads {
        let theirs = host::proc_link(pid, &format!("task/{}/ns/{kind}", thread.id))?;
        if theirs == own {
            return Ok(State::Absent("it is the launcher's own".to_owned()));
        }
    }
    Ok(State::Active)
}

/// The worker's mounts: one, read-only, and nothing in it.
fn root(pid: libc::pid_t) -> Result<State> {
    let mounts = host::read_proc(pid, "mountinfo")?;
    let read_only = mounts.split(' ').nth(5).is_some_and(|options| {
        ["ro", "nosuid", "nodev", "noexec"]
            .iter()
            .all(|word| options.split(',').any(|o| o == *word))
    });
    let entries = host::tasks(pid, "root")?.len();
    Ok(match mounts.lines().count() {
        1 if read_only && mounts.contains(" - tmpfs ") && entries == 0 => State::Active,
        1 => State::Partial("the root is not an empty read-only file system".to_owned()),
        count => State::Absent(format!("the worker sees {count} mounts")),
    })
}

/// The worker is in the group, in every hierarchy, and the group has the limits it was given.
fn in_group(group: &cgroup::Group, memberships: &str) -> State {
    let found = memberships.lines().filter(|line| line.ends_with(&group.name)).count();
    if found < group.hierarchies {
        return State::Absent(format!("the worker is not in {}", group.name));
    }
    group.unlimited.clone().map_or(State::Active, State::Partial)
}

/// Every thread has our own cookie, so that it shares a core with nobody but us.
fn cookies(threads: &[Thread]) -> State {
    let own = core_scheduling_cookie(rustix::process::getpid(), CoreSchedulingScope::Thread);
    for thread in threads {
        match core_scheduling_cookie(thread.id, CoreSchedulingScope::Thread) {
            Ok(cookie) if cookie != 0 && own == Ok(cookie) => {}
            Ok(_) => return State::Absent("a thread has another cookie".to_owned()),
            Err(errno) => return State::Partial(format!("it cannot be read back: {errno}")),
        }
    }
    State::Active
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_counts() {
        let thread = |value| Thread {
            id: rustix::process::getpid(),
            status: format!("Name:\tx\nNoNewPrivs:\t{value}\n"),
        };
        let good = |value: &str| value == "1";
        assert_eq!(all(&[thread("1"), thread("1")], "NoNewPrivs", good), State::Active);
        let one = all(&[thread("1"), thread("0")], "NoNewPrivs", good);
        assert!(matches!(one, State::Absent(_)));
        assert!(matches!(all(&[thread("1")], "Seccomp", good), State::Absent(_)));
    }

    #[test]
    fn a_group_counts_in_every_hierarchy_and_with_its_limits() {
        let group = |hierarchies, unlimited: Option<&str>| cgroup::Group {
            name: "casemate-7-ab".to_owned(),
            hierarchies,
            unlimited: unlimited.map(str::to_owned),
        };
        let text = "8:pids:/casemate-7-ab\n4:memory:/x/casemate-7-ab\n1:cpu:/\n0::/\n";
        assert_eq!(in_group(&group(2, None), text), State::Active);
        assert!(matches!(in_group(&group(3, None), text), State::Absent(_)));
        assert!(matches!(in_group(&group(2, Some("memory.max is max")), text), State::Partial(_)));
    }
}
