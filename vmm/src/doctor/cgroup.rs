//! Control groups: the limits on a sandbox, and whether this user may set them.

use std::path::Path;

use super::finding::{Finding, Verdict};
use super::source::Source;
use crate::host::{CgroupMount, parse_cgroup_mounts};

/// The controllers that the jail uses.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

fn mounts(source: &Source) -> Vec<CgroupMount> {
    let text = |path| source.text(path).unwrap_or_default();
    parse_cgroup_mounts(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))
}

/// True when a list of words names every controller.
fn all(words: &str) -> bool {
    CONTROLLERS.iter().all(|name| words.split_ascii_whitespace().any(|word| word == *name))
}

/// The groups that the controllers are to be had from in v1, if all are.
fn v1(mounts: &[CgroupMount]) -> Option<Vec<&CgroupMount>> {
    let with = |name: &&str| mounts.iter().find(|m| m.controllers.iter().any(|c| c == name));
    CONTROLLERS.iter().map(with).collect()
}

/// Version and controllers.
pub fn version(source: &Source) -> Finding {
    let mounts = mounts(source);
    let v2 = mounts.iter().find(|mount| mount.controllers.is_empty());
    let offered = v2
        .and_then(|v2| source.text(&format!("{}/cgroup.controllers", v2.root.display())))
        .unwrap_or_default();
    if all(&offered) {
        return Finding::good(format!("v2: {offered}"));
    }
    let unified = "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=all)";
    match v1(&mounts) {
        Some(_) => {
            Finding::new(Verdict::Note, format!("v1: {}", CONTROLLERS.join(", "))).fix(unified)
        }
        None => Finding::new(Verdict::Warning, format!("not all of {}", CONTROLLERS.join(", ")))
            .fix(unified),
    }
}

/// This user can make a group with limits for a sandbox.
pub fn delegation(source: &Source) -> Finding {
    let mounts = mounts(source);
    let v2 = mounts.iter().find(|mount| mount.controllers.is_empty());
    if let Some(parent) = v2.and_then(|v2| parent_v2(source, v2)) {
        return Finding::good(format!("below {}", parent.display()));
    }
    match v1(&mounts) {
        Some(groups) if groups.iter().all(|group| source.may_write(text(&group.own))) => {
            let own: Vec<&str> = groups.iter().map(|group| text(&group.own)).collect();
            Finding::good(format!("below {}", own.join(", ")))
        }
        _ => Finding::new(Verdict::Warning, "no group that this user may divide")
            .fix("systemd-run --user --scope -p Delegate=yes casemate …, or run as root"),
    }
}

/// A path that was read as text.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// The nearest group, from our own upwards, below which one with limits can be made.
fn parent_v2<'a>(source: &Source, v2: &'a CgroupMount) -> Option<&'a Path> {
    v2.own.ancestors().take_while(|group| group.starts_with(&v2.root)).find(|group| {
        let file = |name: &str| text(group).to_owned() + "/" + name;
        let read = |name: &str| source.text(&file(name)).unwrap_or_default();
        let writes = |name: &str| source.may_write(&file(name));
        // A group that has processes, as our own has, cannot start to hand out controllers, unless
        // it is the root of all, which has no type.
        let can_start = *group != v2.own || !source.has(&file("cgroup.type"));
        let hands_out = all(&read("cgroup.subtree_control"))
            || can_start && all(&read("cgroup.controllers")) && writes("cgroup.subtree_control");
        hands_out && source.may_write(text(group)) && writes("cgroup.procs")
    })
}
