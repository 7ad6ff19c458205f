//! Stdin, stdout and stderr of a command.

use std::io::Read;

use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::Test;

use crate::{NEEDS, run, script};

const MIB: usize = 1 << 20;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("streams::ten_mib_through_cat", NEEDS, through_cat),
        Test::new("streams::stdout_and_stderr_stay_apart", NEEDS, apart),
        Test::new("streams::a_closed_stdout_is_a_broken_pipe", NEEDS, closed_stdout),
        Test::new("streams::a_slow_reader_gets_everything", NEEDS, slow_reader),
        Test::new("streams::too_much_is_dropped_and_counted", NEEDS, too_much),
        Test::new("streams::too_fast_is_held_back", NEEDS, too_fast),
    ]
}

fn through_cat() {
    let dir = Scratch::new();
    let bytes = noise(1, 10 * MIB);
    // The guest's own sum of what it got, so that a fault on one way is told from one on the other.
    let script = script("tee /tmp/copy && sha256sum </tmp/copy >&2");
    let end = run(&dir, &["--mem", "256M"], &script).stdin(bytes.clone()).end();
    end.exits(0);
    assert_same(&end.stdout, &bytes, "what came back");
    dir.write("copy", &bytes);
    let expected = crate::tool(&dir, "sh", &["-c", "sha256sum <copy"]);
    end.check(end.stderr.as_bytes() == expected, "the guest got something else");
}

fn apart() {
    let dir = Scratch::new();
    let text = "for i in $(seq 500); do echo out $i; echo err $i >&2; done";
    let end = run(&dir, &[], &script(text)).end();
    let lines = |word: &str| (1..=500).map(|i| format!("{word} {i}\n")).collect::<String>();
    end.exits(0).prints(&lines("out"));
    end.check(end.stderr == lines("err"), "stderr is not what the command wrote");
}

fn closed_stdout() {
    let dir = Scratch::new();
    let mut running = run(&dir, &[], &["yes"]).open_stdin().start();
    let mut stdout = running.stdout();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    running.end().exits(141).outcome("signaled").is_silent();
}

/// The command has long ended, as far as it is concerned, when its output is read.
fn slow_reader() {
    let dir = Scratch::new();
    let text = "seq 100000; echo done >&2; exit 3";
    let mut running = run(&dir, &[], &script(text)).start();
    let mut stdout = running.stdout();
    let mut first = [0; 2];
    stdout.read_exact(&mut first).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let mut found = first.to_vec();
    stdout.read_to_end(&mut found).unwrap();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_same(&found, expected.as_bytes(), "stdout");
    let end = running.end();
    end.exits(3).check(end.stderr == "done\n", "stderr is not what the command wrote");
}

/// Each stream has its own amount, and the command is none the wiser.
fn too_much() {
    let dir = Scratch::new();
    let text = "yes out | head -c 300000; yes err | head -c 200000 >&2; exit 3";
    let end = run(&dir, &["--max-output", "100K"], &script(text)).end();
    end.exits(3).outcome("exited");
    assert_same(&end.stdout, &b"out\n".repeat(25_600), "stdout");
    let (dropped_out, dropped_err) = (300_000 - 102_400, 200_000 - 102_400);
    let line = format!(
        "casemate: dropped {dropped_out} bytes of stdout and {dropped_err} bytes of stderr \
         (--max-output)\n"
    );
    let expected = "err\n".repeat(25_600) + &line;
    assert_same(end.stderr.as_bytes(), expected.as_bytes(), "stderr");
    let dropped = end.report.as_ref().unwrap()["limits"]["dropped"].clone();
    end.check(dropped["stdout_bytes"] == dropped_out, "the report has another count");
    end.check(dropped["stderr_bytes"] == dropped_err, "the report has another count");
}

fn too_fast() {
    let dir = Scratch::new();
    let text = "yes out | head -c 300000; exit 3";
    let end = run(&dir, &["--max-output-rate", "100K"], &script(text)).end();
    end.exits(3).is_silent();
    assert_same(&end.stdout, &b"out\n".repeat(75_000), "stdout");
    let took = end.phase("command_ended").unwrap() - end.phase("command_started").unwrap();
    end.check(took > 2500.0, "it was faster than its rate");
}
