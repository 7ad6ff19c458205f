//! A number in a file of its own, as most of the kernel's settings are.

use std::ops::RangeInclusive;

use super::finding::{Finding, Verdict};
use super::source::{Fact, Source};

/// What such a number should be.
#[derive(Debug)]
pub struct Setting {
    /// The file.
    pub path: &'static str,
    /// The values that are good.
    pub good: &'static [RangeInclusive<i64>],
    /// What any other value is.
    pub otherwise: Verdict,
    /// What the file's absence is, what it means, and how to mend that.
    pub absent: (Verdict, &'static str, Option<&'static str>),
    /// How to mend it.
    pub fix: &'static str,
}

impl Setting {
    /// Reads and judges it.
    pub fn find(&self, source: &Source) -> Finding {
        match source.read(self.path) {
            Fact::Text(text) => self.judge(&text),
            Fact::Absent => {
                let (verdict, meaning, fix) = self.absent;
                let read = format!("{}: {meaning}", name(self.path));
                Finding { verdict, read, fix: fix.map(str::to_owned) }
            }
            Fact::Unreadable(reason) => unreadable(self.path, &reason),
        }
    }

    fn judge(&self, text: &str) -> Finding {
        let read = format!("{} = {text}", name(self.path));
        match number(text) {
            Some(value) if self.good.iter().any(|good| good.contains(&value)) => {
                Finding::good(read)
            }
            Some(_) => Finding::new(self.otherwise, read).fix(self.fix),
            None => not_understood(self.path, text),
        }
    }
}

/// The finding for a file that is there and cannot be read.
pub fn unreadable(path: &str, reason: &str) -> Finding {
    Finding::new(Verdict::Note, format!("{}: {reason}", name(path))).fix("run the doctor as root")
}

/// The finding for a file whose text makes no sense.
pub fn not_understood(path: &str, text: &str) -> Finding {
    let text = if text.is_empty() { "(nothing)" } else { text };
    Finding::new(Verdict::Warning, format!("{} = {text}: not understood", name(path)))
}

/// A number, or one of a kernel module's truth values.
pub fn number(text: &str) -> Option<i64> {
    match text {
        "Y" | "y" => Some(1),
        "N" | "n" => Some(0),
        _ => text.parse().ok(),
    }
}

/// A file's name as people know it: sysctls with dots, all others as they are.
pub fn name(path: &str) -> String {
    match path.strip_prefix("/proc/sys/") {
        Some(sysctl) => sysctl.replace('/', "."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_truth_values() {
        let rows = [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("Y", Some(1)),
            ("N", Some(0)),
            ("", None),
            ("yes", None),
            ("99999999999999999999", None),
            ("1 2", None),
        ];
        for (text, expected) in rows {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(name("/proc/sys/kernel/yama/ptrace_scope"), "kernel.yama.ptrace_scope");
        assert_eq!(name("/sys/kernel/mm/ksm/run"), "/sys/kernel/mm/ksm/run");
    }
}
