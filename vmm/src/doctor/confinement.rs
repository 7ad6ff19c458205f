//! What the kernel has for confining a process: Landlock, seccomp, security modules.

use rustix::io::Errno;

use super::finding::{Finding, Verdict};
use super::setting::unreadable;
use super::source::{Fact, Source};

/// The Landlock ABI that has scopes: abstract sockets and signals.
const SCOPES: u32 = 6;

/// Landlock, and how much of it.
pub fn landlock(source: &Source) -> Finding {
    match source.answers.landlock {
        Ok(abi @ SCOPES..) => Finding::good(format!("ABI {abi}")),
        Ok(abi) => {
            Finding::new(Verdict::Note, format!("ABI {abi}: no scopes for sockets and signals"))
                .fix("use a kernel from 6.12 on")
        }
        Err(Errno::OPNOTSUPP) => {
            Finding::new(Verdict::CannotRun, "in this kernel, but not turned on")
                .fix("boot with lsm=landlock, and what /sys/kernel/security/lsm lists, after it")
        }
        Err(errno) => Finding::new(Verdict::CannotRun, format!("not in this kernel ({errno})"))
            .fix("use a kernel from 5.13 on with CONFIG_SECURITY_LANDLOCK"),
    }
}

/// The filter's actions that the jail uses.
const ACTIONS: [&str; 4] = ["kill_process", "errno", "user_notif", "allow"];

/// seccomp filters, and their actions.
pub fn seccomp(source: &Source) -> Finding {
    let path = "/proc/sys/kernel/seccomp/actions_avail";
    let text = match source.read(path) {
        Fact::Text(text) => text,
        Fact::Absent => {
            return Finding::new(Verdict::CannotRun, "no seccomp filters in this kernel")
                .fix("use a kernel from 5.0 on with CONFIG_SECCOMP_FILTER");
        }
        Fact::Unreadable(reason) => return unreadable(path, &reason),
    };
    let has = |action: &&str| text.split_ascii_whitespace().any(|word| word == *action);
    let missing: Vec<&str> = ACTIONS.into_iter().filter(|action| !has(action)).collect();
    if missing.is_empty() {
        return Finding::good(text);
    }
    Finding::new(Verdict::CannotRun, format!("missing: {}", missing.join(", ")))
        .fix("use a kernel from 5.0 on with CONFIG_SECCOMP_FILTER")
}

/// Security modules that bind processes by rules of the host's own.
const MANDATORY: [&str; 4] = ["apparmor", "selinux", "smack", "tomoyo"];

/// A mandatory security module is on.
pub fn security_modules(source: &Source) -> Finding {
    let path = "/sys/kernel/security/lsm";
    let text = match source.read(path) {
        Fact::Text(text) => text,
        Fact::Absent => {
            return Finding::new(Verdict::Note, format!("{path}: not told"))
                .fix("mount -t securityfs securityfs /sys/kernel/security");
        }
        Fact::Unreadable(reason) => return unreadable(path, &reason),
    };
    match text.split(',').any(|module| MANDATORY.contains(&module)) {
        true => Finding::good(text),
        false => {
            Finding::new(Verdict::Note, text).fix("boot with lsm=landlock,yama,apparmor or selinux")
        }
    }
}
