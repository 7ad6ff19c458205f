//! What there is no end to by itself has one: time, output, the report.

use std::time::Duration;

use bare::virtio::{Buffer, Queue, VERSION_1, bring_up};
use bare::{FREE, Op};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::guests::{Console, NOT_SERVED, NOT_UP, READY, announce};
use tests::run::{End, REPORT, Run};
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// One buffer of the flood.
const LEN: usize = 32 << 10;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    vec![
        Test::new("bounds::defaults_are_in_the_help_and_in_the_report", kvm, defaults),
        Test::new("bounds::none_is_none", kvm, none),
        Test::new("bounds::a_flood_is_cut_off_and_counted", kvm, flood),
        Test::new("bounds::a_flood_without_end_is_cut_off_too", kvm, endless),
        Test::new("bounds::exactly_as_much_as_there_may_be", kvm, exactly),
        Test::new("bounds::nothing_may_be_written", kvm, nothing),
        Test::new("bounds::a_rate_holds_back_and_loses_nothing", kvm, rate),
        Test::new("bounds::the_report_is_short", kvm, report),
    ]
}

/// Sends `count` buffers of noise, or sends without end, and exits with code 5.
fn sends(count: u64) -> (Vec<Op>, Vec<u8>) {
    let data = noise(7, LEN);
    let buffer = FREE + 0x2000;
    let receive = Queue { index: 0, size: 1, base: FREE };
    let transmit = Queue { index: 1, size: 1, base: FREE + 0x1000 };
    let chain = Buffer { addr: buffer, len: u32::try_from(LEN).unwrap(), writable: false };
    let mut ops = bring_up(Console::DEVICE, VERSION_1, &[receive, transmit], NOT_UP);
    ops.push(Op::Bytes { addr: buffer, data: data.clone() });
    ops.push(transmit.chain(0, &[chain]));
    ops.push(Op::Repeat { count, ops: transmit.again(Console::DEVICE, 1, NOT_SERVED) });
    ops.push(Op::Exit(5));
    (ops, data)
}

fn limits(end: &End) -> Value {
    end.report.as_ref().unwrap()["limits"].clone()
}

fn check_limit(end: &End, name: &str, expected: &Value) {
    end.check(limits(end)[name] == *expected, &format!("{name} should be {expected}"));
}

fn defaults() {
    let dir = Scratch::new();
    let end = Run::boot(&dir, &[Op::Exit(0)]).args(&["--mem", "64M"]).end();
    end.exits(0);
    let rows = [
        ("time_seconds", json!(3600.0)),
        ("output_bytes", json!(GIB)),
        ("output_bytes_per_second", json!(64 * MIB)),
        ("console_file_bytes", json!(16 * MIB)),
        ("report_bytes", json!(128 * KIB)),
        ("worker_memory_bytes", json!(64 * MIB)),
        ("worker_address_space_bytes", json!((64 + 256) * MIB)),
        ("dropped", json!({"stdout_bytes": 0, "stderr_bytes": 0, "console_file_bytes": 0})),
    ];
    for (name, expected) in rows {
        check_limit(&end, name, &expected);
    }
    for command in ["run", "boot"] {
        let help = Run::new(&dir, &[command, "--help"]).end();
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        for word in [
            "[default: 1h]",
            "[default: 1G]",
            "[default: 64M]",
            "--max-output",
            "--max-output-rate",
            "16 MiB",
            "128 KiB",
            "64 MiB of memory of its own",
        ] {
            help.check(text.contains(word), &format!("no {word:?} in the help of {command}"));
        }
    }
}

fn none() {
    let dir = Scratch::new();
    let args = ["--timeout", "none", "--max-output", "none", "--max-output-rate", "none"];
    let end = Run::boot(&dir, &[Op::Exit(0)]).args(&args).end();
    end.exits(0);
    for name in ["time_seconds", "output_bytes", "output_bytes_per_second"] {
        check_limit(&end, name, &Value::Null);
    }
}

fn dropped(count: u64) -> Value {
    json!({"stdout_bytes": count, "stderr_bytes": 0, "console_file_bytes": 0})
}

fn flood() {
    const COUNT: u64 = 1000;
    let dir = Scratch::new();
    let (program, data) = sends(COUNT);
    let end = Run::boot(&dir, &program).args(&["--max-output", "1M"]).end();
    let beyond = COUNT * LEN as u64 - MIB;
    end.exits(5).outcome("exited");
    end.explains(&[&format!("dropped {beyond} bytes of stdout"), "--max-output"]);
    assert_same(&end.stdout, &data.repeat(MIB as usize / LEN), "stdout");
    check_limit(&end, "output_bytes", &json!(MIB));
    check_limit(&end, "dropped", &dropped(beyond));
}

fn endless() {
    let dir = Scratch::new();
    let (program, data) = sends(u64::MAX);
    let args = ["--max-output", "100K", "--timeout", "2s"];
    let end = Run::boot(&dir, &program).args(&args).end();
    end.exits(124).outcome("timeout");
    let expected: Vec<u8> = data.iter().copied().cycle().take(100 << 10).collect();
    assert_same(&end.stdout, &expected, "stdout");
    let count = limits(&end)["dropped"]["stdout_bytes"].as_u64().unwrap();
    end.check(count > 10 * MIB, "the guest was held up");
    let line = format!("casemate: dropped {count} bytes of stdout (--max-output)\n");
    end.check(end.stderr.ends_with(&line), "expected the count on stderr");
    end.check(end.stderr.lines().count() == 2, "expected two lines on stderr");
}

fn exactly() {
    let dir = Scratch::new();
    let (program, data) = sends(8);
    let bytes = (8 * LEN).to_string();
    let end = Run::boot(&dir, &program).args(&["--max-output", &bytes]).end();
    end.exits(5).is_silent();
    assert_same(&end.stdout, &data.repeat(8), "stdout");
    check_limit(&end, "dropped", &dropped(0));
}

fn nothing() {
    let dir = Scratch::new();
    let (program, _) = sends(3);
    let end = Run::boot(&dir, &program).args(&["--max-output", "0"]).end();
    end.exits(5).prints("").explains(&["dropped 98304 bytes of stdout"]);
}

fn rate() {
    let dir = Scratch::new();
    let (program, data) = sends(32);
    let run = Run::boot(&dir, &program).args(&["--max-output-rate", "1M"]);
    let end = run.end();
    // 1 MiB, less what the worker still holds when the guest ends, which is written at once.
    end.exits(5).is_silent();
    assert_same(&end.stdout, &data.repeat(32), "stdout");
    end.check(end.took >= Duration::from_millis(800), "it was faster than its rate");
    end.check(end.took < Duration::from_secs(10), "it was far slower than its rate");
    check_limit(&end, "output_bytes_per_second", &json!(MIB));
    // Held back, the worker sleeps: it does not turn on and on.
    let dir = Scratch::new();
    let (program, _) = sends(u64::MAX);
    let running = Run::boot(&dir, &program).args(&["--max-output-rate", "20K"]).start();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = running.worker("console").cpu_ticks();
    assert!(ticks < 30, "the console worker used {ticks} hundredths of a second of its first");
    running.signal(Signal::TERM);
    running.end().exits(143);
}

fn report() {
    let dir = Scratch::new();
    let end = Run::boot(&dir, &announce(Op::Crash)).end();
    end.exits(118).prints(READY);
    let len = dir.read(REPORT).len() as u64;
    end.check(len < 128 * KIB, "the report is too long");
}
