//! The siblings of a core: two guests on one core at the same time share its caches and buffers.

use rustix::io::Errno;

use super::finding::{Finding, Verdict};
use super::setting::{not_understood, unreadable};
use super::source::{Fact, Source};

const ACTIVE: &str = "/sys/devices/system/cpu/smt/active";
const CONTROL: &str = "/sys/devices/system/cpu/smt/control";

fn is_active(source: &Source) -> bool {
    source.text(ACTIVE).as_deref() == Some("1")
}

/// SMT is off, or guests are kept apart by core scheduling.
pub fn smt(source: &Source) -> Finding {
    let text = match source.read(ACTIVE) {
        Fact::Text(text) => text,
        Fact::Absent => return Finding::new(Verdict::Note, format!("{ACTIVE}: not told")),
        Fact::Unreadable(reason) => return unreadable(ACTIVE, &reason),
    };
    let control = source.text(CONTROL).unwrap_or_else(|| "not told".to_owned());
    let read = format!("active = {text}, control = {control}");
    let off = format!("echo off >{CONTROL}; boot with nosmt");
    match text.as_str() {
        "0" => Finding::good(read),
        "1" if source.answers.core_scheduling.is_ok() => Finding::new(Verdict::Note, read).fix(off),
        "1" => Finding::new(Verdict::Warning, read).fix(off),
        _ => not_understood(ACTIVE, &text),
    }
}

/// A sandbox can have cores for itself.
pub fn core_scheduling(source: &Source) -> Finding {
    match source.answers.core_scheduling {
        Ok(()) => Finding::good("available"),
        Err(Errno::NODEV) => Finding::good("not needed: no core has siblings"),
        Err(_) if is_active(source) => Finding::new(Verdict::Warning, "not in this kernel")
            .fix("use a kernel with CONFIG_SCHED_CORE, or boot with nosmt"),
        Err(_) => Finding::good("not in this kernel; not needed while SMT is off"),
    }
}
