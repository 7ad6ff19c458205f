//! The host's kernel: its age, and what it does when a worker crashes.

use std::time::Duration;

use super::finding::{Finding, Verdict};
use super::setting::unreadable;
use super::source::{Fact, Source};
use crate::host::chosen;

/// Months after which a kernel lacks fixes that are known to everybody.
const OLD: u64 = 12;
/// Months after which it is time for a newer one.
const AGEING: u64 = 4;

/// Months since the year 0, of a moment given as the time since 1970.
fn month_of(now: Duration) -> u64 {
    /// Seconds in an average month.
    const MONTH: u64 = 2_629_746;
    1970 * 12 + now.as_secs() / MONTH
}

/// Months since the year 0 of the day a kernel was built, from its version line:
/// `… (2025-05-22)` or `… Tue Sep 9 14:12:21 UTC 2025`.
fn month_built(version: &str) -> Option<u64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words = || version.split(|c: char| c.is_whitespace() || c == '(' || c == ')');
    let year = |word: &str| word.parse::<u64>().ok().filter(|year| (2015..2100).contains(year));
    let day = |word: &str| -> Option<u64> {
        let (y, rest) = word.split_once('-')?;
        let (month, _) = rest.split_once('-')?;
        let month: u64 = month.parse().ok().filter(|month| (1..=12).contains(month))?;
        Some(year(y)? * 12 + month - 1)
    };
    let named = || {
        let month = words().find_map(|word| NAMES.iter().position(|name| *name == word))?;
        Some(words().filter_map(year).next_back()? * 12 + u64::try_from(month).ok()?)
    };
    words().find_map(day).or_else(named)
}

/// How old the kernel is.
pub fn age(source: &Source) -> Finding {
    let text = |path| source.text(path).unwrap_or_default();
    let release = text("/proc/sys/kernel/osrelease");
    let version = text("/proc/sys/kernel/version");
    let Some(built) = month_built(&version) else {
        return Finding::new(
            Verdict::Note,
            format!("{release}: built at an unknown time ({version})"),
        )
        .fix("see that it gets security fixes");
    };
    let months = month_of(source.answers.now).saturating_sub(built);
    let read = match months {
        0 => format!("{release}: built this month"),
        1 => format!("{release}: built last month"),
        months => format!("{release}: built {months} months ago"),
    };
    let fix = "install the distribution's newest kernel and reboot";
    match months {
        OLD.. => Finding::new(Verdict::Warning, read).fix(fix),
        AGEING.. => Finding::new(Verdict::Note, read).fix(fix),
        _ => Finding::good(read),
    }
}

/// A crash of a worker starts no program as root.
pub fn core_pattern(source: &Source) -> Finding {
    let path = "/proc/sys/kernel/core_pattern";
    match source.read(path) {
        Fact::Text(text) if text.starts_with('|') => {
            Finding::new(Verdict::Note, format!("kernel.core_pattern = {text}"))
                .fix("sysctl -w kernel.core_pattern=core")
        }
        Fact::Text(text) => Finding::good(format!("kernel.core_pattern = {text}")),
        Fact::Absent => Finding::good("the kernel writes no core dumps"),
        Fact::Unreadable(reason) => unreadable(path, &reason),
    }
}

/// Not even root alters the running kernel.
pub fn lockdown(source: &Source) -> Finding {
    let path = "/sys/kernel/security/lockdown";
    let fix = "boot with lockdown=integrity (and securityfs mounted)";
    match source.read(path) {
        Fact::Text(text) => match chosen(&text) {
            Some("integrity" | "confidentiality") => Finding::good(text),
            _ => Finding::new(Verdict::Note, text).fix(fix),
        },
        Fact::Absent => Finding::new(Verdict::Note, format!("{path}: not told")).fix(fix),
        Fact::Unreadable(reason) => unreadable(path, &reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_times() {
        let month = |year: u64, month: u64| Some(year * 12 + month - 1);
        let rows = [
            ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)", month(2025, 5)),
            ("#28~22.04.1-Ubuntu SMP Tue Sep  9 14:12:21 UTC 2025", month(2025, 9)),
            ("#1 SMP PREEMPT_DYNAMIC Mon Dec 30 12:00:00 CET 2024", month(2024, 12)),
            ("#1-NixOS SMP PREEMPT_DYNAMIC Tue Jan  1 00:00:00 UTC 1980", None),
            ("#1 SMP PREEMPT_DYNAMIC @0", None),
            ("(2025-13-01) (2025-00-01) (-1-1-1) 2025-", None),
            ("Jan", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(month_built(text), expected, "{text}");
        }
        assert_eq!(Some(month_of(Duration::from_secs(1_763_942_400))), month(2025, 11));
        assert_eq!(Some(month_of(Duration::ZERO)), month(1970, 1));
    }
}
