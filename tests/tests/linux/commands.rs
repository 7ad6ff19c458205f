//! A command: its exit status, and what it finds around it.

use tests::scratch::Scratch;
use tests::suite::Test;

use crate::{NEEDS, run, script};

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

const ROWS: [Row; 9] = [
    Row {
        name: "code_7_while_others_still_run",
        command: &["sh", "-c", "sleep 1000 & exit 7"],
        status: 7,
        ..PLAIN
    },
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
        name: "a_working_directory_that_is_not_there",
        options: &["--workdir", "/no/where"],
        command: &["true"],
        status: 125,
        outcome: "setup",
        words: &["/no/where", "No such file"],
        ..PLAIN
    },
    Row {
        name: "arguments_arrive_as_they_are",
        command: &["printf", "<%s>", "", "a b", "\"'$x`\\", "é\n", "--", "-n"],
        stdout: "<><a b><\"'$x`\\><é\n><--><-n>",
        ..PLAIN
    },
    Row {
        name: "environment_directory_user_and_host_name",
        options: &[
            "--env",
            "A=b c=d",
            "--env",
            "PATH=/usr/bin",
            "--workdir",
            "/usr/lib",
            "--user",
            "1000:1001",
            "--hostname",
            "inner",
        ],
        command: &[
            "sh",
            "-c",
            "env | sort
            echo $(pwd) $(id -u) $(id -g) $(id -G) $(cat /proc/sys/kernel/hostname)",
        ],
        stdout: "A=b c=d\nHOME=/\nPATH=/usr/bin\nPWD=/usr/lib\n/usr/lib 1000 1001 1001 inner\n",
        ..PLAIN
    },
    Row {
        name: "without_options",
        command: &[
            "sh",
            "-c",
            "env | sort
            echo $(pwd) $(id -u) $(id -g) $(cat /proc/sys/kernel/hostname)
            echo root >/etc/x && cat /etc/x
            printf x 2>/dev/null >/dev/vda && sync /dev/vda && echo root disk written
            blockdev --getro /dev/vda
            echo $(ls /sys/class/net)
            echo $(ls /sys/bus/virtio/devices | wc -l) devices
            echo $(ls /sys/bus/pci/devices 2>/dev/null | wc -l) of PCI
            grep -cwE 'svm|vmx' /proc/cpuinfo
            wc -c </dev/stdin",
        ],
        status: 0,
        stdout: "HOME=/root
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PWD=/
USER=root
/ 0 0 casemate
root
1
lo
3 devices
0 of PCI
0
0
",
        ..PLAIN
    },
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS.into_iter();
    let rows =
        rows.map(|row| Test::new(format!("commands::{}", row.name), NEEDS, move || check(&row)));
    rows.chain([Test::new("commands::a_frame_of_its_own_ends_the_guest", NEEDS, forged)]).collect()
}

fn check(row: &Row) {
    let dir = Scratch::new();
    let end = run(&dir, row.options, row.command).end();
    end.exits(row.status).outcome(row.outcome).prints(row.stdout);
    if row.words.is_empty() {
        end.is_silent();
    } else {
        end.explains(row.words);
    }
    assert_eq!(dir.list(), ["report.json"]);
}

/// Root of the guest can write to the agent's channel. It gains nothing by it.
fn forged() {
    let dir = Scratch::new();
    let end = run(&dir, &[], &script("head -c 100 /dev/zero >/dev/hvc1; sleep 1000")).end();
    end.exits(119).outcome("violation").blames("console").explains(&["console", "protocol"]);
}
