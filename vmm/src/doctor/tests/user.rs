//! A host as an unprivileged user sees it.

use std::os::unix::fs::PermissionsExt;

use rustix::process::geteuid;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::tree::{Tree, row, with_verdict};
use crate::doctor::finding::Verdict::{CannotRun, Note, Warning};

/// Runs `check` as an unprivileged user: as nobody in a thread of its own when this is root.
fn as_user(check: impl FnOnce() + Send) {
    let become_nobody = || {
        let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if geteuid().is_root() {
                become_nobody();
            }
            check();
        });
    });
}

#[test]
fn what_an_unprivileged_user_sees() {
    let hidden = [
        "sys/kernel/security/lockdown",
        "sys/module/kvm/parameters/halt_poll_ns",
        "sys/fs/cgroup/cgroup.procs",
        "sys/fs/cgroup/cgroup.subtree_control",
        "proc/sys/kernel/core_pattern",
    ];
    let mut tree = Tree::ideal().without("dev/kvm").with("dev/kvm", "");
    tree.answers.uid = 1000;
    let chmod = |path: &str, mode| {
        std::fs::set_permissions(tree.path(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod("", 0o755);
    chmod("dev/kvm", 0o000);
    chmod("sys/fs/cgroup", 0o555);
    for path in hidden {
        chmod(path, 0o000);
    }
    as_user(|| {
        let report = tree.report();
        assert_eq!(with_verdict(&report, CannotRun), ["kvm"]);
        assert!(row(&report, "kvm").fix.unwrap().contains("usermod -aG kvm"));
        assert_eq!(with_verdict(&report, Warning), ["cgroup-delegation"]);
        assert!(row(&report, "cgroup-delegation").fix.unwrap().contains("Delegate=yes"));
        for name in ["halt-polling", "lockdown", "core-pattern"] {
            let row = row(&report, name);
            assert_eq!(row.verdict, Note, "{name}");
            assert!(row.read.contains("permission denied"), "{}", row.read);
            assert_eq!(row.fix.unwrap(), "run the doctor as root");
        }
        assert_eq!(report.exit_status, 2);
    });
    chmod("sys/fs/cgroup", 0o755);
}
