//! The kernel's command line: what it turns off of the CPU's mitigations.

use super::backend::Backend;
use super::finding::{Finding, Verdict};
use super::source::{Fact, Source};

/// Words of `mitigations=` by which a guest reaches the host or another guest.
const OPEN_TO_GUESTS: [&str; 3] = ["off", "no_guest_host", "no_guest_guest"];

/// Words of `mitigations=` by which a process reaches the kernel or another process.
const OPEN_TO_PROCESSES: [&str; 3] = ["no_user_kernel", "no_user_user", "no_cross_thread"];

/// Parameters that turn off one mitigation each. What comes of it is in the CPU's own rows.
const SINGLE: [&str; 25] = [
    "gather_data_sampling=off",
    "indirect_target_selection=off",
    "kvm.nx_huge_pages=off",
    "kvm_intel.vmentry_l1d_flush=never",
    "l1tf=off",
    "mds=off",
    "mmio_stale_data=off",
    "nopti",
    "nosmap",
    "nosmep",
    "nospec_store_bypass_disable",
    "nospectre_v1",
    "nospectre_v2",
    "pti=off",
    "reg_file_data_sampling=off",
    "retbleed=off",
    "spec_rstack_overflow=off",
    "spec_store_bypass_disable=off",
    "spectre_bhi=off",
    "spectre_v2=off",
    "spectre_v2_user=off",
    "srbds=off",
    "tsa=off",
    "tsx_async_abort=off",
    "vmscape=off",
];

/// Words of the command line that turn mitigations off, with the verdict of the worst.
#[derive(Debug, PartialEq, Eq)]
pub struct Weakening {
    /// The words, as they are written.
    pub words: Vec<String>,
    verdict: Verdict,
}

impl Weakening {
    /// What `cmdline` turns off. `software`: a guest is an ordinary process of the host.
    pub fn of(cmdline: &str, software: bool) -> Self {
        // What follows `--` is for init.
        let words = cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
        let judged = words.filter_map(|word| Some((word.to_owned(), judge(word, software)?)));
        let (words, verdicts): (Vec<_>, Vec<_>) = judged.unzip();
        Self { words, verdict: verdicts.into_iter().max().unwrap_or(Verdict::Good) }
    }
}

fn judge(word: &str, software: bool) -> Option<Verdict> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let name = name.replace('-', "_");
    if name == "mitigations" {
        let mut values = value.split(',');
        let has = |list: &[&str]| values.clone().any(|value| list.contains(&value));
        return match () {
            () if has(&OPEN_TO_GUESTS) => Some(Verdict::Unsafe),
            () if has(&OPEN_TO_PROCESSES) && software => Some(Verdict::Unsafe),
            () => values.any(|v| OPEN_TO_PROCESSES.contains(&v)).then_some(Verdict::Warning),
        };
    }
    let known = if value.is_empty() { name } else { format!("{name}={value}") };
    SINGLE.contains(&known.as_str()).then_some(Verdict::Warning)
}

/// The words of this host's command line that turn mitigations off.
pub fn weakening(source: &Source) -> Weakening {
    let cmdline = source.text("/proc/cmdline").unwrap_or_default();
    Weakening::of(&cmdline, Backend::of(source) == Backend::SoftwarePaging)
}

/// Nothing on the command line turns a mitigation off.
pub fn mitigations(source: &Source) -> Finding {
    if let Fact::Absent | Fact::Unreadable(_) = source.read("/proc/cmdline") {
        return Finding::new(Verdict::Note, "/proc/cmdline cannot be read");
    }
    let Weakening { words, verdict } = weakening(source);
    match words.join(" ") {
        none if none.is_empty() => Finding::good("nothing is turned off"),
        words => Finding::new(verdict, &words)
            .fix(format!("boot without {words} (mitigations=auto,nosmt is the strictest)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_turn_mitigations_off() {
        let rows = [
            ("", "", Verdict::Good),
            ("quiet mitigations=auto", "", Verdict::Good),
            ("mitigations=auto,nosmt l1tf=full,force", "", Verdict::Good),
            ("mitigations=off", "mitigations=off", Verdict::Unsafe),
            (
                "a mitigations=auto,no_guest_host b",
                "mitigations=auto,no_guest_host",
                Verdict::Unsafe,
            ),
            ("mitigations=,no_cross_thread", "mitigations=,no_cross_thread", Verdict::Warning),
            ("mitigations=no_user_kernel", "mitigations=no_user_kernel", Verdict::Warning),
            ("mds=off nopti", "mds=off nopti", Verdict::Warning),
            (
                "kvm-intel.vmentry_l1d_flush=never",
                "kvm-intel.vmentry_l1d_flush=never",
                Verdict::Warning,
            ),
            ("quiet -- mitigations=off", "", Verdict::Good),
            ("secret=mds=off mitigationsoff mitigations", "", Verdict::Good),
        ];
        for (cmdline, words, verdict) in rows {
            let found = Weakening::of(cmdline, false);
            assert_eq!(
                (found.words.join(" ").as_str(), found.verdict),
                (words, verdict),
                "{cmdline}"
            );
        }
        let software = Weakening::of("mitigations=auto,no_user_kernel", true);
        assert_eq!(software.verdict, Verdict::Unsafe);
    }
}
