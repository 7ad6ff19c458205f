//! Exit status, streams, environment, signals.

use rustix::process::Signal;
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::Test;

use crate::{NEEDS, run};

struct Row {
    name: &'static str,
    options: &'static [&'static str],
    command: &'static [&'static str],
    status: i32,
    outcome: &'static str,
    stdout: &'static str,
    /// Words of casemate's line on stderr; none when there is to be no line.
    words: &'static [&'static str],
}

const PLAIN: Row = Row {
    name: "",
    options: &[],
    command: &[],
    status: 0,
    outcome: "exited",
    stdout: "",
    words: &[],
};

const ROWS: [Row; 8] = [
    Row {
        name: "python_prints_a_computed_result",
        command: &["python3", "-c", "print(6*7)"],
        stdout: "42\n",
        ..PLAIN
    },
    Row { name: "code_7", command: &["sh", "-c", "exit 7"], status: 7, ..PLAIN },
    Row { name: "code_255", command: &["sh", "-c", "exit 255"], status: 255, ..PLAIN },
    Row {
        name: "death_by_a_signal",
        command: &["sh", "-c", "kill -9 $$"],
        status: 137,
        outcome: "signaled",
        ..PLAIN
    },
    Row {
        name: "a_command_that_is_not_there",
        command: &["no-such-command"],
        status: 127,
        outcome: "not-found",
        words: &["no-such-command"],
        ..PLAIN
    },
    Row {
        name: "a_command_that_cannot_be_executed",
        command: &["/etc/passwd"],
        status: 126,
        outcome: "not-executable",
        words: &["/etc/passwd"],
        ..PLAIN
    },
    Row {
        name: "environment_directory_user_and_host_name",
        options: &[
            "--env",
            "A=b c=d",
            "--workdir",
            "/usr",
            "--user",
            "1000:1001",
            "--hostname",
            "inner",
        ],
        command: &[
            "sh",
            "-c",
            "echo \"$A|$(pwd)|$(id -u):$(id -g)|$(cat /proc/sys/kernel/hostname)\"",
        ],
        stdout: "b c=d|/usr|1000:1001|inner\n",
        ..PLAIN
    },
    Row {
        name: "a_private_root_without_a_network",
        command: &[
            "sh",
            "-c",
            "echo x >/etc/x && cat /etc/x && ls /sys/class/net && ls /sys/bus/virtio/devices | wc -l",
        ],
        stdout: "x\nlo\n3\n",
        ..PLAIN
    },
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS
        .into_iter()
        .map(|row| Test::new(format!("commands::{}", row.name), NEEDS, move || check(&row)));
    let others = [
        Test::new("commands::ten_mebibytes_through_cat", NEEDS, through_cat),
        Test::new("commands::stdout_and_stderr_stay_apart", NEEDS, streams_stay_apart),
        Test::new("commands::a_closed_stdout_is_a_broken_pipe", NEEDS, closed_stdout),
        Test::new("commands::a_signal_reaches_the_command", NEEDS, forwarded_signal),
    ];
    rows.chain(others).collect()
}

fn check(row: &Row) {
    let dir = Scratch::new();
    let end = run(&dir).args(row.options).args(&["--"]).args(row.command).end();
    end.exits(row.status).outcome(row.outcome).prints(row.stdout);
    if row.words.is_empty() {
        end.is_silent();
    } else {
        end.explains(row.words);
    }
}

fn through_cat() {
    let dir = Scratch::new();
    let bytes = noise(1, 10 << 20);
    let end = run(&dir).args(&["--", "cat"]).stdin(bytes.clone()).end();
    end.exits(0).is_silent();
    assert_same(&end.stdout, &bytes, "what cat returned");
}

fn streams_stay_apart() {
    let dir = Scratch::new();
    let script = "for i in $(seq 200); do echo out $i; echo err $i >&2; done";
    let end = run(&dir).args(&["--", "sh", "-c", script]).end();
    let lines = |word: &str| (1..=200).map(|i| format!("{word} {i}\n")).collect::<String>();
    end.exits(0).prints(&lines("out"));
    end.check(end.stderr == lines("err"), "stderr is not what the command wrote");
}

fn closed_stdout() {
    let dir = Scratch::new();
    let mut running = run(&dir).args(&["--", "yes"]).start();
    let mut stdout = running.stdout();
    std::io::Read::read_exact(&mut stdout, &mut [0; 1000]).unwrap();
    drop(stdout);
    running.end().exits(141).outcome("signaled");
}

fn forwarded_signal() {
    let dir = Scratch::new();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 1; done";
    let mut running = run(&dir).args(&["--", "sh", "-c", script]).start();
    running.await_stdout("ready");
    running.signal(Signal::TERM);
    running.end().exits(5).prints("ready\ncaught\n");
}
