//! What the text of a file in /sys/devices/system/cpu/vulnerabilities admits.
//!
//! It is a state (`Not affected`, `Mitigation: …`, `Vulnerable: …`, `Unknown: …`), in some files
//! after `KVM: `, then clauses after semicolons and commas. A clause can take back what the state
//! promised: `Mitigation: PTE Inversion; VMX: vulnerable`.

use super::finding::Verdict;
use super::weakness::{Crosses, Weakness};

/// What a text admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hole {
    /// Nothing.
    None,
    /// Whether the siblings of a core are kept apart is the hypervisor's secret.
    SiblingsUnknown,
    /// Only some exits to the host clear the cache.
    Conditional,
    /// A guest on the sibling of a core gets at what the other computes.
    Siblings,
    /// The kernel does not know, or its words make no sense.
    Unknown,
    /// Guests are held, processes are not.
    Processes,
    /// Guests are not held.
    Guests,
}

/// All that `text` admits.
pub fn holes(text: &str) -> Vec<Hole> {
    let text = text.to_ascii_lowercase();
    if text == "not affected" {
        return vec![Hole::None];
    }
    let state = text.strip_prefix("kvm: ").unwrap_or(&text);
    let mut found = match state {
        state if state.starts_with("mitigation") => vec![Hole::None],
        state if state.starts_with("vulnerable") || state == "processor vulnerable" => {
            vec![Hole::None] // its clause says so, below
        }
        _ => vec![Hole::Unknown],
    };
    for part in text.split(';') {
        let mut clauses = part.split(',').map(str::trim).peekable();
        while let Some(clause) = clauses.next() {
            let kvm_is_held = clauses
                .peek()
                .is_some_and(|next| next.starts_with("kvm: ") && !next.contains("vulnerable"));
            found.push(hole(clause, kvm_is_held));
        }
    }
    found
}

fn hole(clause: &str, kvm_is_held: bool) -> Hole {
    match clause {
        "smt vulnerable" => Hole::Siblings,
        "smt host state unknown" => Hole::SiblingsUnknown,
        "vmx: conditional cache flushes" => Hole::Conditional,
        "ibpb: disabled" => Hole::Guests,
        clause if clause.ends_with("clear cpu buffers: user/kernel boundary") => Hole::Guests,
        clause if clause.ends_with("clear cpu buffers: vm") => Hole::Processes,
        clause if clause.contains("vulnerable") && kvm_is_held => Hole::Processes,
        clause if clause.contains("vulnerable") => Hole::Guests,
        _ => Hole::None,
    }
}

/// How bad a hole in a weakness is. `software`: a guest is an ordinary process of the host.
pub fn verdict(hole: Hole, weakness: &Weakness, software: bool) -> Verdict {
    match (hole, weakness.crosses) {
        (Hole::None, _) => Verdict::Good,
        (Hole::SiblingsUnknown | Hole::Conditional, _) => Verdict::Note,
        (Hole::Siblings | Hole::Unknown, _) | (_, Crosses::Nothing) => Verdict::Warning,
        (Hole::Guests, Crosses::Guests) => Verdict::Unsafe,
        (Hole::Processes, _) | (Hole::Guests, Crosses::Processes) if software => Verdict::Unsafe,
        (Hole::Processes, _) | (Hole::Guests, Crosses::Processes) => Verdict::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::weakness::known;

    /// A file, its text, and the worst verdict for it with hardware and with software paging.
    type Text = (&'static str, &'static str, Verdict, Verdict);

    use Verdict::{Good, Note, Unsafe, Warning};

    #[rustfmt::skip] // a row a line
    const TEXTS: [Text; 46] = [
        ("meltdown", "Not affected", Good, Good),
        ("meltdown", "Mitigation: PTI", Good, Good),
        ("meltdown", "Vulnerable", Warning, Unsafe),
        ("mds", "Mitigation: Clear CPU buffers; SMT disabled", Good, Good),
        ("mds", "Mitigation: Clear CPU buffers; SMT vulnerable", Warning, Warning),
        ("mds", "Mitigation: Clear CPU buffers; SMT mitigated", Good, Good),
        ("mds", "Mitigation: Clear CPU buffers; SMT Host state unknown", Note, Note),
        ("mds", "Vulnerable: Clear CPU buffers attempted, no microcode; SMT vulnerable", Unsafe, Unsafe),
        ("mmio_stale_data", "Unknown: No mitigations", Warning, Warning),
        ("l1tf", "Mitigation: PTE Inversion; VMX: cache flushes, SMT disabled", Good, Good),
        ("l1tf", "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT disabled", Note, Note),
        ("l1tf", "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable", Warning, Warning),
        ("l1tf", "Mitigation: PTE Inversion; VMX: vulnerable", Unsafe, Unsafe),
        ("l1tf", "Mitigation: PTE Inversion; VMX: EPT disabled", Good, Good),
        ("itlb_multihit", "KVM: Mitigation: Split huge pages", Good, Good),
        ("itlb_multihit", "KVM: Mitigation: VMX disabled", Good, Good),
        ("itlb_multihit", "KVM: Vulnerable", Unsafe, Unsafe),
        ("itlb_multihit", "Processor vulnerable", Unsafe, Unsafe),
        ("indirect_target_selection", "Mitigation: Aligned branch/return thunks", Good, Good),
        ("indirect_target_selection", "Mitigation: Vulnerable, KVM: Not affected", Warning, Unsafe),
        ("spectre_v1", "Mitigation: usercopy/swapgs barriers and __user pointer sanitization", Good, Good),
        ("spectre_v1", "Vulnerable: __user pointer sanitization and usercopy barriers only; no swapgs barriers", Warning, Unsafe),
        ("spectre_v2", "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; STIBP: always-on; RSB filling; PBRSB-eIBRS: Not affected; BHI: BHI_DIS_S", Good, Good),
        ("spectre_v2", "Mitigation: Retpolines; STIBP: disabled; RSB filling; PBRSB-eIBRS: Not affected; BHI: Retpoline", Good, Good),
        ("spectre_v2", "Mitigation: Enhanced IBRS; IBPB: conditional; PBRSB-eIBRS: Vulnerable; BHI: SW loop, KVM: SW loop", Unsafe, Unsafe),
        ("spectre_v2", "Mitigation: Enhanced IBRS; IBPB: conditional; BHI: Vulnerable, KVM: SW loop", Warning, Unsafe),
        ("spectre_v2", "Mitigation: Enhanced IBRS; IBPB: conditional; BHI: Vulnerable", Unsafe, Unsafe),
        ("spectre_v2", "Mitigation: Retpolines; IBPB: disabled; STIBP: disabled", Unsafe, Unsafe),
        ("spectre_v2", "Vulnerable: eIBRS with unprivileged eBPF", Unsafe, Unsafe),
        ("spectre_v2", "Vulnerable; IBPB: disabled; STIBP: disabled; PBRSB-eIBRS: Not affected; BHI: Not affected", Unsafe, Unsafe),
        ("retbleed", "Mitigation: untrained return thunk; SMT enabled with STIBP protection", Good, Good),
        ("retbleed", "Vulnerable", Unsafe, Unsafe),
        ("spec_rstack_overflow", "Mitigation: IBPB on VMEXIT only", Good, Good),
        ("spec_rstack_overflow", "Vulnerable: Safe RET, no microcode", Unsafe, Unsafe),
        ("spec_store_bypass", "Mitigation: Speculative Store Bypass disabled via prctl", Good, Good),
        ("spec_store_bypass", "Vulnerable", Warning, Warning),
        ("srbds", "Unknown: Dependent on hypervisor status", Warning, Warning),
        ("tsa", "Mitigation: Clear CPU buffers", Good, Good),
        ("tsa", "Mitigation: Clear CPU buffers: user/kernel boundary", Unsafe, Unsafe),
        ("tsa", "Mitigation: Clear CPU buffers: VM", Warning, Unsafe),
        ("vmscape", "Mitigation: IBPB before exit to userspace", Good, Good),
        ("old_microcode", "Vulnerable", Warning, Warning),
        ("next_year", "Vulnerable", Unsafe, Unsafe),
        ("next_year", "Mitigation: something new", Good, Good),
        ("mds", "", Warning, Warning),
        ("mds", "\u{fffd};;,,;", Warning, Warning),
    ];

    #[test]
    fn texts_of_real_kernels() {
        for (name, text, hardware, software) in TEXTS {
            for (software, expected) in [(false, hardware), (true, software)] {
                let judge = |hole| verdict(hole, known(name), software);
                assert_eq!(
                    holes(text).into_iter().map(judge).max(),
                    Some(expected),
                    "{name}: {text}"
                );
            }
        }
    }
}
