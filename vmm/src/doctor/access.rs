//! Who else can reach KVM on this host.

use super::finding::{Finding, Verdict};
use super::source::Source;

/// Who else may make virtual machines.
pub fn group(source: &Source) -> Finding {
    let groups = source.text("/etc/group").unwrap_or_default();
    let members = members(&groups, "kvm");
    let Some(mode) = source.mode("/dev/kvm") else {
        return Finding::good("nobody: /dev/kvm is missing");
    };
    if mode & 0o006 == 0o006 {
        return Finding::new(Verdict::Note, format!("everybody: /dev/kvm has mode {mode:04o}"))
            .fix("chmod 660 /dev/kvm, and MODE=\"0660\" for it in a rule in /etc/udev/rules.d");
    }
    match members.as_slice() {
        [] => Finding::good(format!("nobody but its owner: mode {mode:04o}, group kvm is empty")),
        names => Finding::new(Verdict::Note, format!("group kvm: {}", names.join(", ")))
            .fix("gpasswd -d NAME kvm for all who do not need it"),
    }
}

fn members<'a>(groups: &'a str, group: &str) -> Vec<&'a str> {
    let of = |line: &'a str| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(2))?
    };
    let names = groups.lines().find_map(of).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).collect()
}

/// KVM's statistics of every guest.
pub fn debugfs(source: &Source) -> Finding {
    let path = "/sys/kernel/debug";
    match source.mode(path) {
        Some(mode) if mode & 0o005 != 0 && source.has("/sys/kernel/debug/kvm") => Finding::new(
            Verdict::Note,
            format!("{path}/kvm is open to everybody (mode {mode:04o})"),
        )
        .fix(format!("mount -o remount,mode=700 {path}")),
        _ => Finding::good(format!("{path}/kvm is closed to users")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_members() {
        let rows: [(&str, &[&str]); 5] = [
            ("kvm:x:104:alice,bob", &["alice", "bob"]),
            ("root:x:0:\nkvm:x:104:\n", &[]),
            ("kvmx:x:1:eve\nkvm:x:104:bob", &["bob"]),
            ("kvm", &[]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            assert_eq!(members(text, "kvm"), expected, "{text:?}");
        }
    }
}
