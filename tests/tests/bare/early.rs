//! A guest that hangs in silence, and the early console that it can be asked with.

use std::time::Duration;

use bare::{Op, Width};
use rustix::process::Signal;
use tests::guests::{READY, announce};
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    vec![
        Test::new("early::a_silent_hang_ends_with_a_hint", kvm, silent),
        Test::new("early::a_busy_hang_ends_too", kvm, busy),
        Test::new("early::the_last_line_is_in_the_reason", kvm, last_line),
        Test::new("early::nothing_said_is_told", kvm, nothing_said),
        Test::new("early::boot_waits_for_no_command", kvm, boot_waits),
        Test::new("early::every_register_is_a_constant", kvm, registers),
        Test::new("early::nothing_reaches_a_terminal", kvm, harmless),
        Test::new("early::there_is_an_end_to_it", kvm, flood),
    ]
}

/// `casemate run` of a bare guest, which will never start a command.
fn run<'a>(dir: &'a Scratch, program: &[Op], options: &[&str]) -> Run<'a> {
    dir.write(KERNEL, bare::elf(program));
    dir.write("disk.img", [0; 4096]);
    let run = Run::new(dir, &["run", "--kernel", KERNEL, "--rootfs", "disk.img"]);
    run.args(&["--report", REPORT, "--boot-timeout", "500ms"]).args(options).args(&["--", "true"])
}

fn say(text: &str) -> Vec<Op> {
    let out = |byte: u8| Op::Out { width: Width::Byte, port: 0x3f8, value: u32::from(byte) };
    text.bytes().map(out).collect()
}

fn silent() {
    let dir = Scratch::new();
    let end = run(&dir, &[Op::Halt], &[]).end();
    let words = ["did not start the command within 500ms", "--boot-timeout", "--earlycon"];
    end.exits(118).outcome("boot-timeout").prints("").explains(&words);
    end.check(end.took < Duration::from_secs(5), "it took too long");
    let report = end.report.as_ref().unwrap();
    end.check(report["limits"]["boot_seconds"] == 0.5, "the report has another limit");
    end.check(report["early_console"].is_null(), "there is an early console");
}

fn busy() {
    let dir = Scratch::new();
    run(&dir, &[Op::Spin], &[]).end().exits(118).outcome("boot-timeout").explains(&["--earlycon"]);
}

fn last_line() {
    let dir = Scratch::new();
    let end = run(&dir, &[say("one\r\ntwo\r\n"), vec![Op::Halt]].concat(), &["--earlycon"]).end();
    end.exits(118).outcome("boot-timeout").prints("");
    let lines: Vec<&str> = end.stderr.lines().collect();
    end.check(lines.len() == 3, "not three lines");
    let early = ["casemate: early console: one", "casemate: early console: two"];
    end.check(lines[..2] == early, "other lines of the early console");
    end.check(lines[2].ends_with("the last that its kernel said early: two"), "another reason");
    end.check(end.text("early_console") == "one\ntwo\n", "the report has other lines");
}

fn nothing_said() {
    let dir = Scratch::new();
    let end = run(&dir, &[Op::Halt], &["--earlycon"]).end();
    end.exits(118).outcome("boot-timeout").explains(&["said nothing to the early console"]);
    let report = end.report.as_ref().unwrap();
    end.check(report["early_console"] == "", "the report does not show the early console");
}

fn boot_waits() {
    let dir = Scratch::new();
    let mut running = Run::boot(&dir, &announce(Op::Halt)).start();
    running.await_stdout(READY);
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143).outcome("interrupted");
    let limit = &end.report.as_ref().unwrap()["limits"]["boot_seconds"];
    end.check(limit.is_null(), "boot has a limit for a command that there is not");
}

/// Whatever is written before, and to whichever of them.
fn registers() {
    let dir = Scratch::new();
    let ports = || 0x3f7..=0x400_u16;
    let read = |port| {
        let value = match port {
            0x3fd => 0x60,
            0x3f8..=0x3ff => 0,
            _ => 0xff,
        };
        Op::In { width: Width::Byte, port, mask: 0xff, value, code: 1 }
    };
    let write = |port| Op::Out { width: Width::Byte, port, value: 0x80 };
    let mut program: Vec<Op> = ports().map(read).collect();
    program.extend(ports().map(write));
    program.extend(ports().map(read));
    program.push(Op::Exit(7));
    Run::boot(&dir, &program).args(&["--earlycon"]).end().exits(7).is_silent();
}

fn harmless() {
    let dir = Scratch::new();
    let program = [say("\x01a\x1b[2J\x07b\x7f\n"), vec![Op::Exit(7)]].concat();
    let end = Run::boot(&dir, &program).args(&["--earlycon"]).end();
    end.exits(7);
    end.check(end.stderr == "casemate: early console: ^Aa^[[2J^Gb^?\n", "another line");
}

fn flood() {
    const LINES: usize = 5000;
    let dir = Scratch::new();
    let program = [say(&"\n".repeat(LINES)), vec![Op::Exit(7)]].concat();
    let end = Run::boot(&dir, &program).args(&["--earlycon"]).end();
    end.exits(7);
    let count = end.stderr.lines().count();
    end.check(count == 512, &format!("{count} lines"));
}
