//! The report: every row, and what they come to.

use serde::Serialize;

use super::finding::{Row, Verdict};
use super::source::Source;
use super::table;

/// Whether the host is fit to hold hostile guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitness {
    /// Nothing speaks against it.
    Fit,
    /// There are warnings.
    Warnings,
    /// casemate cannot run, whatever else.
    CannotRun,
    /// A guest can reach the host or another guest.
    Unsafe,
}

impl Fitness {
    /// The exit status that says so.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Fit => 0,
            Self::Warnings => 1,
            Self::CannotRun => 2,
            Self::Unsafe => 3,
        }
    }

    /// The same in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fit => "fit to hold hostile guests",
            Self::Warnings => "fit to hold hostile guests, with reservations",
            Self::CannotRun => "casemate cannot run here",
            Self::Unsafe => "not fit to hold hostile guests",
        }
    }
}

/// How many rows have which verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Good ones.
    pub good: usize,
    /// Notes.
    pub note: usize,
    /// Warnings.
    pub warning: usize,
    /// Unsafe ones.
    #[serde(rename = "unsafe")]
    pub unsafe_: usize,
    /// Those that keep casemate from running.
    #[serde(rename = "cannot-run")]
    pub cannot_run: usize,
}

/// All that the doctor found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The sum of it.
    pub verdict: Fitness,
    /// The exit status.
    pub exit_status: u8,
    /// The verdicts, counted.
    pub counts: Counts,
    /// One row for each check, in the table's order.
    pub checks: Vec<Row>,
}

impl Report {
    /// Does all checks on `source`.
    pub fn of(source: &Source) -> Self {
        let checks = table::rows(source);
        let count = |verdict| checks.iter().filter(|row| row.verdict == verdict).count();
        let counts = Counts {
            good: count(Verdict::Good),
            note: count(Verdict::Note),
            warning: count(Verdict::Warning),
            unsafe_: count(Verdict::Unsafe),
            cannot_run: count(Verdict::CannotRun),
        };
        let verdict = match checks.iter().map(|row| row.verdict).max() {
            Some(Verdict::CannotRun) => Fitness::CannotRun,
            Some(Verdict::Unsafe) => Fitness::Unsafe,
            Some(Verdict::Warning) => Fitness::Warnings,
            Some(Verdict::Note | Verdict::Good) | None => Fitness::Fit,
        };
        Self { verdict, exit_status: verdict.exit_status(), counts, checks }
    }
}
