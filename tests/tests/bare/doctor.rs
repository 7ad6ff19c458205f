//! `casemate doctor` on the host that the tests run on, whatever it is like.

use serde_json::Value;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::Test;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("doctor::json_and_exit_status_agree", &[], || json(false)),
        Test::new("doctor::as_a_user_too", &[], || json(true)),
        Test::new("doctor::a_table_for_people", &[], table),
    ]
}

/// Checks that every host has something to say about.
const NAMES: [&str; 8] =
    ["kvm", "backend", "mitigations", "smt", "landlock", "seccomp", "cgroup", "core-pattern"];

fn json(unprivileged: bool) {
    let dir = Scratch::new();
    let run = Run::new(&dir, &["doctor", "--json"]);
    let end = if unprivileged { run.unprivileged().end() } else { run.end() };
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    let status = report["exit_status"].as_i64().unwrap();
    end.check(end.code.map(i64::from) == Some(status), "another exit status than the report's");
    end.check((0..=3).contains(&status), "an exit status that is not documented").is_silent();
    let checks = report["checks"].as_array().unwrap();
    for name in NAMES {
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check {name}"));
        assert!(!check["read"].as_str().unwrap().is_empty(), "{name}: nothing read");
    }
    let bad = checks.iter().any(|check| check["verdict"] == "cannot-run");
    assert_eq!(bad, status == 2, "cannot run, and status {status}");
}

fn table() {
    let dir = Scratch::new();
    let end = Run::new(&dir, &["doctor"]).end();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    end.check(!text.contains('\u{1b}'), "colours, and stdout is no terminal").is_silent();
    for heading in ["KVM\n", "CPU\n", "Memory\n", "Jail\n", "Kernel\n", "Platform\n"] {
        end.check(text.contains(heading), heading);
    }
}
