//! The machine: microcode, IOMMU, memory encryption.

use super::finding::{Finding, Verdict};
use super::setting::number;
use super::source::Source;

/// The microcode's revision, and whether the kernel knows a newer one.
pub fn microcode(source: &Source) -> Finding {
    let cpu = source.cpuinfo();
    let revisions = cpu.microcode.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let old = source.text("/sys/devices/system/cpu/vulnerabilities/old_microcode");
    match (cpu.microcode.len(), old.as_deref()) {
        (0, _) => Finding::new(Verdict::Note, "not told"),
        (1, _) if cpu.is_guest() => {
            Finding::new(Verdict::Note, format!("{revisions}, says the hypervisor below this host"))
        }
        (1, Some("Not affected")) => Finding::good(revisions),
        (1, None) => {
            Finding::new(Verdict::Note, format!("{revisions}; this kernel does not judge it"))
                .fix(cpu.microcode_fix())
        }
        (1, Some(_)) => {
            Finding::new(Verdict::Warning, format!("{revisions}: the kernel knows a newer one"))
                .fix(cpu.microcode_fix())
        }
        _ => Finding::new(Verdict::Warning, format!("{revisions}: not the same on all CPUs"))
            .fix(cpu.microcode_fix()),
    }
}

/// Devices cannot read and write all of memory.
pub fn iommu(source: &Source) -> Finding {
    let units = source.names("/sys/class/iommu").unwrap_or_default();
    if !units.is_empty() {
        return Finding::good(units.join(", "));
    }
    if source.cpuinfo().is_guest() {
        return Finding::new(Verdict::Note, "none; the devices are those of the hypervisor below");
    }
    let vendor = match source.cpuinfo().vendor.as_str() {
        "AuthenticAMD" => "AMD-Vi in the firmware; boot with amd_iommu=on",
        _ => "VT-d in the firmware; boot with intel_iommu=on",
    };
    Finding::new(Verdict::Note, "none").fix(format!("turn on {vendor}"))
}

/// Kinds of memory encryption: the CPU's flag, and where KVM says that it is on.
const ENCRYPTION: [(&str, &str, &str); 4] = [
    ("SEV", "sev", "/sys/module/kvm_amd/parameters/sev"),
    ("SEV-ES", "sev_es", "/sys/module/kvm_amd/parameters/sev_es"),
    ("SEV-SNP", "sev_snp", "/sys/module/kvm_amd/parameters/sev_snp"),
    ("TDX", "tdx_host_platform", "/sys/module/kvm_intel/parameters/tdx"),
];

/// Guests could be kept secret from this host.
pub fn confidential(source: &Source) -> Finding {
    let on = |path: &str| source.text(path).and_then(|text| number(&text)).is_some_and(|v| v != 0);
    let state = |(kind, flag, path): (&str, &str, &str)| match () {
        () if on(path) => Some(format!("{kind}: on")),
        () if source.cpuinfo().has(flag) => Some(format!("{kind}: off, the CPU has it")),
        () => None,
    };
    let kinds: Vec<String> = ENCRYPTION.into_iter().filter_map(state).collect();
    let read = if kinds.is_empty() { "none".to_owned() } else { kinds.join("; ") };
    Finding::new(Verdict::Note, format!("{read} (casemate uses none)"))
}
