//! The CPU's known weaknesses by the name of their file in /sys/devices/system/cpu/vulnerabilities.
//!
//! Which boundary each one crosses is the kernel's own table, in its document on attack vector
//! controls (Documentation/admin-guide/hw-vuln/attack_vector_controls.rst).

/// Where a weakness lets data through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crosses {
    /// From the host, or from another guest, to a guest.
    Guests,
    /// From the kernel or another process to a process: a worker that was broken into.
    Processes,
    /// Nothing from one sandbox to another.
    Nothing,
}

/// One weakness.
#[derive(Debug)]
pub struct Weakness {
    /// The file's name.
    pub name: &'static str,
    /// What it crosses.
    pub crosses: Crosses,
    /// Why it matters.
    pub why: &'static str,
    /// The kernel parameter of the strictest mitigation.
    pub parameter: &'static str,
}

const fn row(
    name: &'static str,
    crosses: Crosses,
    why: &'static str,
    parameter: &'static str,
) -> Weakness {
    Weakness { name, crosses, why, parameter }
}

use Crosses::{Guests, Nothing, Processes};

/// Those that Linux knows.
const KNOWN: [Weakness; 20] = [
    row(
        "gather_data_sampling",
        Guests,
        "a guest reads what was in vector registers of host and other guests",
        "gather_data_sampling=force",
    ),
    row("ghostwrite", Guests, "any program writes any physical memory", "mitigations=auto"),
    row(
        "indirect_target_selection",
        Guests,
        "a guest steers what the host speculates on, and reads its memory",
        "indirect_target_selection=force",
    ),
    row(
        "itlb_multihit",
        Guests,
        "a guest stops the host by a machine check",
        "kvm.nx_huge_pages=force",
    ),
    row(
        "l1tf",
        Guests,
        "a guest reads what is in the L1 cache, whoever put it there",
        "l1tf=full,force",
    ),
    row("mds", Guests, "a guest reads what is in the CPU's buffers", "mds=full,nosmt"),
    row(
        "meltdown",
        Processes,
        "a worker that was broken into reads all of the kernel's memory",
        "pti=on",
    ),
    row(
        "mmio_stale_data",
        Guests,
        "a guest reads what is in the CPU's buffers",
        "mmio_stale_data=full,nosmt",
    ),
    row(
        "old_microcode",
        Nothing,
        "older microcode lacks mitigations, known and not yet known",
        "mitigations=auto",
    ),
    row(
        "reg_file_data_sampling",
        Guests,
        "a guest reads what was in registers of host and other guests",
        "reg_file_data_sampling=on",
    ),
    row(
        "retbleed",
        Guests,
        "a guest steers where the host speculates to, and reads its memory",
        "retbleed=auto,nosmt",
    ),
    row(
        "spec_rstack_overflow",
        Guests,
        "a guest steers where the host speculates to, and reads its memory",
        "spec_rstack_overflow=safe-ret",
    ),
    row(
        "spec_store_bypass",
        Nothing,
        "code inside one process reads past its own checks",
        "spec_store_bypass_disable=on",
    ),
    row(
        "spectre_v1",
        Processes,
        "a worker that was broken into reads the kernel's memory past its checks",
        "mitigations=auto",
    ),
    row(
        "spectre_v2",
        Guests,
        "a guest steers where the host speculates to, and reads its memory",
        "spectre_v2=on",
    ),
    row(
        "srbds",
        Guests,
        "a guest reads the random numbers that host and other guests drew",
        "mitigations=auto",
    ),
    row("tsa", Guests, "a guest learns what host and other guests load and store", "tsa=on"),
    row(
        "tsx_async_abort",
        Guests,
        "a guest reads what is in the CPU's buffers",
        "tsx=off tsx_async_abort=full,nosmt",
    ),
    row(
        "vmscape",
        Guests,
        "a guest steers where its own VMM on the host speculates to, and reads its memory",
        "vmscape=force",
    ),
    UNKNOWN,
];

/// One that this table does not know yet, and for which the worst is assumed.
const UNKNOWN: Weakness = row(
    "",
    Guests,
    "a weakness newer than this casemate, so the worst is assumed",
    "mitigations=auto,nosmt",
);

/// What is known of the weakness of this name.
pub fn known(name: &str) -> &'static Weakness {
    let [known @ .., unknown] = &KNOWN;
    known.iter().find(|weakness| weakness.name == name).unwrap_or(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_name_and_the_unknown_none() {
        let names: std::collections::BTreeSet<_> =
            KNOWN.iter().map(|weakness| weakness.name).collect();
        assert_eq!(names.len(), KNOWN.len());
        assert_eq!(known("mds").name, "mds");
        assert_eq!(known("meltdown").crosses, Processes);
        assert_eq!(known("next_year").crosses, Guests);
        assert_eq!(known("").name, "");
    }
}
