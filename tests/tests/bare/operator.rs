//! Where a run meets its operator: a stderr that nobody reads, a terminal that is not the run's to read.

use std::thread;
use std::time::{Duration, Instant};

use bare::Op;
use tests::guests::announce;
use tests::process::{self, PATIENCE};
use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let terminal = &[Need::Kvm, Need::Root, Need::Tool("script")];
    vec![
        Test::new("operator::a_full_stderr_holds_nobody_up", kvm, || unread(FULL)),
        Test::new("operator::a_stderr_without_a_reader_is_no_error", kvm, || unread(GONE)),
        Test::new("operator::a_job_in_front_reads_its_terminal", terminal, || {
            job("$words", "/dev/pts/", 37);
        }),
        Test::new("operator::a_job_behind_does_not", terminal, || {
            job("set -m; $words & wait $!", "/dev/null", 39);
        }),
    ]
}

/// A pipe with a reader that never reads, and no room.
const FULL: &str = "mkfifo p; exec 3<>p; head -c 65536 /dev/zero >&3; exec \"$@\" 2>&3";
/// A pipe without a reader.
const GONE: &str = "mkfifo p; exec 3<>p 4>p; exec 3>&-; exec \"$@\" 2>&4 4>&-";

fn unread(script: &str) {
    let dir = Scratch::new();
    let run = Run::boot(&dir, &announce(Op::Spin)).by(&["sh", "-c", script, "sh"]);
    let end = run.args(&["--timeout", "1500ms"]).end();
    end.exits(124).outcome("timeout").prints("ready\n");
    end.check(end.report.is_some(), "no report");
    end.check(end.took < Duration::from_secs(10), "somebody was held up");
}

/// Runs a guest by a shell on a terminal of its own, and looks what the console worker reads. `mib`: the
/// size of this guest alone, so that its worker is told from those of other tests.
fn job(shell: &str, stdin: &str, mib: u64) {
    let memory = format!("memory={}", mib << 20);
    let dir = Scratch::new();
    let script = format!(
        "printf -v words '%q ' \"$@\"; SHELL=/bin/bash script -qefc \"{}\" /dev/null",
        shell.replace("$!", "\\$!")
    );
    let run = Run::boot(&dir, &announce(Op::Spin)).by(&["bash", "-c", &script, "bash"]);
    let run = run.args(&["--mem", &mib.to_string(), "--timeout", "3s"]).open_stdin().start();
    let begun = Instant::now();
    let found = loop {
        assert!(begun.elapsed() < PATIENCE, "no console worker");
        let mut consoles = process::all();
        consoles.retain(|process| {
            let path = format!("/proc/{}/cmdline", process.pid);
            let words = std::fs::read_to_string(path).unwrap_or_default();
            process.name == "casemate-console" && words.split('\0').any(|word| word == memory)
        });
        match consoles.first().and_then(|console| console.descriptors().remove(&0)) {
            Some(target) => break target,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(found.starts_with(stdin), "stdin is {found}, not {stdin}");
    run.end();
}
