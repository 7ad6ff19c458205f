//! How KVM is set.

use super::backend::Backend;
use super::finding::{Finding, Verdict};
use super::setting::{name, not_understood, number, unreadable};
use super::source::{Fact, Source};

/// EPT or NPT.
pub fn second_level_paging(source: &Source) -> Finding {
    let parameter = match Backend::of(source) {
        Backend::VtX => "/sys/module/kvm_intel/parameters/ept",
        Backend::AmdV => "/sys/module/kvm_amd/parameters/npt",
        Backend::SoftwarePaging => {
            return Finding::new(Verdict::Warning, "none: kvm_pvm keeps shadow page tables")
                .fix("use a host with EPT or NPT");
        }
        Backend::Unknown | Backend::Missing => return Finding::new(Verdict::Note, "no backend"),
    };
    truth(source, parameter, true, Verdict::Warning)
}

/// VT-x runs real mode and unpaged code itself.
pub fn unrestricted_guest(source: &Source) -> Finding {
    match Backend::of(source) {
        Backend::VtX => {
            let path = "/sys/module/kvm_intel/parameters/unrestricted_guest";
            truth(source, path, true, Verdict::Warning)
        }
        Backend::AmdV => Finding::good("AMD-V always does"),
        Backend::SoftwarePaging => {
            Finding::new(Verdict::Warning, "no: kvm_pvm emulates all of ring 0")
        }
        Backend::Unknown | Backend::Missing => Finding::new(Verdict::Note, "no backend"),
    }
}

/// Guests that run guests.
pub fn nested(source: &Source) -> Finding {
    let path = match Backend::of(source) {
        Backend::VtX => "/sys/module/kvm_intel/parameters/nested",
        Backend::AmdV => "/sys/module/kvm_amd/parameters/nested",
        Backend::SoftwarePaging => return Finding::good("kvm_pvm has none"),
        Backend::Unknown | Backend::Missing => return Finding::new(Verdict::Note, "no backend"),
    };
    truth(source, path, false, Verdict::Warning)
}

/// A truth value of a KVM module that should be `wanted`, else is `otherwise`.
fn truth(source: &Source, path: &str, wanted: bool, otherwise: Verdict) -> Finding {
    let text = match source.read(path) {
        Fact::Text(text) => text,
        Fact::Absent => return Finding::new(Verdict::Note, format!("{}: not told", name(path))),
        Fact::Unreadable(reason) => return unreadable(path, &reason),
    };
    let read = format!("{path} = {text}");
    match number(&text) {
        Some(value) if (value != 0) == wanted => Finding::good(read),
        Some(_) => Finding::new(otherwise, read).fix(module_option(path, u8::from(wanted))),
        None => not_understood(path, &text),
    }
}

/// The command that sets the module parameter with this path.
fn module_option(path: &str, value: u8) -> String {
    let mut parts = path.split('/').skip(3);
    let (module, option) = (parts.next().unwrap_or("kvm"), parts.nth(1).unwrap_or_default());
    format!(
        "echo options {module} {option}={value} >/etc/modprobe.d/casemate-{option}.conf, reload {module}"
    )
}

/// The mitigation of ITLB multihit, by which a guest could stop the host.
pub fn nx_huge_pages(source: &Source) -> Finding {
    let path = "/sys/module/kvm/parameters/nx_huge_pages";
    let weakness = source.text("/sys/devices/system/cpu/vulnerabilities/itlb_multihit");
    let affected = !weakness.is_some_and(|text| text.starts_with("Not affected"));
    match source.read(path) {
        Fact::Text(text) => {
            let read = format!("{path} = {text}");
            match text.as_str() {
                "Y" | "1" | "force" | "auto" => Finding::good(read),
                "N" | "0" | "off" | "never" if !affected => {
                    Finding::good(format!("{read}; the CPU does not need it"))
                }
                "N" | "0" | "off" | "never" => Finding::new(Verdict::Unsafe, read)
                    .fix(format!("echo force >{path}; boot with kvm.nx_huge_pages=force")),
                _ => not_understood(path, &text),
            }
        }
        Fact::Absent if affected => Finding::new(Verdict::Note, format!("{path}: not told")),
        Fact::Absent => Finding::good("the CPU does not need it"),
        Fact::Unreadable(reason) => unreadable(path, &reason),
    }
}

/// Module parameters that hand guests more of KVM than they need.
const RISKY: [&str; 3] = ["enable_vmware_backdoor", "force_emulation_prefix", "ignore_msrs"];

/// None of the options is on that are for other guests or for tests.
pub fn options(source: &Source) -> Finding {
    let value = |option: &&str| {
        let text = source.text(&format!("/sys/module/kvm/parameters/{option}"));
        text.and_then(|text| number(&text)).is_some_and(|value| value != 0)
    };
    let on: Vec<&str> = RISKY.into_iter().filter(value).collect();
    if on.is_empty() {
        return Finding::good(format!("{}: off", RISKY.join(", ")));
    }
    let off: Vec<String> = on.iter().map(|option| format!("kvm.{option}=0")).collect();
    Finding::new(Verdict::Warning, format!("on: {}", on.join(", ")))
        .fix(format!("boot with {}", off.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_path_names_module_and_option() {
        let command = module_option("/sys/module/kvm_intel/parameters/nested", 0);
        assert!(command.contains("options kvm_intel nested=0"), "{command}");
    }
}
