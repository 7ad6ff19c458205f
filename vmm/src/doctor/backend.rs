//! /dev/kvm, and what is behind it.

use rustix::io::Errno;

use super::finding::{Finding, Verdict};
use super::source::Source;

/// What runs guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Intel's VT-x.
    VtX,
    /// AMD's AMD-V.
    AmdV,
    /// kvm_pvm: guests run in ring 3, on page tables that the host keeps for them.
    SoftwarePaging,
    /// KVM is there, and not one of these.
    Unknown,
    /// None.
    Missing,
}

impl Backend {
    /// This host's.
    pub fn of(source: &Source) -> Self {
        let cpu = source.cpuinfo();
        let loaded = |module: &str| source.has(&format!("/sys/module/{module}"));
        match () {
            () if cpu.has("vmx") && loaded("kvm_intel") => Self::VtX,
            () if cpu.has("svm") && loaded("kvm_amd") => Self::AmdV,
            () if loaded("kvm_pvm") => Self::SoftwarePaging,
            () if loaded("kvm") || source.has("/dev/kvm") => Self::Unknown,
            () => Self::Missing,
        }
    }
}

/// What brings KVM to this CPU.
fn bring(source: &Source) -> &'static str {
    let cpu = source.cpuinfo();
    match () {
        () if cpu.has("vmx") => "modprobe kvm_intel",
        () if cpu.has("svm") => "modprobe kvm_amd",
        () if cpu.is_guest() => "turn on nested virtualization in the hypervisor below this host",
        () => "turn on VT-x or AMD-V in the firmware",
    }
}

/// /dev/kvm is there and this user may use it.
pub fn device(source: &Source) -> Finding {
    let path = "/dev/kvm";
    let bad = |reason: String| Finding::new(Verdict::CannotRun, format!("{path}: {reason}"));
    match source.open_device(path) {
        Ok(()) => Finding::good(format!("{path} opens for reading and writing")),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => bad("missing".into()).fix(bring(source)),
        Err(Errno::ACCESS | Errno::PERM) => {
            let join = "usermod -aG kvm \"$USER\", then log in again";
            bad("permission denied".into()).fix(match source.mode(path) {
                Some(mode) if mode & 0o060 == 0o060 => join.to_owned(),
                _ => format!("chgrp kvm {path}; chmod 660 {path}; {join}"),
            })
        }
        Err(Errno::NOTTY | Errno::ISDIR) => bad("not a device".into())
            .fix("mknod -m 660 /dev/kvm c 10 232, or pass it on (docker --device)"),
        Err(errno) => bad(errno.to_string()).fix(bring(source)),
    }
}

/// VT-x, AMD-V or software.
pub fn backend(source: &Source) -> Finding {
    let hardware = "use a host with VT-x or AMD-V";
    match Backend::of(source) {
        Backend::VtX => Finding::good("kvm_intel: VT-x"),
        Backend::AmdV => Finding::good("kvm_amd: AMD-V"),
        Backend::SoftwarePaging => {
            let read = "kvm_pvm: software paging; runs bare-metal test guests only";
            Finding::new(Verdict::Warning, read).fix(hardware)
        }
        Backend::Unknown => {
            Finding::new(Verdict::Warning, "none that is known, but KVM is there").fix(hardware)
        }
        Backend::Missing => {
            Finding::new(Verdict::CannotRun, "no kvm_intel, no kvm_amd").fix(bring(source))
        }
    }
}

/// Runs on the machine itself, or in a virtual machine.
pub fn bare_metal(source: &Source) -> Finding {
    match source.cpuinfo().is_guest() {
        true => Finding::new(Verdict::Note, "this host is itself a virtual machine"),
        false => Finding::good("no hypervisor below this host"),
    }
}
