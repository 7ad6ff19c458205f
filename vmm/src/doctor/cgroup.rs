//! Control groups: the limits on a sandbox, and whether this user may set them.

use std::path::Path;

use super::finding::{Finding, Verdict};
use super::source::Source;

/// The controllers that the jail uses.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// A mounted hierarchy that this process is in.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    mount: String,
    /// This process's own group.
    own: String,
    /// Its controllers in v1; none: v2.
    controllers: Vec<String>,
}

/// Joins the lines of mountinfo (`… subtree mount … - type source options`) with those of
/// /proc/self/cgroup (`id:controllers:path`).
fn hierarchies(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let own: Vec<(Vec<&str>, &str)> = own
        .lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers.split(',').filter(|name| !name.is_empty()).collect(), path))
        })
        .collect();
    let parse = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (subtree, mount) = (fields.next()?, fields.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let mounted = |name: &&str| options.split(',').any(|option| option == *name);
        let (controllers, path) = own.iter().find(|(controllers, _)| match kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => !controllers.is_empty() && controllers.iter().all(mounted),
            _ => false,
        })?;
        let below = Path::new(path).strip_prefix(subtree).ok()?.to_str()?;
        let own = format!("{}/{below}", mount.trim_end_matches('/'));
        Some(Hierarchy {
            mount: mount.to_owned(),
            own: own.trim_end_matches('/').to_owned(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    mountinfo.lines().filter_map(parse).collect()
}

fn of(source: &Source) -> Vec<Hierarchy> {
    let text = |path| source.text(path).unwrap_or_default();
    hierarchies(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))
}

/// True when a list of words names every controller.
fn all(words: &str) -> bool {
    CONTROLLERS.iter().all(|name| words.split_ascii_whitespace().any(|word| word == *name))
}

/// The groups that the controllers are to be had from in v1, if all are.
fn v1(hierarchies: &[Hierarchy]) -> Option<Vec<&Hierarchy>> {
    let with = |name: &&str| hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == name));
    CONTROLLERS.iter().map(with).collect()
}

/// Version and controllers.
pub fn version(source: &Source) -> Finding {
    let hierarchies = of(source);
    let v2 = hierarchies.iter().find(|hierarchy| hierarchy.controllers.is_empty());
    let offered = v2
        .and_then(|v2| source.text(&format!("{}/cgroup.controllers", v2.mount)))
        .unwrap_or_default();
    if all(&offered) {
        return Finding::good(format!("v2: {offered}"));
    }
    let unified = "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=all)";
    match v1(&hierarchies) {
        Some(_) => {
            Finding::new(Verdict::Note, format!("v1: {}", CONTROLLERS.join(", "))).fix(unified)
        }
        None => Finding::new(Verdict::Warning, format!("not all of {}", CONTROLLERS.join(", ")))
            .fix(unified),
    }
}

/// This user can make a group with limits for a sandbox.
pub fn delegation(source: &Source) -> Finding {
    let hierarchies = of(source);
    let v2 = hierarchies.iter().find(|hierarchy| hierarchy.controllers.is_empty());
    if let Some(parent) = v2.and_then(|v2| parent_v2(source, v2)) {
        return Finding::good(format!("below {parent}"));
    }
    match v1(&hierarchies) {
        Some(groups) if groups.iter().all(|group| source.may_write(&group.own)) => {
            let own: Vec<&str> = groups.iter().map(|group| group.own.as_str()).collect();
            Finding::good(format!("below {}", own.join(", ")))
        }
        _ => Finding::new(Verdict::Warning, "no group that this user may divide")
            .fix("systemd-run --user --scope -p Delegate=yes casemate …, or run as root"),
    }
}

/// The nearest group, from our own upwards, below which one with limits can be made.
fn parent_v2<'a>(source: &Source, v2: &'a Hierarchy) -> Option<&'a str> {
    let mut group = v2.own.as_str();
    loop {
        let text = |file: &str| source.text(&format!("{group}/{file}")).unwrap_or_default();
        let writes = |file: &str| source.may_write(&format!("{group}/{file}"));
        // A group that has processes, as our own has, cannot start to hand out controllers, unless
        // it is the root of all, which has no type.
        let can_start = group != v2.own || !source.has(&format!("{group}/cgroup.type"));
        let hands_out = all(&text("cgroup.subtree_control"))
            || can_start && all(&text("cgroup.controllers")) && writes("cgroup.subtree_control");
        if hands_out && source.may_write(group) && writes("cgroup.procs") {
            return Some(group);
        }
        if group == v2.mount {
            return None;
        }
        group = group.rsplit_once('/')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_own_groups_are_joined() {
        let own = "3:cpu,cpuacct:/\n2:memory:/a/b\n1:name=systemd:/\n0::/c\n";
        let mountinfo = "30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:33 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            32 30 0:34 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            33 30 0:35 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
            34 30 0:36 /elsewhere /mnt rw - cgroup2 none rw\n\
            35 30 0:36 /a /mnt rw - cgroup cgroup rw,memoryx\ngarbage - \n - \n";
        let row = |mount: &str, own: &str, controllers: &[&str]| Hierarchy {
            mount: mount.to_owned(),
            own: own.to_owned(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        };
        let expected = [
            row("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/b", &["memory"]),
            row("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu", &["cpu", "cpuacct"]),
            row("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/c", &[]),
        ];
        assert_eq!(hierarchies(mountinfo, own), expected);
        assert!(hierarchies("", own).is_empty() && hierarchies(mountinfo, "").is_empty());
    }
}
