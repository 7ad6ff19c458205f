//! How a guest ends: by its exit code, or without one.

use bare::virtio::register;
use bare::{Op, Width};
use tests::guests::announce;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

struct Row {
    name: &'static str,
    program: fn() -> Vec<Op>,
    args: &'static [&'static str],
    status: i32,
    outcome: &'static str,
    /// Words of the line on stderr; none when there is to be no line.
    words: &'static [&'static str],
}

/// A row whose guest chooses its status.
const fn exit(name: &'static str, program: fn() -> Vec<Op>, status: i32) -> Row {
    Row { name, program, args: &[], status, outcome: "exited", words: &[] }
}

const ROWS: [Row; 13] = [
    exit("code_0", || vec![Op::Exit(0)], 0),
    exit("code_7", || vec![Op::Exit(7)], 7),
    exit("code_118_is_the_guests_own", || vec![Op::Exit(118)], 118),
    exit("code_255", || vec![Op::Exit(255)], 255),
    exit("the_end_of_the_program", Vec::new, 0),
    Row { args: &["--cpus", "4"], ..exit("code_with_4_cpus", || vec![Op::Exit(9)], 9) },
    Row { args: &["--cpus", "32"], ..exit("code_with_32_cpus", || vec![Op::Exit(9)], 9) },
    exit("the_sleep_status_port_reads_zero", || vec![input(0x601, 0), Op::Exit(3)], 3),
    exit("a_port_that_nobody_has_reads_as_ones", || vec![input(0x3f8, 0xff), Op::Exit(3)], 3),
    exit("a_device_that_nobody_has_reads_as_ones", || vec![no_device(), Op::Exit(3)], 3),
    Row {
        name: "power_off",
        program: || vec![output(0x600, 0x34), Op::Exit(1)],
        args: &[],
        status: 118,
        outcome: "power-off",
        words: &["powered off"],
    },
    Row {
        name: "reset",
        program: || vec![output(0x602, 1), Op::Exit(1)],
        args: &[],
        status: 118,
        outcome: "reset",
        words: &["reset"],
    },
    Row {
        name: "triple_fault",
        program: || vec![Op::Crash],
        args: &[],
        status: 118,
        outcome: "triple-fault",
        words: &["triple fault"],
    },
];

fn input(port: u16, value: u32) -> Op {
    Op::In { width: Width::Byte, port, mask: 0xff, value, code: 1 }
}

fn output(port: u16, value: u32) -> Op {
    Op::Out { width: Width::Byte, port, value }
}

/// The page behind the last device's.
fn no_device() -> Op {
    bare::virtio::expect(1, register::DEVICE_ID, 0xffff_ffff, 1)
}

pub fn tests() -> Vec<Test> {
    let rows = ROWS
        .into_iter()
        .map(|row| Test::new(format!("ends::{}", row.name), &[Need::Kvm], move || check(&row)));
    let report = Test::new("ends::the_report_says_when_and_who", &[Need::Kvm], report);
    rows.chain([report]).collect()
}

fn check(row: &Row) {
    let dir = Scratch::new();
    let end = Run::boot(&dir, &(row.program)()).args(row.args).end();
    end.exits(row.status).outcome(row.outcome).prints("");
    if row.words.is_empty() {
        end.is_silent();
    } else {
        end.explains(row.words);
    }
    let code = end.report.as_ref().and_then(|report| report["code"].as_i64());
    let expected = (row.outcome == "exited").then_some(i64::from(row.status));
    end.check(code == expected, "the report has another code");
}

fn report() {
    let dir = Scratch::new();
    dir.write("a.img", [0; 512]);
    dir.write("b.img", [0; 512]);
    let end = Run::boot(&dir, &announce(Op::Exit(0)))
        .args(&["--disk", "a.img", "--disk", "b.img,ro", "--mem", "64"])
        .end();
    end.exits(0).outcome("exited");
    let mut before = 0.0;
    for name in ["spawned", "sealed", "kernel_entered", "ended"] {
        let at = end.phase(name).unwrap_or(-1.0);
        end.check(at > before, &format!("phase {name} is not after the one before"));
        before = at;
    }
    end.check(before <= end.took.as_secs_f64() * 1e3, "it took longer than it took");
    for name in ["agent_up", "command_started", "command_ended"] {
        end.check(end.phase(name).is_none(), &format!("phase {name} without an agent"));
    }
    let workers = end.report.as_ref().unwrap()["workers"].as_array().unwrap().clone();
    let names: Vec<_> = workers.iter().filter_map(|worker| worker["name"].as_str()).collect();
    end.check(names == ["vcpu", "console", "blk0", "blk1"], "the report has other workers");
    for worker in &workers {
        // Guest RAM that was touched counts; this guest touches next to none of its 64 MiB.
        let peak = worker["peak_memory_kib"].as_u64().unwrap_or(0);
        end.check((100..32 << 10).contains(&peak), &format!("a peak that cannot be: {worker}"));
    }
}
