//! What is printed.

use std::collections::BTreeSet;

use clap::{Args, Command};
use serde_json::Value;

use super::tree::Tree;
use crate::doctor::{DoctorArgs, json, text};

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn json_has_every_check_with_every_field() {
    let tree = Tree::ideal()
        .with("proc/sys/kernel/core_pattern", "|\"\\\x1b[31m\u{202e}\n")
        .with("proc/sys/kernel/randomize_va_space", "0");
    let report: Value = serde_json::from_str(&json(&tree.report()).unwrap()).unwrap();
    assert_eq!(report["verdict"], "warnings");
    assert_eq!(report["exit_status"], 1);
    let checks = report["checks"].as_array().unwrap();
    let counts = report["counts"].as_object().unwrap();
    let total: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(total, u64::try_from(checks.len()).unwrap());
    let verdicts = ["good", "note", "warning", "unsafe", "cannot-run"];
    assert_eq!(
        counts.keys().collect::<BTreeSet<_>>(),
        verdicts.map(str::to_owned).iter().collect()
    );
    for check in checks {
        let field = |name: &str| check[name].as_str().unwrap_or_else(|| panic!("{name}: {check}"));
        assert!(verdicts.contains(&field("verdict")));
        for name in ["group", "name", "read", "why"] {
            assert!(!field(name).is_empty(), "{name}: {check}");
        }
        assert!(check["fix"].is_string() || check["fix"].is_null());
    }
}

#[test]
fn names_are_unique_and_for_scripts() {
    let report = Tree::ideal().report();
    let names: BTreeSet<&str> = report.checks.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), report.checks.len());
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_/".contains(c);
    assert!(names.iter().all(|name| name.chars().all(letters)), "{names:?}");
}

#[test]
fn the_table_is_aligned_and_says_how_to_mend_what_is_not_good() {
    let tree = Tree::ideal()
        .with("proc/cmdline", "mitigations=off")
        .with("sys/kernel/mm/ksm/run", "1")
        .without("dev/kvm");
    let report = tree.report();
    let coloured = text::table(&report).unwrap();
    assert!(coloured.contains("\u{1b}["));
    let table = plain(&coloured);
    for row in &report.checks {
        let line = table.lines().find(|line| line.split_ascii_whitespace().any(|w| w == row.name));
        assert!(line.is_some_and(|line| line.ends_with(&row.read)), "{}", row.name);
    }
    let fixes = report.checks.iter().filter(|row| row.fix.is_some()).count();
    assert_eq!(table.lines().filter(|line| line.trim_start().starts_with("fix: ")).count(), fixes);
    let memory: Vec<&str> = table
        .lines()
        .skip_while(|line| *line != "Memory")
        .take_while(|line| !line.is_empty())
        .collect();
    let expected = [
        "Memory",
        "  warning     ksm         /sys/kernel/mm/ksm/run = 1",
        "              why: merged pages let one guest find out what another has in memory",
        "              fix: echo 2 >/sys/kernel/mm/ksm/run; systemctl disable --now ksm ksmtuned",
        "  good        swap        none",
        "  good        zswap       /sys/module/zswap/parameters/enabled = N",
    ];
    assert_eq!(memory[..6], expected);
    let last = table.lines().last().unwrap();
    assert!(
        last.ends_with(
            "1 note, 1 warning, 1 unsafe, 1 in the way of running: casemate cannot run here"
        ),
        "{last}"
    );
}

#[test]
fn help_tells_the_exit_statuses() {
    let mut command = DoctorArgs::augment_args(Command::new("doctor"));
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    for line in ["0  fit", "1  warnings", "2  casemate cannot run", "3  unsafe", "--json"] {
        assert!(help.contains(line), "{line}: {help}");
    }
}
