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
