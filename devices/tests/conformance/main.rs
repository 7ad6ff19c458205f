//! virtio 1.2, statement by statement: which test shows that we keep it, or why it is not ours.
//!
//! The aim is a row for every driver and device requirement that applies to split virtqueues,
//! virtio-mmio, the block and the console device; the document says how far that was checked. A
//! statement about the
//! driver is about what happens when a driver does not keep it. `CONFORMANCE.md` is made of these
//! tables; with `CASEMATE_WRITE` set, it is written instead of compared.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

mod basic;
mod blk;
mod console;
mod ring;
mod transport;

/// Who has to keep a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Driver,
    Device,
}

/// How a statement is met.
#[derive(Clone, Copy, Debug)]
enum Met {
    /// These tests show it: their files below `devices`, and their names.
    Shown(&'static [(&'static str, &'static str)]),
    /// It does not apply, for this reason.
    Not(&'static str),
}

/// One statement: its section, whose it is, what it says in our words, how it is met.
type Row = (&'static str, Who, &'static str, Met);

/// Chapters in order.
fn chapters() -> [(&'static str, &'static [Row]); 5] {
    [
        ("Device status, features, configuration space", basic::ROWS),
        ("Split virtqueues", ring::ROWS),
        ("Initialisation, virtio-mmio, reserved features", transport::ROWS),
        ("Block device", blk::ROWS),
        ("Console device", console::ROWS),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the tests in a file.
fn tests(path: &Path) -> BTreeSet<String> {
    let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[test]")
        .filter_map(|pair| pair[1].strip_prefix("fn ")?.strip_suffix("() {"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_row_has_a_test_that_exists_or_a_reason() {
    for (_, rows) in chapters() {
        for (section, _, says, met) in rows {
            match met {
                Met::Shown(named) => {
                    assert!(!named.is_empty(), "§{section}: {says}");
                    for (file, test) in *named {
                        let found = tests(&folder().join(file)).contains(*test);
                        assert!(found, "§{section}: there is no test {test} in {file}");
                    }
                }
                Met::Not(reason) => assert!(reason.len() > 10, "§{section}: {says}"),
            }
        }
    }
}

#[test]
fn statements_are_in_order_and_not_twice() {
    let number = |section: &str| -> Vec<u32> {
        section.split('.').map(|part| part.parse().unwrap()).collect()
    };
    let mut seen = BTreeSet::new();
    for (chapter, rows) in chapters() {
        let sections = rows.iter().map(|row| number(row.0));
        assert!(sections.is_sorted(), "{chapter}: sections are not in order");
        for (section, who, says, _) in rows {
            assert!(seen.insert((section, *who == Who::Driver, says)), "§{section}: {says}");
        }
    }
}

#[test]
fn the_document_is_the_table() {
    let path = folder().join("CONFORMANCE.md");
    let text = document();
    if std::env::var_os("CASEMATE_WRITE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let same = fs::read_to_string(&path).is_ok_and(|there| there == text);
    assert!(same, "CONFORMANCE.md is old: run this test with CASEMATE_WRITE=1");
}

fn document() -> String {
    let rows = || chapters().into_iter().flat_map(|(_, rows)| rows);
    let shown = rows().filter(|row| matches!(row.3, Met::Shown(_))).count();
    let mut text = format!(
        "# Conformance to virtio 1.2\n\n\
         Made by `cargo test -p devices --test conformance`, which fails when a test named here is \
         gone or this file is old. {} statements in our own words: {} shown by tests, {} that do \
         not apply, with the reason. A statement about the driver is shown by what the device does \
         when a driver does not keep it.\n\n\
         Every section was read side by side with the sources of the standard, in revisions around \
         1.2: what a later revision added is left out unless it is said here.\n",
        rows().count(),
        shown,
        rows().count() - shown,
    );
    for (chapter, rows) in chapters() {
        write!(text, "\n## {chapter}\n\n| § | whose | says | shown by |\n|---|---|---|---|\n")
            .unwrap();
        for (section, who, says, met) in rows {
            let met = match met {
                Met::Not(reason) => format!("– {reason}"),
                Met::Shown(named) => {
                    let named = named.iter().map(|(file, test)| {
                        let file = file.trim_start_matches("tests/").trim_end_matches(".rs");
                        format!("`{file}` {}", test.replace('_', " "))
                    });
                    named.collect::<Vec<_>>().join("; ")
                }
            };
            let who = format!("{who:?}").to_lowercase();
            writeln!(text, "| {section} | {who} | {says} | {met} |").unwrap();
        }
    }
    text
}
