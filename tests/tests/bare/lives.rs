//! How a run ends from outside, and that nothing of it is left: processes, groups, files.
//!
//! Every test here and elsewhere ends with a look for orphans and control groups; see [`tests::run`].

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use bare::Op;
use rustix::process::Signal;
use tests::guests::{READY, announce};
use tests::process::Process;
use tests::run::{REPORT, Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

const ARGS: [&str; 4] = ["--disk", "a.img", "--disk", "b.img,ro"];

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let mut tests = vec![
        Test::new("lives::a_time_limit_ends_a_busy_guest", kvm, || timeout(Op::Spin)),
        Test::new("lives::a_time_limit_ends_an_idle_guest", kvm, || timeout(Op::Halt)),
        Test::new("lives::a_time_limit_is_not_waited_for", kvm, no_timeout),
        Test::new("lives::killed_at_any_moment_of_its_start", kvm, any_moment),
        Test::new(
            "lives::descriptors_are_those_of_the_table",
            &[Need::Kvm, Need::Root],
            descriptors,
        ),
        Test::new("lives::the_launcher_holds_nothing_of_the_sandbox", kvm, launcher_descriptors),
        Test::new(
            "lives::nobodys_memory_holds_guest_ram_twice",
            &[Need::Kvm, Need::Root],
            mappings,
        ),
        Test::new("lives::a_vcpu_worker_has_a_thread_for_each_vcpu", kvm, threads),
        Test::new("lives::workers_have_no_environment", &[Need::Kvm, Need::Root], environment),
    ];
    let signals = [
        ("sighup", Signal::HUP, 129),
        ("sigint", Signal::INT, 130),
        ("sigquit", Signal::QUIT, 131),
        ("sigterm", Signal::TERM, 143),
    ];
    for (name, signal, status) in signals {
        tests.push(Test::new(format!("lives::ended_by_{name}"), kvm, move || {
            interrupted(signal, status)
        }));
    }
    for (name, last) in [("busy", Op::Spin), ("idle", Op::Halt)] {
        let test = format!("lives::kill_9_of_the_launcher_of_a_{name}_guest");
        tests.push(Test::new(test, kvm, move || launcher_killed(last)));
    }
    for worker in ["vcpu", "console", "blk0", "blk1"] {
        let test = format!("lives::kill_9_of_the_{worker}_worker");
        tests.push(Test::new(test, &[Need::Kvm, Need::Root], move || worker_killed(worker)));
    }
    tests
}

/// A run with two disks whose guest is up and goes on with `last`.
fn started(dir: &Scratch, last: Op, args: &[&str]) -> Running {
    dir.write("a.img", [0; 512]);
    dir.write("b.img", [0; 512]);
    let mut running = Run::boot(dir, &announce(last)).args(&ARGS).args(args).start();
    running.await_stdout(READY);
    running
}

fn timeout(last: Op) {
    let dir = Scratch::new();
    let end = started(&dir, last, &["--timeout", "1500ms"]).end();
    end.exits(124).outcome("timeout").explains(&["--timeout"]).prints(READY);
    let took = end.took.as_secs_f64();
    end.check((1.5..4.0).contains(&took), "the time limit was 1.5 s");
}

fn no_timeout() {
    let dir = Scratch::new();
    let end = started(&dir, Op::Exit(3), &["--timeout", "1h"]).end();
    end.exits(3).outcome("exited");
}

fn interrupted(signal: Signal, status: i32) {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &[]);
    running.signal(signal);
    let end = running.end();
    let number = signal.as_raw().to_string();
    end.exits(status).outcome("interrupted").explains(&["signal", &number]);
    let reported = end.report.as_ref().and_then(|report| report["signal"].as_i64());
    end.check(reported == Some(signal.as_raw().into()), "the report has another signal");
}

fn launcher_killed(last: Op) {
    let dir = Scratch::new();
    let running = started(&dir, last, &["--cpus", "2"]);
    let workers = running.workers();
    assert_eq!(workers.len(), 4, "{workers:?}");
    running.signal(Signal::KILL);
    let gone = |worker: &Process| assert!(worker.await_end(), "{worker:?} outlived its launcher");
    workers.iter().for_each(gone);
    let end = running.end();
    end.check(end.code.is_none(), "kill -9 ended it");
}

fn any_moment() {
    const STEP: Duration = Duration::from_micros(400);
    let dir = Scratch::new();
    dir.write("a.img", [0; 512]);
    dir.write("b.img", [0; 512]);
    for step in 0..60 {
        let running = Run::boot(&dir, &[Op::Spin]).args(&ARGS).start();
        thread::sleep(STEP * step);
        running.signal(Signal::KILL);
        let end = running.end();
        end.check(end.code.is_none(), "kill -9 ended it");
    }
    // The report was asked for, and is created before anything is started.
    let left: Vec<_> = dir.list().into_iter().filter(|name| name != REPORT).collect();
    assert_eq!(left, ["a.img", "b.img", "guest.elf"]);
}

fn worker_killed(name: &str) {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &[]);
    running.worker(name).signal(Signal::KILL);
    let end = running.end();
    end.exits(125).outcome("failed").blames(name).explains(&[name, "killed"]);
}

/// What a descriptor may be open on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Pipe,
    Socket,
    Event,
    File(&'static str),
}

impl On {
    fn is(self, target: &str) -> bool {
        match self {
            Self::Pipe => target.starts_with("pipe:"),
            Self::Socket => target.starts_with("socket:"),
            Self::Event => target == "anon_inode:[eventfd]",
            Self::File(name) => target.ends_with(name),
        }
    }
}

/// The table in the worker's `fds`, for a console and two disks, while the guest runs.
const TABLE: [(&str, &[(i32, On)]); 4] = [
    ("vcpu", &[(3, On::Pipe), (8, On::Pipe), (16, On::Socket), (20, On::Socket), (24, On::Socket)]),
    (
        "console",
        &[
            (0, On::File("/dev/null")),
            (1, On::Pipe),
            (2, On::Pipe),
            (3, On::Pipe),
            (16, On::Socket),
            (17, On::Event),
            (18, On::Event),
            (19, On::Event),
        ],
    ),
    (
        "blk0",
        &[
            (3, On::Pipe),
            (5, On::File("/a.img")),
            (20, On::Socket),
            (21, On::Event),
            (22, On::Event),
        ],
    ),
    (
        "blk1",
        &[
            (3, On::Pipe),
            (5, On::File("/b.img")),
            (24, On::Socket),
            (25, On::Event),
            (26, On::Event),
        ],
    ),
];

/// The listener of the worker's own filter.
const LISTENER: &str = "anon_inode:seccomp notify";

/// Access mode bits of open(2).
const MODE: u32 = 0o3;

fn descriptors() {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &["--cpus", "3"]);
    for (name, table) in TABLE {
        let worker = running.worker(name);
        let mut open = worker.descriptors();
        for (number, on) in table {
            let target = open.remove(number).unwrap_or_default();
            assert!(on.is(&target), "{name}: descriptor {number} is {target:?}, not {on:?}");
        }
        let mut rest: Vec<_> = open.into_values().collect();
        rest.sort_unstable();
        let virtual_machine = [
            "anon_inode:kvm-vcpu:0",
            "anon_inode:kvm-vcpu:1",
            "anon_inode:kvm-vcpu:2",
            "anon_inode:kvm-vm",
            LISTENER,
        ];
        let expected = if name == "vcpu" { &virtual_machine[..] } else { &[LISTENER] };
        assert_eq!(rest, expected, "{name}: descriptors that are not in the table");
        assert_eq!(worker.flags(3) & MODE, 1, "{name}: its status pipe is for writing");
    }
    assert_eq!(running.worker("blk0").flags(5) & MODE, 2, "blk0: its image is for both");
    assert_eq!(running.worker("blk1").flags(5) & MODE, 0, "blk1: its image is for reading");
    running.signal(Signal::TERM);
    running.end().exits(143);
}

fn launcher_descriptors() {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &[]);
    let open: BTreeMap<_, _> = tests::process::descriptors_of(running.pid());
    let forbidden = |target: &str| {
        let parts = ["socket:", "memfd:", "kvm", ".img", ".elf", "eventfd"];
        parts.iter().any(|part| target.contains(part)) && !target.ends_with("/report.json")
    };
    let held: Vec<_> = open.iter().filter(|(_, target)| forbidden(target)).collect();
    assert!(held.is_empty(), "the launcher holds {held:?}");
    running.signal(Signal::TERM);
    running.end().exits(143);
}

/// Guest RAM is one object that all map; nobody has it a second time, and no device worker more of it
/// than RAM and its own control page.
fn mappings() {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &["--mem", "64"]);
    for (name, control_pages) in [("vcpu", 3), ("console", 1), ("blk0", 1), ("blk1", 1)] {
        let worker = running.worker(name);
        assert_eq!(worker.mappings_of("guest-memory"), [64 << 20], "{name}: RAM");
        // Neighbouring pages are one mapping.
        let pages: u64 = worker.mappings_of("control-pages").iter().sum();
        assert_eq!(pages, control_pages * 4096, "{name}: control pages");
    }
    running.signal(Signal::TERM);
    running.end().exits(143);
}

fn threads() {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &["--cpus", "3"]);
    for (name, count) in [("vcpu", 3), ("console", 1), ("blk0", 1), ("blk1", 1)] {
        let mut names = running.worker(name).threads();
        // The kernel's own, which some KVMs start inside the process.
        names.retain(|thread| !thread.starts_with("kvm"));
        assert_eq!(names.len(), count, "{name}: {names:?}");
    }
    running.signal(Signal::TERM);
    running.end().exits(143);
}

fn environment() {
    let dir = Scratch::new();
    let running = started(&dir, Op::Spin, &[]);
    for worker in running.workers() {
        assert_eq!(worker.environment(), "", "{}", worker.name);
    }
    running.signal(Signal::TERM);
    running.end().exits(143);
}
