//! Single facts: what a file's text makes of its row.

use rustix::io::Errno;

use super::tree::Tree;
use crate::doctor::finding::Verdict::{self, CannotRun, Good, Note, Unsafe, Warning};

/// A file, its text (none: it is missing), the row that it decides, and the verdict.
type Fact = (&'static str, Option<&'static str>, &'static str, Verdict);

#[rustfmt::skip] // a row a line
const FACTS: [Fact; 86] = [
    ("sys/module/kvm_intel/parameters/ept", Some("N"), "second-level-paging", Warning),
    ("sys/module/kvm_intel/parameters/ept", None, "second-level-paging", Note),
    ("sys/module/kvm_intel/parameters/unrestricted_guest", Some("0"), "unrestricted-guest", Warning),
    ("sys/module/kvm_intel/parameters/nested", Some("Y"), "nested", Warning),
    ("sys/module/kvm_intel/parameters/nested", Some("1"), "nested", Warning),
    ("sys/module/kvm/parameters/nx_huge_pages", None, "nx-huge-pages", Good),
    ("sys/module/kvm/parameters/nx_huge_pages", Some("force"), "nx-huge-pages", Good),
    ("sys/module/kvm/parameters/nx_huge_pages", Some("?"), "nx-huge-pages", Warning),
    ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", Some("KVM: Vulnerable"), "nx-huge-pages", Unsafe),
    ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", None, "nx-huge-pages", Unsafe),
    ("sys/module/kvm/parameters/force_emulation_prefix", Some("1"), "kvm-options", Warning),
    ("sys/module/kvm/parameters/ignore_msrs", Some("Y"), "kvm-options", Warning),
    ("sys/module/kvm/parameters/halt_poll_ns", Some("200000"), "halt-polling", Note),
    ("sys/module/kvm/parameters/halt_poll_ns", None, "halt-polling", Note),
    ("proc/cpuinfo", Some("flags: vmx hypervisor"), "bare-metal", Note),
    ("sys/kernel/debug/kvm/vcpus", Some("0"), "kvm-debugfs", Note),
    ("proc/cmdline", Some("mitigations=auto,no_guest_host"), "mitigations", Unsafe),
    ("proc/cmdline", Some("mitigations=auto,no_user_kernel"), "mitigations", Warning),
    ("proc/cmdline", None, "mitigations", Note),
    ("sys/devices/system/cpu/vulnerabilities", None, "cpu/all", Warning),
    ("sys/devices/system/cpu/vulnerabilities/l1tf", Some("Mitigation: PTE Inversion; VMX: vulnerable"), "cpu/l1tf", Unsafe),
    ("sys/devices/system/cpu/vulnerabilities/mds", Some("Mitigation: Clear CPU buffers; SMT vulnerable"), "cpu/mds", Warning),
    ("sys/devices/system/cpu/vulnerabilities/next_year", Some("Vulnerable"), "cpu/next_year", Unsafe),
    ("sys/devices/system/cpu/smt/active", Some("1"), "smt", Note),
    ("sys/devices/system/cpu/smt/active", None, "smt", Note),
    ("sys/devices/system/cpu/smt/active", Some("2"), "smt", Warning),
    ("sys/devices/system/cpu/vulnerabilities/old_microcode", Some("Vulnerable"), "microcode", Warning),
    ("sys/devices/system/cpu/vulnerabilities/old_microcode", None, "microcode", Note),
    ("proc/cpuinfo", Some("microcode: 0x1\nmicrocode: 0x2"), "microcode", Warning),
    ("sys/kernel/mm/ksm/run", Some("1"), "ksm", Warning),
    ("sys/kernel/mm/ksm/run", Some("2"), "ksm", Good),
    ("sys/kernel/mm/ksm/run", None, "ksm", Good),
    ("proc/swaps", Some("Filename\n/dev/sda2 partition 1 0 -2"), "swap", Warning),
    ("proc/swaps", Some("Filename\n/swapfile file 1 0 -2"), "swap", Warning),
    ("proc/swaps", Some("Filename\n/dev/zram0 partition 1 0 100"), "swap", Note),
    ("proc/swaps", None, "swap", Good),
    ("sys/module/zswap/parameters/enabled", Some("Y"), "zswap", Good),
    ("sys/kernel/mm/transparent_hugepage/shmem_enabled", Some("always [never] deny"), "huge-pages", Good),
    ("sys/kernel/mm/transparent_hugepage/shmem_enabled", Some("always never [deny]"), "huge-pages", Note),
    ("sys/kernel/mm/transparent_hugepage/enabled", Some("always madvise [never]"), "huge-pages", Note),
    ("sys/kernel/mm/transparent_hugepage/enabled", None, "huge-pages", Note),
    ("proc/self/ns/user", None, "namespaces", CannotRun),
    ("proc/self/ns", None, "namespaces", Warning),
    ("proc/sys/user/max_user_namespaces", Some("0"), "user-namespaces", CannotRun),
    ("proc/sys/user/max_user_namespaces", None, "user-namespaces", CannotRun),
    ("proc/sys/user/max_user_namespaces", Some("many"), "user-namespaces", Warning),
    ("proc/sys/kernel/unprivileged_userns_clone", Some("0"), "user-namespaces", Good),
    ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", Some("1"), "apparmor-userns", Good),
    ("proc/self/status", Some("Seccomp:\t2"), "surroundings", Note),
    ("proc/self/uid_map", Some("0 100000 65536"), "surroundings", Warning),
    ("proc/self/uid_map", Some("0 0 4294967295\n1 2"), "surroundings", Good),
    ("proc/self/uid_map", None, "surroundings", Good),
    ("proc/sys/kernel/seccomp/actions_avail", None, "seccomp", CannotRun),
    ("proc/sys/kernel/seccomp/actions_avail", Some("kill trap errno trace allow"), "seccomp", CannotRun),
    ("sys/fs/cgroup/cgroup.controllers", Some("cpuset"), "cgroup", Warning),
    ("proc/self/cgroup", None, "cgroup", Warning),
    ("proc/self/cgroup", None, "cgroup-delegation", Warning),
    ("sys/fs/cgroup/cgroup.subtree_control", None, "cgroup-delegation", Warning),
    ("sys/fs/cgroup/cgroup.subtree_control", Some(""), "cgroup-delegation", Good),
    ("sys/kernel/security/lsm", Some("capability,landlock,yama"), "security-modules", Note),
    ("sys/kernel/security/lsm", None, "security-modules", Note),
    ("sys/kernel/security/lockdown", Some("[none] integrity confidentiality"), "lockdown", Note),
    ("sys/kernel/security/lockdown", None, "lockdown", Note),
    ("proc/sys/kernel/version", Some("#1 SMP Debian 6.1.1-1 (2024-01-01)"), "kernel", Warning),
    ("proc/sys/kernel/version", Some("#1 SMP Wed Jul  2 10:00:00 UTC 2025"), "kernel", Note),
    ("proc/sys/kernel/version", Some("#1 SMP @0"), "kernel", Note),
    ("proc/sys/kernel/core_pattern", Some("|/usr/share/apport/apport %p"), "core-pattern", Note),
    ("proc/sys/kernel/io_uring_disabled", Some("0"), "io-uring", Note),
    ("proc/sys/kernel/io_uring_disabled", None, "io-uring", Note),
    ("proc/sys/vm/unprivileged_userfaultfd", Some("1"), "userfaultfd", Warning),
    ("proc/sys/kernel/unprivileged_bpf_disabled", Some("0"), "bpf", Warning),
    ("proc/sys/kernel/unprivileged_bpf_disabled", None, "bpf", Good),
    ("proc/sys/kernel/kptr_restrict", Some("0"), "kptr", Note),
    ("proc/sys/kernel/dmesg_restrict", Some("0"), "dmesg", Note),
    ("proc/sys/dev/tty/legacy_tiocsti", Some("1"), "tiocsti", Note),
    ("proc/sys/dev/tty/legacy_tiocsti", None, "tiocsti", Note),
    ("proc/sys/kernel/perf_event_paranoid", Some("-1"), "perf", Warning),
    ("proc/sys/kernel/perf_event_paranoid", Some("2"), "perf", Good),
    ("proc/sys/kernel/yama/ptrace_scope", Some("0"), "ptrace", Note),
    ("proc/sys/kernel/yama/ptrace_scope", None, "ptrace", Note),
    ("proc/sys/kernel/modules_disabled", Some("0"), "modules", Note),
    ("proc/sys/kernel/modules_disabled", None, "modules", Good),
    ("proc/sys/kernel/randomize_va_space", Some("1"), "aslr", Warning),
    ("sys/class/iommu", None, "iommu", Note),
    ("proc/cpuinfo", Some("flags: tdx_host_platform"), "confidential", Note),
    ("sys/module/kvm_intel/parameters/tdx", Some("Y"), "confidential", Note),
];

#[test]
fn each_fact_decides_its_row() {
    for (path, text, name, verdict) in FACTS {
        let tree = match text {
            Some(text) => Tree::ideal().with(path, text),
            None => Tree::ideal().without(path),
        };
        let row = tree.row(name);
        assert_eq!(row.verdict, verdict, "{path} = {text:?}: {row:?}");
    }
}

#[test]
fn what_the_kernel_answers() {
    let mut tree = Tree::ideal();
    let rows = [
        (Ok(10), Good),
        (Ok(6), Good),
        (Ok(2), Note),
        (Err(Errno::OPNOTSUPP), CannotRun),
        (Err(Errno::NOSYS), CannotRun),
    ];
    for (landlock, verdict) in rows {
        tree.answers.landlock = landlock;
        assert_eq!(tree.row("landlock").verdict, verdict, "{landlock:?}");
    }
    // Whether siblings are there, whether they can be kept apart, and what comes of it.
    let rows = [
        ("0", Err(Errno::NODEV), Good, Good),
        ("0", Err(Errno::INVAL), Good, Good),
        ("1", Err(Errno::INVAL), Warning, Warning),
        ("1", Ok(()), Note, Good),
    ];
    for (active, core_scheduling, smt, scheduling) in rows {
        tree = tree.with("sys/devices/system/cpu/smt/active", active);
        tree.answers.core_scheduling = core_scheduling;
        assert_eq!(tree.row("smt").verdict, smt, "{active} {core_scheduling:?}");
        assert_eq!(tree.row("core-scheduling").verdict, scheduling, "{active} {core_scheduling:?}");
    }
}

#[test]
fn namespaces_of_users() {
    let mut tree = Tree::ideal();
    tree.answers.uid = 1000;
    let restrict = "proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    tree = tree.with(restrict, "1").with("proc/sys/kernel/unprivileged_userns_clone", "1");
    assert_eq!(tree.row("apparmor-userns").verdict, CannotRun);
    assert_eq!(tree.row("user-namespaces").verdict, Good);
    tree = tree.with("proc/self/attr/current", "casemate (enforce)");
    assert_eq!(tree.row("apparmor-userns").verdict, Note);
    tree = tree.with(restrict, "0").with("proc/sys/kernel/unprivileged_userns_clone", "0");
    assert_eq!(tree.row("apparmor-userns").verdict, Good);
    assert_eq!(tree.row("user-namespaces").verdict, CannotRun);
}

#[test]
fn swap_that_does_not_reach_a_disk_in_the_clear() {
    let on =
        |tree: Tree, area: &str| tree.with("proc/swaps", format!("Filename\n{area} x 1 0 -2\n"));
    let encrypted = Tree::ideal().with("sys/block/dm-1/dm/uuid", "CRYPT-LUKS2-0-swap\n");
    let tree = on(encrypted, "/dev/dm-1");
    assert_eq!(tree.row("swap").verdict, Note);
    // A logical volume on an encrypted disk.
    let tree =
        tree.with("sys/block/dm-2/dm/uuid", "LVM-x").with("sys/block/dm-2/slaves/dm-1/x", "");
    let tree = on(tree, "/dev/dm-2");
    assert_eq!(tree.row("swap").verdict, Note);
    // One in the clear among them, and one that goes round in circles.
    let tree = tree.with("proc/swaps", "Filename\n/dev/dm-1 x\n/dev/sda2 x\n");
    assert_eq!(tree.row("swap").verdict, Warning);
    let tree = tree.with("sys/block/dm-3/slaves/dm-3/x", "");
    assert_eq!(on(tree, "/dev/dm-3").row("swap").verdict, Warning);
    // zram that spills.
    let tree = on(Tree::ideal(), "/dev/zram0").with("sys/module/zswap/parameters/enabled", "Y");
    assert_eq!(tree.row("swap").verdict, Note);
    assert_eq!(tree.row("zswap").verdict, Note);
    assert_eq!(
        tree.with("sys/block/zram0/backing_dev", "/dev/sdb1\n").row("swap").verdict,
        Warning
    );
}

#[test]
fn a_group_is_found_where_limits_can_be_set() {
    // A systemd session: our own scope has processes, so that only the group above can be divided.
    let group = "sys/fs/cgroup/user.slice/app.slice";
    let own = format!("{group}/run-1.scope");
    let mut tree = Tree::ideal()
        .with("proc/self/cgroup", "0::/user.slice/app.slice/run-1.scope\n")
        .with("sys/fs/cgroup/cgroup.subtree_control", "")
        .with("sys/fs/cgroup/cgroup.controllers", "memory\n");
    for group in [group, &own] {
        for (file, text) in [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", ""),
            ("cgroup.controllers", "cpu memory pids\n"),
            ("cgroup.subtree_control", ""),
        ] {
            tree = tree.with(&format!("{group}/{file}"), text);
        }
    }
    assert_eq!(tree.row("cgroup-delegation").read, "below /sys/fs/cgroup/user.slice/app.slice");
    let tree = tree.with(&format!("{group}/cgroup.controllers"), "memory pids\n");
    assert_eq!(tree.row("cgroup-delegation").verdict, Warning);
    let tree = tree.with(&format!("{own}/cgroup.subtree_control"), "cpu memory pids\n");
    assert!(tree.row("cgroup-delegation").read.ends_with("run-1.scope"));
}

#[test]
fn who_may_open_kvm() {
    let tree = Tree::ideal().with("etc/group", "kvm:x:104:alice,bob\n");
    // The stand-in for /dev/kvm is open to everybody, as systemd's own rule has it.
    assert!(tree.row("kvm-group").read.starts_with("everybody"), "{:?}", tree.row("kvm-group"));
    let tree = tree.without("dev/kvm");
    assert_eq!(tree.row("kvm-group").verdict, Good);
    let tree = tree.with("dev/kvm", "");
    assert_eq!(tree.row("kvm-group").read, "group kvm: alice, bob");
    assert_eq!(tree.row("kvm").verdict, CannotRun);
    assert!(tree.row("kvm").read.contains("not a device"));
}
