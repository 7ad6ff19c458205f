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

use crate::host::{self, CgroupMount};
use crate::spawn::{Child, clone, reap};

/// Memory of the sandbox besides the guest's: four programs, page tables, the image's page cache.
const OVERHEAD: u64 = 256 << 20;
/// Length of the CPU quota's period in microseconds.
const PERIOD: u64 = 100_000;

/// What a sandbox may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Guest RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs.
    pub cpus: u8,
    /// Number of workers.
    pub workers: usize,
}

/// A sandbox's control group.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    groups: Vec<PathBuf>,
    janitor: Child,
    /// Its end is what the janitor waits for.
    alive: OwnedFd,
}

/// A file of a group and what is written to it.
type Setting = (&'static str, String);

impl Cgroup {
    /// Makes the group, or says why it cannot be had.
    pub fn create(limits: &Limits) -> Result<Self> {
        let mounts = host::cgroup_mounts()?;
        let name = unique_name()?;
        let candidates = candidates(&mounts, &name);
        let (gone, alive) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let Some(janitor) = clone(libc::CLONE_PIDFD)? else { clean_up_after(&gone, &candidates) };
        let mut cgroup = Self { name, groups: Vec::new(), janitor, alive };
        match make(&mounts, limits, &cgroup.name, &mut cgroup.groups) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                cgroup.remove();
                Err(error)
            }
        }
    }

    /// Puts process `pid` into the group.
    pub fn add(&self, pid: libc::pid_t) -> Result<()> {
        self.groups
            .iter()
            .try_for_each(|group| host::write_cgroup(&group.join("cgroup.procs"), &pid.to_string()))
    }

    /// The last part of the group's name, by which /proc/PID/cgroup can be recognized.
    pub fn name(&self) -> String {
        self.name.clone()
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

fn make(
    mounts: &[CgroupMount],
    limits: &Limits,
    name: &str,
    groups: &mut Vec<PathBuf>,
) -> Result<()> {
    let v2 = mounts.iter().find(|mount| is_v2(mount));
    let v2 = v2.map(|mount| make_v2(mount, limits, name, groups));
    if let Some(Ok(())) = v2 {
        return Ok(());
    }
    for (controller, settings) in settings_v1(limits) {
        let has = |mount: &&CgroupMount| mount.controllers.iter().any(|c| c == controller);
        let Some(mount) = mounts.iter().find(has) else {
            if let Some(Err(error)) = v2 {
                return Err(error);
            }
            bail!("the host has no {controller} controller");
        };
        let group = mount.own.join(name);
        if !groups.contains(&group) {
            host::make_cgroup(&group)?;
            groups.push(group.clone());
        }
        apply(&group, &settings)?;
    }
    Ok(())
}

/// Makes the group below the nearest ancestor of our own where its limits can be set.
fn make_v2(
    mount: &CgroupMount,
    limits: &Limits,
    name: &str,
    groups: &mut Vec<PathBuf>,
) -> Result<()> {
    let mut result = Err(anyhow::anyhow!("no cgroup v2 with the memory, pids and cpu controllers"));
    for parent in upwards(mount) {
        // Where they are on already, or may not be turned on, this changes nothing.
        let _ = host::write_cgroup(&parent.join("cgroup.subtree_control"), "+memory +pids +cpu");
        let group = parent.join(name);
        if let Err(error) = host::make_cgroup(&group) {
            result = Err(error);
            continue;
        }
        match apply(&group, &settings_v2(limits)) {
            Ok(()) => {
                groups.push(group);
                return Ok(());
            }
            Err(error) => {
                remove(&[group]);
                result = Err(error);
            }
        }
    }
    result
}

fn apply(group: &Path, settings: &[Setting]) -> Result<()> {
    settings.iter().try_for_each(|(file, value)| host::write_cgroup(&group.join(file), value))
}

fn memory(limits: &Limits) -> String {
    limits.memory.saturating_add(OVERHEAD).to_string()
}

/// A thread for each vCPU, KVM's own, and a process for each worker.
fn processes(limits: &Limits) -> String {
    (usize::from(limits.cpus) + 4 + limits.workers).to_string()
}

/// As much time as the vCPUs can use, and one CPU for the devices.
fn quota(limits: &Limits) -> u64 {
    (u64::from(limits.cpus) + 1) * PERIOD
}

fn settings_v2(limits: &Limits) -> Vec<Setting> {
    vec![
        ("memory.max", memory(limits)),
        ("pids.max", processes(limits)),
        ("cpu.max", format!("{} {PERIOD}", quota(limits))),
    ]
}

fn settings_v1(limits: &Limits) -> [(&'static str, Vec<Setting>); 3] {
    [
        ("memory", vec![("memory.limit_in_bytes", memory(limits))]),
        ("pids", vec![("pids.max", processes(limits))]),
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
    // Neither the terminal's signals nor its end are for the janitor.
    let _ = setsid();
    // It holds copies of everything that the launcher had open, whose ends others wait for.
    if worker::jail::keep_only(gone.as_raw_fd()).is_err() {
        worker::jail::leave(1);
    }
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
