//! A directory that looks like a host.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::doctor::answers::Answers;
use crate::doctor::finding::{Row, Verdict};
use crate::doctor::report::Report;
use crate::doctor::source::Source;

/// The files of a host that nothing can be said against: Intel, cgroup v2, everything turned off.
const IDEAL: [(&str, &str); 61] = [
    ("etc/group", "root:x:0:\nkvm:x:104:\n"),
    ("proc/cmdline", "quiet mitigations=auto,nosmt lockdown=integrity\n"),
    (
        "proc/cpuinfo",
        "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx ept\nmicrocode\t: 0x2b000643\n",
    ),
    ("proc/self/attr/current", "unconfined\n"),
    ("proc/self/cgroup", "0::/\n"),
    ("proc/self/mountinfo", "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
    ("proc/self/ns/cgroup", ""),
    ("proc/self/ns/ipc", ""),
    ("proc/self/ns/mnt", ""),
    ("proc/self/ns/net", ""),
    ("proc/self/ns/pid", ""),
    ("proc/self/ns/user", ""),
    ("proc/self/ns/uts", ""),
    ("proc/self/status", "Name:\tcasemate\nSeccomp:\t0\n"),
    ("proc/self/uid_map", "         0          0 4294967295\n"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n"),
    ("proc/sys/dev/tty/legacy_tiocsti", "0\n"),
    ("proc/sys/kernel/core_pattern", "core\n"),
    ("proc/sys/kernel/dmesg_restrict", "1\n"),
    ("proc/sys/kernel/io_uring_disabled", "2\n"),
    ("proc/sys/kernel/kptr_restrict", "1\n"),
    ("proc/sys/kernel/modules_disabled", "1\n"),
    ("proc/sys/kernel/osrelease", "6.18.2\n"),
    ("proc/sys/kernel/perf_event_paranoid", "3\n"),
    ("proc/sys/kernel/randomize_va_space", "2\n"),
    (
        "proc/sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno user_notif trace log allow\n",
    ),
    ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
    ("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.18.2-1 (2026-01-10)\n"),
    ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
    ("proc/sys/user/max_user_namespaces", "96365\n"),
    ("proc/sys/vm/unprivileged_userfaultfd", "0\n"),
    ("sys/class/iommu/dmar0/version", "1:0\n"),
    ("sys/devices/system/cpu/smt/active", "0\n"),
    ("sys/devices/system/cpu/smt/control", "off\n"),
    ("sys/devices/system/cpu/vulnerabilities/itlb_multihit", "Not affected\n"),
    ("sys/devices/system/cpu/vulnerabilities/l1tf", "Not affected\n"),
    ("sys/devices/system/cpu/vulnerabilities/mds", "Mitigation: Clear CPU buffers; SMT disabled\n"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
    ("sys/devices/system/cpu/vulnerabilities/old_microcode", "Not affected\n"),
    ("sys/devices/system/cpu/vulnerabilities/retbleed", "Mitigation: Enhanced IBRS\n"),
    (
        "sys/devices/system/cpu/vulnerabilities/spectre_v2",
        "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional\n",
    ),
    (
        "sys/devices/system/cpu/vulnerabilities/vmscape",
        "Mitigation: IBPB before exit to userspace\n",
    ),
    ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
    ("sys/fs/cgroup/cgroup.procs", ""),
    ("sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n"),
    ("sys/kernel/mm/ksm/run", "0\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    (
        "sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always [within_size] advise never deny force\n",
    ),
    ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
    ("sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor\n"),
    ("sys/module/kvm/parameters/enable_vmware_backdoor", "N\n"),
    ("sys/module/kvm/parameters/force_emulation_prefix", "0\n"),
    ("sys/module/kvm/parameters/halt_poll_ns", "0\n"),
    ("sys/module/kvm/parameters/ignore_msrs", "N\n"),
    ("sys/module/kvm/parameters/nx_huge_pages", "N\n"),
    ("sys/module/kvm_intel/parameters/ept", "Y\n"),
    ("sys/module/kvm_intel/parameters/nested", "N\n"),
    ("sys/module/kvm_intel/parameters/tdx", "N\n"),
    ("sys/module/kvm_intel/parameters/unrestricted_guest", "Y\n"),
    ("sys/module/zswap/parameters/enabled", "N\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n"),
];

/// A host to be.
pub struct Tree {
    directory: TempDir,
    pub answers: Answers,
}

impl Tree {
    /// A host without anything.
    pub fn empty() -> Self {
        let answers = Answers {
            landlock: Ok(7),
            core_scheduling: Ok(()),
            uid: 0,
            // February 2026.
            now: Duration::from_secs(1_771_000_000),
        };
        Self { directory: tempfile::tempdir().unwrap(), answers }
    }

    /// The ideal host.
    pub fn ideal() -> Self {
        let tree = IDEAL.iter().fold(Self::empty(), |tree, (path, text)| tree.with(path, text));
        tree.with_kvm()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// With this file instead of what was there.
    pub fn with(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let file = self.path(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // To empty a file and to write it again takes ext4 a hundred times as long.
        let _ = std::fs::remove_file(&file);
        std::fs::write(file, text).unwrap();
        self
    }

    /// With a character device in place of /dev/kvm.
    fn with_kvm(self) -> Self {
        std::fs::create_dir_all(self.path("dev")).unwrap();
        symlink("/dev/null", self.path("dev/kvm")).unwrap();
        self
    }

    /// Without this file or directory.
    pub fn without(self, path: &str) -> Self {
        let file = self.path(path);
        if file.is_dir() && !file.is_symlink() {
            std::fs::remove_dir_all(file).unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
        self
    }

    /// Every file, below the root.
    pub fn files() -> impl Iterator<Item = &'static str> {
        IDEAL.iter().map(|(path, _)| *path)
    }

    pub fn report(&self) -> Report {
        Report::of(&Source::below(self.directory.path().to_owned(), self.answers.clone()))
    }

    /// One row of the report.
    pub fn row(&self, name: &str) -> Row {
        row(&self.report(), name)
    }
}

/// One row of a report.
pub fn row(report: &Report, name: &str) -> Row {
    let mut rows = report.checks.iter().filter(|row| row.name == name);
    rows.next().unwrap_or_else(|| panic!("no row {name}")).clone()
}

/// The names of the rows with this verdict.
pub fn with_verdict(report: &Report, verdict: Verdict) -> Vec<&str> {
    let rows = report.checks.iter().filter(|row| row.verdict == verdict);
    rows.map(|row| row.name.as_str()).collect()
}
