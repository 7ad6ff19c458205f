//! Whole hosts: what comes of them, and which rows say so.

use rustix::io::Errno;

use super::tree::{Tree, row, with_verdict};
use crate::doctor::finding::Verdict::{CannotRun, Good, Note, Unsafe, Warning};
use crate::doctor::report::{Fitness, Report};
use crate::doctor::source::Source;

#[test]
fn an_ideal_host_is_fit() {
    let report = Tree::ideal().report();
    assert_eq!(with_verdict(&report, Warning), [""; 0]);
    // The stand-in for /dev/kvm is open to everybody.
    assert_eq!(with_verdict(&report, Note), ["kvm-group", "confidential"]);
    assert_eq!((report.verdict, report.exit_status), (Fitness::Fit, 0));
    assert!(report.checks.iter().all(|row| row.verdict != Good || row.fix.is_none()));
}

#[test]
fn an_ideal_amd_host_is_fit() {
    let tree = Tree::ideal()
        .without("sys/module/kvm_intel")
        .with("proc/cpuinfo", "vendor_id: AuthenticAMD\nflags: svm npt\nmicrocode: 0x1\n")
        .with("sys/module/kvm_amd/parameters/npt", "1\n")
        .with("sys/module/kvm_amd/parameters/nested", "0\n")
        .with("sys/module/kvm_amd/parameters/sev_snp", "Y\n");
    let report = tree.report();
    assert_eq!(report.exit_status, 0, "{:?}", with_verdict(&report, Warning));
    assert!(row(&report, "confidential").read.starts_with("SEV-SNP: on"));
}

#[test]
fn software_paging_makes_a_guest_a_process() {
    let tree = Tree::ideal()
        .without("sys/module/kvm_intel")
        .with("sys/module/kvm_pvm/parameters/force", "N\n")
        .with("proc/cpuinfo", "vendor_id: GenuineIntel\nflags: fpu hypervisor\nmicrocode: 0x1\n")
        .with("proc/self/cgroup", "8:pids:/\n4:memory:/a\n1:cpu:/\n0::/\n")
        .with(
            "proc/self/mountinfo",
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
        )
        .with("sys/fs/cgroup/cpu/cgroup.procs", "")
        .with("sys/fs/cgroup/memory/a/cgroup.procs", "")
        .with("sys/fs/cgroup/pids/cgroup.procs", "");
    let report = tree.report();
    assert_eq!(
        with_verdict(&report, Warning),
        ["backend", "second-level-paging", "unrestricted-guest"]
    );
    assert_eq!(
        with_verdict(&report, Note),
        ["bare-metal", "kvm-group", "microcode", "cgroup", "confidential"]
    );
    assert_eq!(report.exit_status, 1);
    // What opens the kernel to processes opens it to guests here.
    let file = "sys/devices/system/cpu/vulnerabilities/meltdown";
    assert_eq!(tree.with(file, "Vulnerable\n").report().exit_status, 3);
    assert_eq!(Tree::ideal().with(file, "Vulnerable\n").report().exit_status, 1);
}

#[test]
fn without_kvm_it_cannot_run() {
    let bare = || Tree::ideal().without("dev/kvm").without("sys/module");
    let cpuinfo = |flags: &str| format!("vendor_id: X\nflags: {flags}\nmicrocode: 0x1\n");
    let rows = [
        ("vmx", "modprobe kvm_intel"),
        ("svm", "modprobe kvm_amd"),
        ("hypervisor", "nested virtualization"),
        ("fpu", "firmware"),
    ];
    for (flags, fix) in rows {
        let report = bare().with("proc/cpuinfo", cpuinfo(flags)).report();
        assert_eq!(with_verdict(&report, CannotRun), ["kvm", "backend"]);
        assert!(row(&report, "kvm").fix.unwrap().contains(fix), "{flags}");
        assert_eq!((report.verdict, report.exit_status), (Fitness::CannotRun, 2));
    }
    // Even where there are holes too.
    let open = bare().with("proc/cmdline", "mitigations=off\n").report();
    assert_eq!((open.exit_status, with_verdict(&open, Unsafe)), (2, vec!["mitigations"]));
}

#[test]
fn mitigations_off_is_unsafe() {
    let weaknesses = "sys/devices/system/cpu/vulnerabilities";
    let tree = Tree::ideal()
        .with("proc/cmdline", "root=/dev/sda1 token=hunter2 mitigations=off\n")
        .with(&format!("{weaknesses}/retbleed"), "Vulnerable\n")
        .with(&format!("{weaknesses}/mds"), "Vulnerable; SMT vulnerable\n")
        .with(&format!("{weaknesses}/spectre_v2"), "Vulnerable; IBPB: disabled; STIBP: disabled\n")
        .with(&format!("{weaknesses}/spec_store_bypass"), "Vulnerable\n");
    let report = tree.report();
    let bad = ["mitigations", "cpu/mds", "cpu/retbleed", "cpu/spectre_v2"];
    assert_eq!(with_verdict(&report, Unsafe), bad);
    assert_eq!(with_verdict(&report, Warning), ["cpu/spec_store_bypass"]);
    assert_eq!((report.verdict, report.exit_status), (Fitness::Unsafe, 3));
    let mds = row(&report, "cpu/mds").fix.unwrap();
    assert!(mds.contains("mds=full,nosmt") && mds.contains("without mitigations=off"), "{mds}");
    // The command line can hold secrets: only the words that matter are shown.
    assert!(!format!("{report:?}").contains("hunter2"));
}

#[test]
fn an_empty_host_is_no_reason_to_panic() {
    let mut tree = Tree::empty();
    tree.answers.landlock = Err(Errno::NOSYS);
    tree.answers.core_scheduling = Err(Errno::INVAL);
    assert_eq!(tree.report().exit_status, 2);
}

#[test]
fn garbage_is_no_reason_to_panic() {
    let blank_lines = "\n".repeat(5000);
    let garbage: [&[u8]; 8] = [
        b"",
        b"\0\0\0",
        b"]\x1b[2J\x1b]0;x\x07[",
        b"-1:\xff99999999999999999999999999",
        b"a - b - c\n - \n/ / / / / / - cgroup2 x y\n0::/\n",
        b"mitigations= mitigations==off,, = =x -- --",
        "[ä]—(2026-99-99) Jan 99999 \u{202e}".as_bytes(),
        blank_lines.as_bytes(),
    ];
    for bytes in garbage {
        let tree = Tree::files().fold(Tree::ideal(), |tree, path| tree.with(path, bytes));
        let report = tree.report();
        assert!(report.exit_status <= 3);
        for row in &report.checks {
            assert!(!row.read.contains(char::is_control), "{row:?}");
            assert!(row.read.chars().count() <= 241, "{row:?}");
        }
        // Each file alone, among good ones.
        let mut tree = Tree::ideal();
        for path in Tree::files() {
            let good = std::fs::read(tree.path(path)).unwrap();
            tree = tree.with(path, bytes);
            assert!(tree.report().exit_status <= 3, "{path}");
            tree = tree.with(path, good);
        }
    }
}

#[test]
fn other_things_than_files_are_no_reason_to_hang() {
    let mut tree = Tree::ideal();
    for path in Tree::files() {
        tree = tree.without(path);
        let fifo = tree.path(path);
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo, 0o600.into()).unwrap();
    }
    assert!(tree.report().exit_status <= 3);
    for path in Tree::files() {
        tree = tree.without(path);
        std::fs::create_dir(tree.path(path)).unwrap();
    }
    assert!(tree.report().exit_status <= 3);
}

#[test]
fn the_running_host_can_be_examined() {
    let report = Report::of(&Source::host());
    assert!(report.exit_status <= 3 && !report.checks.is_empty());
}
