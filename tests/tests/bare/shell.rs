//! What helps at a shell: `ps`, completions, manual pages, tables as JSON, no colours where they hurt.

use std::time::{Duration, Instant};

use bare::Op;
use rustix::process::Signal;
use serde_json::Value;
use tests::guests::{READY, announce};
use tests::run::{REPORT, Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("shell::ps_lists_what_runs", &[Need::Kvm], ps_lists),
        Test::new("shell::ps_forgets_what_was_killed", &[Need::Kvm], ps_forgets),
        Test::new("shell::ps_lists_nobody_elses", &[Need::Kvm, Need::Root], ps_of_another),
        Test::new("shell::completions_know_every_subcommand", &[], completions),
        Test::new("shell::there_is_a_page_for_every_subcommand", &[], pages),
        Test::new("shell::every_table_is_there_as_json", &[], tables),
    ]
}

/// The sandboxes that `ps --json` lists, by their launchers' process ids.
fn listed(dir: &Scratch) -> Vec<Value> {
    let end = Run::new(dir, &["ps", "--json"]).end();
    end.exits(0).is_silent();
    serde_json::from_slice::<Value>(&end.stdout).unwrap().as_array().unwrap().clone()
}

fn find(dir: &Scratch, running: &Running) -> Option<Value> {
    let pid = i64::from(running.pid().as_raw_nonzero().get());
    listed(dir).into_iter().find(|sandbox| sandbox["pid"].as_i64() == Some(pid))
}

fn ps_lists() {
    let dir = Scratch::new();
    let args = ["--cpus", "3", "--mem", "96M"];
    let mut running = Run::boot(&dir, &announce(Op::Halt)).args(&args).start();
    running.await_stdout(READY);
    let found = find(&dir, &running).unwrap();
    assert_eq!(found["cpus"], 3);
    assert_eq!(found["memory_bytes"], 96 << 20);
    assert_eq!(found["kernel"], "guest.elf");
    assert_eq!(found["state"], "running");
    assert!(found["age_seconds"].as_u64().unwrap() < 60, "{found}");
    let started = found["started"].as_str().unwrap();
    assert!(started.starts_with("20") && started.ends_with('Z'), "{found}");
    // Of the launcher's clones none is listed, and `ps` itself is not. Other tests run guests meanwhile.
    let others = listed(&dir);
    let is_same = |sandbox: &&Value| {
        ["kernel", "cpus", "memory_bytes"].iter().all(|key| sandbox[key] == found[key])
    };
    assert_eq!(others.iter().filter(is_same).count(), 1, "{others:?}");

    let table = Run::new(&dir, &["ps"]).end();
    let table = String::from_utf8(table.stdout.clone()).unwrap();
    let id = found["id"].as_str().unwrap();
    let line = table.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{table}"));
    for part in ["running", " 3 ", " 96M ", "kernel guest.elf"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143);
    assert_eq!(end.text("id"), id, "the report has another id");
}

/// Nothing is left after `kill -9`, the janitor neither once it is through.
fn ps_forgets() {
    let dir = Scratch::new();
    let mut running = Run::boot(&dir, &announce(Op::Halt)).start();
    running.await_stdout(READY);
    let id = find(&dir, &running).unwrap()["id"].clone();
    running.signal(Signal::KILL);
    let until = Instant::now() + Duration::from_secs(1);
    while !listed(&dir).iter().all(|sandbox| sandbox["id"] != id) {
        assert!(Instant::now() < until, "still listed");
    }
    running.end();
}

fn ps_of_another() {
    let dir = Scratch::new();
    let mut running = Run::boot(&dir, &announce(Op::Halt)).as_user().start();
    running.await_stdout(READY);
    assert_eq!(find(&dir, &running), None, "root is told of another user's");
    let elsewhere = Scratch::new();
    let end = Run::new(&elsewhere, &["ps", "--json"]).unprivileged().end();
    let text = String::from_utf8(end.stdout.clone()).unwrap();
    assert!(text.contains("\"state\": \"running\""), "his own is not listed: {text}");
    running.signal(Signal::KILL);
    running.end();
}

const SUBCOMMANDS: [&str; 9] =
    ["run", "boot", "doctor", "drill", "image", "kernel", "ps", "completions", "man"];

fn completions() {
    let dir = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let end = Run::new(&dir, &["completions", shell]).end();
        end.exits(0).is_silent();
        let script = String::from_utf8(end.stdout.clone()).unwrap();
        for word in SUBCOMMANDS.iter().chain(&["max-output-rate"]) {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    dir.write("casemate.bash", Run::new(&dir, &["completions", "bash"]).end().stdout);
    let script = ". ./casemate.bash && COMP_WORDS=(casemate run --max-output) COMP_CWORD=2 &&
                  _casemate casemate --max-output run && printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(dir.dir())
        .output()
        .unwrap();
    let offered = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(offered, "--max-output\n--max-output-rate\n", "{output:?}");
    Run::new(&dir, &["completions", "cmd"]).end().exits(2).explains(&["cmd"]);
}

fn pages() {
    let dir = Scratch::new();
    std::fs::create_dir(dir.path("man")).unwrap();
    Run::new(&dir, &["man", "man"]).end().exits(0).is_silent().prints("");
    for name in SUBCOMMANDS.iter().chain(&["image-build", "image-inspect", "kernel-check"]) {
        let page = std::fs::read_to_string(dir.path(&format!("man/casemate-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let end = Run::new(&dir, &["man"]).end();
    end.exits(0).is_silent();
    let own = std::fs::read_to_string(dir.path("man/casemate.1")).unwrap();
    assert_eq!(String::from_utf8_lossy(&end.stdout), own);
    assert!(own.contains("118") && own.contains("\\-run(1)"), "{own}");
    Run::new(&dir, &["man", "missing"]).end().exits(125).explains(&["missing", "No such file"]);
}

/// And none of them has a colour in it when stdout is a pipe.
fn tables() {
    let dir = Scratch::new();
    let rows: [&[&str]; 3] = [&["doctor"], &["drill", "--list"], &["ps"]];
    for args in rows {
        let json = Run::new(&dir, &[args, &["--json"]].concat()).end();
        assert!(serde_json::from_slice::<Value>(&json.stdout).is_ok(), "{args:?}");
        let table = Run::new(&dir, args).end();
        let coloured = [&json.stdout, &table.stdout].iter().any(|text| text.contains(&0x1b));
        assert!(!coloured, "{args:?} has colours in a pipe");
    }
    let list = Run::new(&dir, &["drill", "--list", "--json"]).end();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list.as_array().is_some_and(|rows| rows.len() > 100 && rows[0]["what"].is_string()));
    assert!(list[0]["technique"].is_string() && dir.list().iter().all(|name| name != REPORT));
}
