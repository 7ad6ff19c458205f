//! `--config` and `--print-config`: a file stands for options, if and only if it is named.

use bare::Op;
use tests::guests::announce;
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    vec![
        Test::new("profiles::a_profile_stands_for_options", kvm, stands_for_options),
        Test::new("profiles::the_command_line_wins", kvm, command_line_wins),
        Test::new("profiles::no_file_is_read_that_is_not_named", kvm, not_unasked),
        Test::new("profiles::what_is_printed_runs_the_same", kvm, round_trip),
        Test::new("profiles::what_is_wrong_is_a_usage_error", &[], wrong),
    ]
}

const PROFILE: &str = "kernel = \"guest.elf\"\nreport = \"report.json\"\ncpus = 2\nmem = 64\n\
                       insecure-allow-missing = [\"core-sched\"]\n";

fn directory() -> Scratch {
    let dir = Scratch::new();
    dir.write(KERNEL, bare::elf(&announce(Op::Exit(7))));
    dir.write("p.toml", PROFILE);
    dir
}

/// Memory of the run, and what weakened it, as its report has them.
fn found(dir: &Scratch) -> (u64, Vec<String>) {
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path(REPORT)).unwrap()).unwrap();
    let space = report["limits"]["worker_address_space_bytes"].as_u64().unwrap();
    let insecure = report["insecure"].as_array().unwrap().iter();
    let insecure = insecure.map(|option| option.as_str().unwrap().to_owned()).collect();
    ((space >> 20) - 256, insecure)
}

fn stands_for_options() {
    let dir = directory();
    Run::new(&dir, &["boot", "--config", "p.toml"]).end().exits(7);
    assert_eq!(found(&dir), (64, vec!["insecure-allow-missing core-sched".to_owned()]));
}

fn command_line_wins() {
    let dir = directory();
    let more = ["boot", "--mem=96M", "--config", "p.toml", "--insecure-allow-missing=cgroup"];
    Run::new(&dir, &more).end().exits(7);
    assert_eq!(found(&dir), (96, vec!["insecure-allow-missing cgroup".to_owned()]));
}

fn not_unasked() {
    let dir = directory();
    for name in ["casemate.toml", ".casemate.toml"] {
        dir.write(name, format!("{PROFILE}no such key\n"));
    }
    Run::new(&dir, &["boot", "--kernel", KERNEL, "--report", REPORT]).end().exits(7);
    assert_eq!(found(&dir), (512, Vec::new()));
}

fn round_trip() {
    let dir = directory();
    let args = ["boot", "--config", "p.toml", "--print-config", "--cmdline", "a \"b\"\tc"];
    let before = dir.list();
    let end = Run::new(&dir, &args).end();
    end.exits(0).is_silent();
    assert_eq!(dir.list(), before, "it ran, or left something");
    let printed = String::from_utf8(end.stdout.clone()).unwrap();
    for line in ["cpus = 2", "mem = 64", "timeout = \"1h\"", "kernel = \"guest.elf\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    dir.write("printed.toml", &printed);
    let again = Run::new(&dir, &["boot", "--config", "printed.toml", "--print-config"]).end();
    assert_eq!(String::from_utf8_lossy(&again.stdout), printed);
    Run::new(&dir, &["boot", "--config", "printed.toml"]).end().exits(7);
    assert_eq!(found(&dir), (64, vec!["insecure-allow-missing core-sched".to_owned()]));
}

fn wrong() {
    let rows: [(&str, &[&str]); 4] = [
        ("mem = 64\ncpu = 2\n", &["\"p.toml\"", "line 2", "\"cpu\"", "did you mean \"cpus\"?"]),
        ("mem = 64\nmem 2\n", &["\"p.toml\"", "line 2"]),
        ("cpus = 99\n", &["\"p.toml\"", "line 1", "--cpus", "99"]),
        ("command = [\"true\"]\n", &["line 1", "\"command\""]),
    ];
    let dir = directory();
    for (profile, words) in rows {
        dir.write("p.toml", profile);
        let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--config", "p.toml"]).end();
        end.exits(2).prints("").explains(words);
    }
    let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--config", "missing"]).end();
    end.exits(2).prints("").explains(&["profile", "\"missing\"", "No such file"]);
}
