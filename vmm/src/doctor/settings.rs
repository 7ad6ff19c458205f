//! The settings that are one number each.
//!
//! Where kernels or distributions are lax by default, the finding is a note: the workers' filters
//! and namespaces cover it. Where somebody made it laxer than that, it is a warning.

use super::finding::Verdict::{Good, Note, Warning};
use super::setting::Setting;

/// Same-page merging; 2 unmerges what was merged.
pub const KSM: Setting = Setting {
    path: "/sys/kernel/mm/ksm/run",
    good: &[0..=0, 2..=2],
    otherwise: Warning,
    absent: (Good, "not in this kernel", None),
    fix: "echo 2 >/sys/kernel/mm/ksm/run; systemctl disable --now ksm ksmtuned",
};

/// Nanoseconds that a CPU spins for a halted guest.
pub const HALT_POLLING: Setting = Setting {
    path: "/sys/module/kvm/parameters/halt_poll_ns",
    good: &[0..=0],
    otherwise: Note,
    absent: (Note, "not told", None),
    fix: "echo 0 >/sys/module/kvm/parameters/halt_poll_ns; boot with kvm.halt_poll_ns=0",
};

/// io_uring: 0 for everybody, 1 for a group, 2 for nobody.
pub const IO_URING: Setting = Setting {
    path: "/proc/sys/kernel/io_uring_disabled",
    good: &[1..=2],
    otherwise: Note,
    absent: (Note, "no such switch: it comes with 6.6", Some("use a kernel from 6.6 on")),
    fix: "sysctl -w kernel.io_uring_disabled=2",
};

/// userfaultfd for users.
pub const USERFAULTFD: Setting = Setting {
    path: "/proc/sys/vm/unprivileged_userfaultfd",
    good: &[0..=0],
    otherwise: Warning,
    absent: (Good, "not in this kernel", None),
    fix: "sysctl -w vm.unprivileged_userfaultfd=0",
};

/// eBPF programs by users: 0 allowed, 1 not until the next boot, 2 not for now.
pub const BPF: Setting = Setting {
    path: "/proc/sys/kernel/unprivileged_bpf_disabled",
    good: &[1..=2],
    otherwise: Warning,
    absent: (Good, "not in this kernel", None),
    fix: "sysctl -w kernel.unprivileged_bpf_disabled=1",
};

/// Kernel addresses in /proc and in the log.
pub const KPTR: Setting = Setting {
    path: "/proc/sys/kernel/kptr_restrict",
    good: &[1..=2],
    otherwise: Note,
    absent: (Note, "not told", None),
    fix: "sysctl -w kernel.kptr_restrict=1",
};

/// The kernel's log for users.
pub const DMESG: Setting = Setting {
    path: "/proc/sys/kernel/dmesg_restrict",
    good: &[1..=1],
    otherwise: Note,
    absent: (Good, "the kernel keeps no log", None),
    fix: "sysctl -w kernel.dmesg_restrict=1",
};

/// Characters put into a terminal's input by ioctl.
pub const TIOCSTI: Setting = Setting {
    path: "/proc/sys/dev/tty/legacy_tiocsti",
    good: &[0..=0],
    otherwise: Note,
    absent: (Note, "always on: the switch comes with 6.2", Some("use a kernel from 6.2 on")),
    fix: "sysctl -w dev.tty.legacy_tiocsti=0",
};

/// Performance counters for users: the higher, the fewer.
pub const PERF: Setting = Setting {
    path: "/proc/sys/kernel/perf_event_paranoid",
    good: &[2..=i64::MAX],
    otherwise: Warning,
    absent: (Good, "not in this kernel", None),
    fix: "sysctl -w kernel.perf_event_paranoid=2",
};

/// Yama: who may attach to a process.
pub const PTRACE: Setting = Setting {
    path: "/proc/sys/kernel/yama/ptrace_scope",
    good: &[1..=3],
    otherwise: Note,
    absent: (
        Note,
        "no Yama: a user's processes may attach to each other",
        Some("boot with yama in lsm="),
    ),
    fix: "sysctl -w kernel.yama.ptrace_scope=1",
};

/// Address space layout randomization.
pub const ASLR: Setting = Setting {
    path: "/proc/sys/kernel/randomize_va_space",
    good: &[2..=2],
    otherwise: Warning,
    absent: (Note, "not told", None),
    fix: "sysctl -w kernel.randomize_va_space=2",
};

/// Loading of kernel modules, until the next boot.
pub const MODULES: Setting = Setting {
    path: "/proc/sys/kernel/modules_disabled",
    good: &[1..=1],
    otherwise: Note,
    absent: (Good, "the kernel loads none", None),
    fix: "sysctl -w kernel.modules_disabled=1, once all that are needed are loaded",
};
