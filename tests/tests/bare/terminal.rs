//! The user's terminal: whose it is while a command has it (`-t`), that it is as before at every end, and
//! what it shows of a guest without `-t`.
//!
//! The guest is its own agent.

use std::time::{Duration, Instant};

use bare::Op;
use protocol::frame::{FromGuest, FromHost, Stream};
use rustix::process::Signal;
use tests::guests::{Console, announce};
use tests::inject;
use tests::process::{PATIENCE, Process};
use tests::run::{KERNEL, REPORT, Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};
use tests::terminal::{Settings, Terminal};

use crate::agent::Agent;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm, Need::Tool("setsid")];
    let root = &[Need::Kvm, Need::Root, Need::Tool("setsid")];
    let mut tests = vec![
        Test::new("terminal::every_key_is_the_guests", kvm, keys),
        Test::new("terminal::a_new_size_reaches_the_guest", kvm, resize),
        Test::new("terminal::ctrl_c_before_the_command_runs_ends_the_run", kvm, early),
        Test::new("terminal::a_shell_in_front_again_keeps_its_settings", kvm, taken_over),
        Test::new("terminal::one_that_stands_still_holds_up_its_own_run_alone", kvm, still),
        Test::new("terminal::without_t_nothing_is_obeyed", kvm, shown),
        Test::new("terminal::what_boot_writes_is_not_obeyed_either", kvm, boot),
        Test::new("terminal::what_casemate_says_of_the_guest_is_not_obeyed_either", kvm, said),
        Test::new("terminal::in_the_background_it_is_not_taken", kvm, background),
    ];
    let ends: [(&str, &'static [Need], Ending); 9] = [
        ("the_commands_end", kvm, |_| Some(7)),
        ("the_time_limit", kvm, |_| Some(124)),
        ("sigterm", kvm, |run| {
            // Different ones: two of a kind may become one.
            [Signal::HUP, Signal::INT, Signal::TERM].iter().for_each(|signal| run.signal(*signal));
            Some(143)
        }),
        ("kill_9_of_the_vcpu_worker", kvm, |run| kill(run, "vcpu")),
        ("kill_9_of_the_console_worker", kvm, |run| kill(run, "console")),
        ("kill_9_of_the_disk_worker", kvm, |run| kill(run, "blk0")),
        ("a_breach", root, |run| {
            inject::call(&run.worker("blk0"), libc::SYS_getppid);
            Some(120)
        }),
        ("kill_9_of_the_launcher", kvm, |run| {
            run.signal(Signal::KILL);
            None
        }),
        // As a panic does: from one moment to the next, without any of its own clearing up.
        ("the_launchers_own_exit", root, |run| {
            inject::call(&Process::of(run.pid()), libc::SYS_exit_group);
            None
        }),
    ];
    for (name, needs, ending) in ends {
        let test = format!("terminal::as_before_after_{name}");
        tests.push(Test::new(test, needs, move || as_before(name, ending)));
    }
    tests
}

/// Brings a run's end about. Returns the exit code, where it is known.
type Ending = fn(&Running) -> Option<i32>;

fn kill(run: &Running, worker: &str) -> Option<i32> {
    run.worker(worker).signal(Signal::KILL);
    Some(125)
}

/// `casemate run` of this guest on a terminal.
fn run<'a>(dir: &'a Scratch, terminal: &'a Terminal, program: &[Op], options: &[&str]) -> Run<'a> {
    dir.write(KERNEL, bare::elf(program));
    dir.write("root.img", [0; 512]);
    let run = Run::new(dir, &["run", "--kernel", KERNEL, "--rootfs", "root.img"]);
    run.args(&["--mem", "64M"]).args(options).args(&["--", "true"]).on(terminal)
}

fn as_before(name: &str, ending: Ending) {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    let mut agent = Agent::running();
    agent.print("ready\r\n");
    let (program, options): (_, &[&str]) = match name {
        "the_commands_end" => {
            agent.say(&FromGuest::Credit(1));
            agent.expect(&FromHost::Data(b"x"));
            (agent.exits(7), &["-it"])
        }
        "the_time_limit" => (agent.then(Op::Spin), &["-t", "--timeout", "3s"]),
        _ => (agent.then(Op::Spin), &["-it"]),
    };
    let running = run(&dir, &terminal, &program, options).start();
    await_raw(&mut terminal, &running, before);
    // The answer to a question that the guest may have asked, and that it does not read any more.
    terminal.press("x\x1b]lfoo; rm -rf ~\x1b\\\n");
    let expected = ending(&running);
    let end = running.end();
    if let Some(expected) = expected {
        end.exits(expected);
    }
    assert_eq!(terminal.settings(), before, "the settings after {name}");
    assert_eq!(terminal.unread(), 0, "what was typed is left for the shell after {name}");
}

/// Waits until the command runs and the terminal is raw.
fn await_raw(terminal: &mut Terminal, running: &Running, before: Settings) {
    terminal.find("ready", PATIENCE);
    let begun = Instant::now();
    while terminal.settings() == before {
        assert!(begun.elapsed() < PATIENCE, "the terminal of {} is not raw", running.pid());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn keys() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    let mut agent = Agent::running();
    // It may come before the terminal is raw, and with two of a newline's carriage returns.
    agent.print("ready");
    agent.say(&FromGuest::Credit(100));
    // Interrupt, end, stop, quit, resume, a carriage return: as they are, and with no echo.
    agent.expect(&FromHost::Data(b"\x03\x04\x1a\x1c\x11\r\x7f"));
    agent.print("\x1b[31mred\r\n");
    let running = run(&dir, &terminal, &agent.exits(0), &["-it", "--report", REPORT]).start();
    await_raw(&mut terminal, &running, before);
    terminal.press("\x03\x04\x1a\x1c\x11\r\x7f");
    let end = running.end();
    end.exits(0).outcome("exited");
    assert_eq!(terminal.shown(), "ready\x1b[31mred\r\n");
}

fn resize() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    let mut agent = Agent::running();
    agent.print("ready\r\n");
    agent.expect(&FromHost::Resize(50, 132));
    agent.print("again\r\n");
    agent.expect(&FromHost::Resize(1, u16::MAX));
    let running = run(&dir, &terminal, &agent.exits(0), &["-t"]).start();
    await_raw(&mut terminal, &running, before);
    terminal.resize(50, 132);
    terminal.find("again", PATIENCE);
    terminal.resize(1, u16::MAX);
    running.end().exits(0);
}

fn early() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    // Up, and never running.
    let mut agent = Agent::up();
    agent.hear();
    let running = run(&dir, &terminal, &agent.then(Op::Spin), &["-it", "--report", REPORT]).start();
    let begun = Instant::now();
    while running.workers().len() < 3 || running.worker("vcpu").cpu_ticks() < 5 {
        assert!(begun.elapsed() < PATIENCE, "the guest does not run");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(terminal.settings(), before);
    terminal.press("\x03");
    running.end().exits(130).outcome("interrupted");
    assert!(terminal.shown().contains("ended by signal 2"), "{}", terminal.shown());
}

/// After `kill -9` a shell may be faster than the keeper: then the terminal is the shell's.
fn taken_over() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    let mut agent = Agent::running();
    agent.print("ready\r\n");
    let running = run(&dir, &terminal, &agent.then(Op::Spin), &["-it"]).start();
    await_raw(&mut terminal, &running, before);
    terminal.turn_echo_on();
    let now = terminal.settings();
    running.signal(Signal::KILL);
    running.end();
    assert_eq!(terminal.settings(), now);
}

/// Nobody looks at the screen, and the guest writes more than it holds.
fn still() {
    let dir = Scratch::new();
    let terminal = Terminal::new(24, 80);
    let mut console = Console::new();
    let mut ops = console.up();
    for _ in 0..40 {
        ops.extend(console.say(&"0123456789".repeat(300)));
    }
    dir.write(KERNEL, bare::elf(&ops));
    let run = Run::new(&dir, &["boot", "--kernel", KERNEL, "--report", REPORT, "--timeout", "2s"]);
    let end = run.on(&terminal).end();
    end.exits(124).outcome("timeout");
    end.check(end.took < Duration::from_secs(8), "somebody was held up");
    // The console worker was not stuck: it has told the kernel's last words, though there are none.
    let console = end.report.as_ref().unwrap()["kernel_console"].clone();
    end.check(console.is_string(), "no last words");
}

fn shown() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let mut agent = Agent::running();
    agent.print("\x1b[31mred\x07 \u{9b}5n é\r\n");
    agent.say(&FromGuest::Data(Stream::Stderr, b"\x1b]0;title\x07\xe2\x82"));
    let running = run(&dir, &terminal, &agent.exits(3), &["-i"]).start();
    running.end().exits(3);
    let expected = "^[[31mred^G \\u{9b}5n é\r\r\n^[]0;title^G\\xe2\\x82";
    assert_eq!(terminal.shown(), expected);
}

fn boot() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let mut console = Console::new();
    let mut ops = console.up();
    ops.extend(console.say("\x1b[2J\u{202e}\n"));
    ops.push(Op::Exit(0));
    dir.write(KERNEL, bare::elf(&ops));
    let run = Run::new(&dir, &["boot", "--kernel", KERNEL, "--report", REPORT]).on(&terminal);
    run.end().exits(0);
    assert_eq!(terminal.shown(), "^[[2J\\u{202e}\r\n");
}

fn said() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let mut agent = Agent::running();
    let text = "no \x1b[31m\u{9b}2J\nway";
    agent.say(&FromGuest::Failed(protocol::frame::Failure::NotFound, text));
    let running = run(&dir, &terminal, &agent.then(Op::Spin), &[]).start();
    running.end().exits(127);
    assert_eq!(terminal.shown(), "casemate: no ^[[31m\\u{9b}2J^Jway\r\n");
}

fn background() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let words = "set -m; \"$@\" & wait $!";
    let program = announce(Op::Spin);
    let run = run(&dir, &terminal, &program, &["-it"]);
    run.by(&["setsid", "--ctty", "bash", "-c", words, "bash"]).end().exits(2);
    assert!(terminal.shown().contains("another job is in front"), "{}", terminal.shown());
}
