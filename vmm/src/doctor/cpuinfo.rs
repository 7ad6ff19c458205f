//! /proc/cpuinfo.

use std::collections::BTreeSet;

/// What /proc/cpuinfo says. Flags are those of the first CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuinfo {
    /// `GenuineIntel`, `AuthenticAMD`, …
    pub vendor: String,
    flags: BTreeSet<String>,
    /// The microcode's revisions, each once.
    pub microcode: BTreeSet<String>,
}

impl Cpuinfo {
    /// Reads what it knows and ignores the rest.
    pub fn parse(text: &str) -> Self {
        let mut cpu = Self::default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        for (name, value) in fields.map(|(name, value)| (name.trim(), value.trim())) {
            match name {
                "vendor_id" if cpu.vendor.is_empty() => cpu.vendor = value.to_owned(),
                "flags" if cpu.flags.is_empty() => {
                    cpu.flags = value.split_ascii_whitespace().map(str::to_owned).collect();
                }
                "microcode" => drop(cpu.microcode.insert(value.to_owned())),
                _ => {}
            }
        }
        cpu
    }

    /// True when the CPU has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// True when this host is itself a virtual machine.
    pub fn is_guest(&self) -> bool {
        self.has("hypervisor")
    }

    /// How to get newer microcode.
    pub fn microcode_fix(&self) -> String {
        if self.is_guest() {
            return "the microcode is the hypervisor's: have it updated there".to_owned();
        }
        let package = match self.vendor.as_str() {
            "GenuineIntel" => "intel-microcode",
            "AuthenticAMD" => "amd64-microcode",
            _ => return "update the firmware, then reboot".to_owned(),
        };
        format!("apt install {package} (or update the firmware), then reboot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_all_cpus() {
        let cpu = Cpuinfo::parse(
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu svm npt\nmicrocode\t: 0x1\n\
             \nprocessor\t: 1\nflags\t\t: fpu\nmicrocode\t: 0x2\nnonsense\n: :\n",
        );
        assert!(cpu.has("svm") && cpu.has("fpu") && !cpu.has("vmx") && !cpu.is_guest());
        assert_eq!((cpu.vendor.as_str(), cpu.microcode.len()), ("AuthenticAMD", 2));
        assert!(cpu.microcode_fix().contains("amd64-microcode"));
        assert_eq!(Cpuinfo::parse(""), Cpuinfo::default());
    }
}
