//! The sandbox's control group: limits on memory, processes and CPU time.
//!
//! cgroup v2 where it has the controllers, else v1, one group for each controller. A process of its
//! own, the janitor, removes the groups when the launcher is gone, however it went: nothing else
//! could do that after `kill -9`. It is there before the first group is, and knows all that may be.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::setsid;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::set_name;
use serde::Serialize;
use worker::jail::code::forget_start_up;
use worker::jail::layers::{Layer, Layers};

use crate::host::{self, CgroupMount};
use crate::outcome::in_words;
use crate::spawn::{Child, clone, reap};

/// Memory of the sandbox besides the guest's: four programs, page tables, the image's page cache.
pub const OVERHEAD: u64 = 256 << 20;
/// Length of the CPU quota's period in microseconds.
const PERIOD: u64 = 100_000;

/// What a sandbox's workers may use together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Memory in bytes.
    memory_bytes: u64,
    /// Processes and threads: one for each vCPU, KVM's own, and one for each worker.
    threads: usize,
    /// CPUs' worth of time: as much as the vCPUs can use, and one for the devices.
    cpus: u64,
}

impl Limits {
    /// These, and no more than a group of v2 allows; time in whole CPUs, one at the least.
    fn within(self, group: &Path) -> Self {
        let read = |file: &str| host::read_cgroup(&group.join(file)).unwrap_or_default();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let cpus = read("cpu.max").split_once(' ').and_then(|(quota, period)| {
            Some(number(quota)?.div_ceil(number(period)?.max(1)).max(1))
        });
        let threads = number(&read("pids.max")).and_then(|most| usize::try_from(most).ok());
        Self {
            memory_bytes: self.memory_bytes.min(number(&read("memory.max")).unwrap_or(u64::MAX)),
            threads: self.threads.min(threads.unwrap_or(usize::MAX)),
            cpus: self.cpus.min(cpus.unwrap_or(u64::MAX)),
        }
    }

    /// The limits of a guest with `memory` bytes of RAM and `cpus` vCPUs.
    pub fn of(memory: u64, cpus: u8, workers: usize) -> Self {
        Self {
            memory_bytes: memory.saturating_add(OVERHEAD),
            threads: usize::from(cpus) + 4 + workers,
            cpus: u64::from(cpus) + 1,
        }
    }
}

/// A control group as it was found.
#[derive(Clone, Debug)]
pub struct Group {
    /// The last part of its name, by which /proc/PID/cgroup can be recognized.
    pub name: String,
    /// In how many hierarchies it is.
    pub hierarchies: usize,
    /// A limit that it does not have although it was set, if there is one.
    pub unlimited: Option<String>,
}

/// Of a control group's interface.
#[derive(Clone, Copy, Debug)]
enum Version {
    One,
    Two,
}

/// The way into a control group, for a process before it is any program.
///
/// None of them makes it wait. Whoever puts another process into a group waits for the kernel's grace period,
/// since that process may fork meanwhile: 4 to 25 ms, which was most of a start.
#[derive(Debug)]
pub struct Entrance {
    /// The directory of a group of version 2, in which a process can be born.
    pub home: Option<OwnedFd>,
    /// Files, one for each hierarchy, into which a thread writes `0` to go there itself.
    pub files: Vec<OwnedFd>,
}

/// A sandbox's control group.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    limits: Limits,
    groups: Vec<PathBuf>,
    version: Version,
    /// What was written to the groups' files.
    settings: Vec<(PathBuf, String)>,
    janitor: Child,
    /// Its end is what the janitor waits for.
    alive: OwnedFd,
}

/// A file of a group and what is written to it.
type Setting = (&'static str, String);

impl Cgroup {
    /// Makes the group if it is among `layers`, or says why there is none.
    pub fn behind(layers: Layers, limits: Limits) -> Result<Self, String> {
        match layers.has(Layer::Cgroup) {
            true => Self::create(limits).map_err(|error| in_words(&error)),
            false => Err("not asked for".to_owned()),
        }
    }

    fn create(limits: Limits) -> Result<Self> {
        let mounts = host::cgroup_mounts()?;
        let name = unique_name()?;
        let candidates = candidates(&mounts, &name);
        let (gone, alive) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let Some(janitor) = clone(libc::CLONE_PIDFD, None)? else {
            clean_up_after(&gone, &candidates)
        };
        let (groups, version, settings) = (Vec::new(), Version::One, Vec::new());
        let mut cgroup = Self { name, limits, groups, version, settings, janitor, alive };
        match cgroup.make(&mounts) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                cgroup.remove();
                Err(error)
            }
        }
    }

    /// Opens the way into the group.
    pub fn entrance(&self) -> Result<Entrance> {
        let (home, file) = match self.version {
            // Of a process with one thread that is all.
            Version::One => (None, "tasks"),
            // Without it, on a kernel that has none born in a group, they go there themselves.
            Version::Two => (
                self.groups.first().and_then(|group| host::open_cgroup(group).ok()),
                "cgroup.procs",
            ),
        };
        let files = self.groups.iter().map(|group| host::open_cgroup_file(&group.join(file)));
        Ok(Entrance { home, files: files.collect::<Result<_>>()? })
    }

    /// What the workers may use together.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Looks whether the kernel has taken the limits as they were written.
    pub fn read_back(&self) -> Group {
        let unlimited =
            self.settings.iter().find_map(|(file, wanted)| match host::read_cgroup(file) {
                Ok(found) if found.trim() == wanted => None,
                Ok(found) => Some(format!("{file:?} is {}, not {wanted}", found.trim())),
                Err(error) => Some(format!("it cannot be read back: {error:#}")),
            });
        Group { name: self.name.clone(), hierarchies: self.groups.len(), unlimited }
    }

    /// Removes the group. Every process in it has ended.
    pub fn remove(self) {
        drop(self.alive);
        reap(&self.janitor);
    }
}

/// The process id, for people, and a random number: a container may share the hierarchy, not the ids.
fn unique_name() -> Result<String> {
    let mut random = [0; 4];
    getrandom(&mut random, GetRandomFlags::empty()).context("cannot get random bytes")?;
    Ok(format!("casemate-{}-{:08x}", std::process::id(), u32::from_ne_bytes(random)))
}

fn is_v2(mount: &CgroupMount) -> bool {
    mount.controllers.is_empty()
}

/// Our own group and those above it, from below to the root of the mount.
fn upwards(mount: &CgroupMount) -> impl Iterator<Item = &Path> {
    mount.own.ancestors().take_while(|path| path.starts_with(&mount.root))
}

/// Every group that [`make`] may make.
fn candidates(mounts: &[CgroupMount], name: &str) -> Vec<PathBuf> {
    let (v2, v1): (Vec<_>, Vec<_>) = mounts.iter().partition(|mount| is_v2(mount));
    let parents = v2.into_iter().flat_map(upwards).chain(v1.iter().map(|mount| &*mount.own));
    parents.map(|parent| parent.join(name)).collect()
}

impl Cgroup {
    fn make(&mut self, mounts: &[CgroupMount]) -> Result<()> {
        let v2 = mounts.iter().find(|mount| is_v2(mount)).map(|mount| self.make_v2(mount));
        if let Some(Ok(())) = v2 {
            return Ok(());
        }
        for (controller, settings) in settings_v1(&self.limits) {
            let has = |mount: &&CgroupMount| mount.controllers.iter().any(|c| c == controller);
            let Some(mount) = mounts.iter().find(has) else {
                if let Some(Err(error)) = v2 {
                    return Err(error);
                }
                bail!("the host has no {controller} controller");
            };
            let group = mount.own.join(&self.name);
            if !self.groups.contains(&group) {
                host::make_cgroup(&group)?;
                self.groups.push(group.clone());
            }
            self.settings.extend(apply(&group, settings)?);
        }
        Ok(())
    }

    /// Makes the group below the nearest ancestor of our own where its limits can be set. What the
    /// groups that it is then not in would have allowed, it does not get either.
    fn make_v2(&mut self, mount: &CgroupMount) -> Result<()> {
        let mut result =
            Err(anyhow::anyhow!("no cgroup v2 with the memory, pids and cpu controllers"));
        let mut limits = self.limits;
        for parent in upwards(mount) {
            // Where they are on already, or may not be turned on, this changes nothing.
            let _ =
                host::write_cgroup(&parent.join("cgroup.subtree_control"), "+memory +pids +cpu");
            let group = parent.join(&self.name);
            if let Err(error) = host::make_cgroup(&group) {
                result = Err(error);
                limits = limits.within(parent);
                continue;
            }
            match apply(&group, settings_v2(&limits)) {
                Ok(settings) => {
                    self.version = Version::Two;
                    self.groups.push(group);
                    self.settings = settings;
                    self.limits = limits;
                    return Ok(());
                }
                Err(error) => {
                    remove(&[group]);
                    result = Err(error);
                    limits = limits.within(parent);
                }
            }
        }
        result
    }
}

/// Writes settings to a group's files; returns them by their paths.
fn apply(group: &Path, settings: Vec<Setting>) -> Result<Vec<(PathBuf, String)>> {
    let settings = settings.into_iter().map(|(file, value)| {
        let path = group.join(file);
        host::write_cgroup(&path, &value)?;
        Ok((path, value))
    });
    settings.collect()
}

fn quota(limits: &Limits) -> u64 {
    limits.cpus * PERIOD
}

fn settings_v2(limits: &Limits) -> Vec<Setting> {
    vec![
        ("memory.max", limits.memory_bytes.to_string()),
        ("pids.max", limits.threads.to_string()),
        ("cpu.max", format!("{} {PERIOD}", quota(limits))),
    ]
}

fn settings_v1(limits: &Limits) -> [(&'static str, Vec<Setting>); 3] {
    [
        ("memory", vec![("memory.limit_in_bytes", limits.memory_bytes.to_string())]),
        ("pids", vec![("pids.max", limits.threads.to_string())]),
        (
            "cpu",
            vec![
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota(limits).to_string()),
            ],
        ),
    ]
}

/// The janitor: waits for the launcher's end and removes the groups once they are empty.
fn clean_up_after(gone: &OwnedFd, groups: &[PathBuf]) -> ! {
    const PATIENCE: Duration = Duration::from_secs(10);
    // It is no launcher, even when it has outlived its own. Without this it is none the worse.
    let _ = set_name(c"casemate-janitor");
    // Neither the terminal's signals nor its end are for the janitor.
    let _ = setsid();
    // It holds copies of everything that the launcher had open, whose ends others wait for.
    if worker::jail::keep_only(&[gone.as_raw_fd()]).is_err() {
        worker::jail::leave(1);
    }
    forget_start_up();
    while !matches!(rustix::io::read(gone, &mut [0]), Ok(0)) {}
    let begun = Instant::now();
    while !remove(groups) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    worker::jail::leave(0)
}

/// Removes what can be removed; true when nothing is left.
fn remove(groups: &[PathBuf]) -> bool {
    groups.iter().filter(|group| !host::remove_cgroup(group)).count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_climbed_past_still_limits() {
        let group = tempfile::tempdir().unwrap();
        let limits = Limits::of(1 << 30, 4, 3);
        let of = |limits: Limits| (limits.memory_bytes, limits.threads, limits.cpus);
        assert_eq!(of(limits.within(group.path())), of(limits), "no files, no limits");
        let rows = [
            ("max", "max", "max 100000", of(limits)),
            ("1048576", "7", "150000 100000", (1 << 20, 7, 2)),
            ("1048576", "0", "1000 100000", (1 << 20, 0, 1)),
            ("99999999999999", "99999", "9900000 100000", of(limits)),
        ];
        for (memory, pids, cpu, expected) in rows {
            for (file, text) in [("memory.max", memory), ("pids.max", pids), ("cpu.max", cpu)] {
                std::fs::write(group.path().join(file), format!("{text}\n")).unwrap();
            }
            assert_eq!(of(limits.within(group.path())), expected, "{memory} {pids} {cpu}");
        }
    }

    #[test]
    fn candidates_are_our_own_groups_and_those_of_v2_above() {
        let mount = |root: &str, own: &str, controllers: &[&str]| CgroupMount {
            root: root.into(),
            own: own.into(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        };
        let mounts = [mount("/c/2", "/c/2/a/b", &[]), mount("/c/mem", "/c/mem/x", &["memory"])];
        let expected = ["/c/2/a/b/n", "/c/2/a/n", "/c/2/n", "/c/mem/x/n"].map(PathBuf::from);
        assert_eq!(candidates(&mounts, "n"), expected);
        assert_eq!(candidates(&[], "n"), Vec::<PathBuf>::new());
    }
}
