//! The report as text: a table for people.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};

use super::finding::{Group, Row, Verdict};
use super::report::{Counts, Report};

const BOLD: Style = Style::new().bold();

/// A verdict's word and colour.
fn mark(verdict: Verdict) -> (&'static str, Style) {
    let colour = |colour: AnsiColor| colour.on_default();
    match verdict {
        Verdict::Good => ("good", colour(AnsiColor::Green)),
        Verdict::Note => ("note", colour(AnsiColor::Cyan)),
        Verdict::Warning => ("warning", colour(AnsiColor::Yellow)),
        Verdict::Unsafe => ("unsafe", colour(AnsiColor::Red).bold()),
        Verdict::CannotRun => ("cannot run", colour(AnsiColor::Red).bold()),
    }
}

/// The longest of the words above, in characters.
const WORD: usize = 10;

/// The whole report, with colours; the stream takes them out where they are not wanted.
pub fn table(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut rest = report.checks.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.iter().position(|row| row.group != first.group).unwrap_or(rest.len());
        let (rows, after) = rest.split_at(end);
        group(&mut text, first.group, rows)?;
        rest = after;
    }
    let (_, style) =
        mark(report.checks.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Good));
    writeln!(text, "{}: {style}{}{style:#}", summary(&report.counts), report.verdict.words())?;
    Ok(text)
}

fn group(text: &mut String, group: Group, rows: &[Row]) -> std::fmt::Result {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    writeln!(text, "{BOLD}{}{BOLD:#}", group.title())?;
    for row in rows {
        let (word, style) = mark(row.verdict);
        writeln!(text, "  {style}{word:WORD$}{style:#}  {:width$}  {}", row.name, row.read)?;
        if row.verdict != Verdict::Good {
            writeln!(text, "  {:WORD$}  why: {}", "", row.why)?;
        }
        if let Some(fix) = &row.fix {
            writeln!(text, "  {:WORD$}  fix: {fix}", "")?;
        }
    }
    writeln!(text)
}

/// `40 good, 12 notes, 1 warning, 2 unsafe`, and what stops casemate, if anything does.
fn summary(counts: &Counts) -> String {
    let many = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let mut line = format!(
        "{} good, {}, {}, {} unsafe",
        counts.good,
        many(counts.note, "note"),
        many(counts.warning, "warning"),
        counts.unsafe_
    );
    if counts.cannot_run > 0 {
        line.push_str(&format!(", {} in the way of running", counts.cannot_run));
    }
    line
}
