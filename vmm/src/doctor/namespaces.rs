//! The namespaces that the jail makes.

use super::finding::{Finding, Verdict};
use super::setting::{name, not_understood, number, unreadable};
use super::source::{Fact, Source};

/// All of them, by the names in /proc/self/ns.
const ALL: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The kernel has every kind.
pub fn kinds(source: &Source) -> Finding {
    let Some(names) = source.names("/proc/self/ns") else {
        return Finding::new(Verdict::Warning, "/proc/self/ns cannot be read")
            .fix("mount -t proc proc /proc");
    };
    let missing: Vec<&str> =
        ALL.into_iter().filter(|kind| !names.iter().any(|name| name == kind)).collect();
    if missing.is_empty() {
        return Finding::good(ALL.join(", "));
    }
    Finding::new(Verdict::CannotRun, format!("missing: {}", missing.join(", ")))
        .fix("use a kernel with CONFIG_NAMESPACES and all its kinds")
}

/// This user may make user namespaces.
pub fn user(source: &Source) -> Finding {
    let (most, clone) =
        ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone");
    let text = match source.read(most) {
        Fact::Text(text) => text,
        Fact::Absent => {
            return Finding::new(Verdict::CannotRun, "not in this kernel")
                .fix("use a kernel with CONFIG_USER_NS");
        }
        Fact::Unreadable(reason) => return unreadable(most, &reason),
    };
    let read = format!("{} = {text}", name(most));
    match number(&text) {
        None => return not_understood(most, &text),
        Some(..1) => {
            return Finding::new(Verdict::CannotRun, read)
                .fix("sysctl -w user.max_user_namespaces=16384");
        }
        Some(_) => {}
    }
    // Debian's own switch; root is not asked.
    match source.text(clone).as_deref() {
        Some("0") if source.answers.uid != 0 => {
            Finding::new(Verdict::CannotRun, format!("{} = 0", name(clone)))
                .fix("sysctl -w kernel.unprivileged_userns_clone=1, or run as root")
        }
        _ => Finding::good(read),
    }
}

/// AppArmor lets this user's namespaces have capabilities.
pub fn apparmor(source: &Source) -> Finding {
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let Some(text) = source.text(path) else { return Finding::good("no such restriction") };
    let read = format!("{} = {text}", name(path));
    let label = source.text("/proc/self/attr/current").unwrap_or_default();
    match (number(&text), source.answers.uid) {
        (Some(0), _) => Finding::good(read),
        (_, 0) => Finding::good(format!("{read}; not for root")),
        _ if !label.is_empty() && !label.starts_with("unconfined") => {
            Finding::new(Verdict::Note, format!("{read}; running under profile {label}"))
                .fix("see that the profile has `userns,`")
        }
        _ => Finding::new(Verdict::CannotRun, read)
            .fix("give casemate an AppArmor profile with `userns,`, or run as root"),
    }
}

/// casemate is not itself in a container that is in its way.
pub fn surroundings(source: &Source) -> Finding {
    let status = source.text("/proc/self/status").unwrap_or_default();
    let filter = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    let map = source.text("/proc/self/uid_map").unwrap_or_default();
    let ids: Vec<&str> = map.split_ascii_whitespace().take(3).collect();
    let is_mapped = !matches!(ids.as_slice(), [] | ["0", "0", "4294967295"]);
    match filter {
        _ if is_mapped && source.answers.uid == 0 => {
            let read = format!("root of a user namespace: uid_map = {}", ids.join(" "));
            Finding::new(Verdict::Warning, read).fix("run as the host's root, or as a user")
        }
        Some("1" | "2") => Finding::new(Verdict::Note, "under a seccomp filter already")
            .fix("if casemate cannot start: docker run --security-opt seccomp=unconfined"),
        _ => Finding::good("no container around"),
    }
}
