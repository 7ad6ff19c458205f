//! The process that parses, as /proc has it while it works: what holds of a worker holds of it.

use std::time::Instant;

use tests::archive::Tar;
use tests::inject::call;
use tests::process::{PATIENCE, Process, alone_with};
use tests::run::{Run, Running, programs};
use tests::scratch::{Scratch, noise};
use tests::suite::{Need, Test};

use crate::IMAGE;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("jail::every_layer", &[Need::Root], every_layer),
        Test::new("jail::without_a_layer_nothing_is_parsed", &[], floor),
        Test::new("jail::ends_with_the_launcher", &[], ends),
        // Tracing another user's process takes root.
        Test::new("jail::stops_a_forbidden_call", &[Need::Root], breach),
    ]
}

/// Starts a build that takes a while. Returns it, and the process that parses, once it is sealed.
fn start(dir: &Scratch) -> (Running, Process) {
    dir.write("source", Tar::default().file("a", &noise(1, 128 << 20)).bytes());
    let running = Run::new(dir, &["image", "build", "source", "-o", IMAGE]).start();
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "no sealed process");
        let path = |process: &Process| format!("/proc/{}/status", process.pid);
        let sealed = running.workers().into_iter().find(|process| {
            let status = std::fs::read_to_string(path(process)).unwrap_or_default();
            process.name == "casemate-image" && status.contains("Seccomp:\t2")
        });
        match sealed {
            Some(process) => return (running, process),
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

fn every_layer() {
    let dir = Scratch::new();
    let (running, process) = start(&dir);
    let thread = process.pid.as_raw_nonzero().get();
    let status = |field: &str| process.status(thread, field);
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(field), 16), Ok(0), "{field}");
    }
    assert_eq!(status("NoNewPrivs"), "1");
    assert!(!status("Uid").split_ascii_whitespace().any(|id| id == "0"), "{}", status("Uid"));
    let own = std::process::id();
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let ours = std::fs::read_link(format!("/proc/{own}/ns/{kind}")).unwrap();
        assert_ne!(process.namespace(thread, kind), ours, "{kind}");
    }
    assert!(process.root_entries().is_empty());
    assert!(process.environment().is_empty());
    let numbers: Vec<i32> = process.descriptors().into_keys().collect();
    // The lowest is the listener of its filter.
    assert_eq!(numbers, [0, 3, 5, 6, 8]);
    let limits = [("Max data size", 1_u64 << 30), ("Max processes", 0), ("Max open files", 1)];
    for (name, most) in limits {
        assert_eq!(process.limit(name).1, most.to_string(), "{name}");
    }
    assert_eq!(alone_with(&process, running.pid()), (1 << 30) + (256 << 20));
    running.end().exits(0).is_silent();
}

/// Behind less than the floor nothing is parsed.
fn floor() {
    let dir = Scratch::new();
    dir.write("source", Tar::default().file("a", b"x").bytes());
    let build = |options: &[&str]| {
        let without = [programs().join("without").into_os_string(), "landlock".into()];
        let run = Run::new(&dir, &["image", "build", "source", "-o", IMAGE]).args(options);
        run.by(&without).end()
    };
    build(&[]).exits(125).prints("").explains(&["layer landlock of the image worker is absent"]);
    assert_eq!(dir.list(), ["source"]);
    build(&["--insecure-allow-missing", "landlock"]).exits(0).is_silent();
}

/// Neither the process nor a file outlives a launcher that is killed.
fn ends() {
    let dir = Scratch::new();
    let (running, process) = start(&dir);
    running.signal(rustix::process::Signal::KILL);
    let end = running.end();
    end.check(end.code.is_none(), "expected the end by a signal");
    assert!(process.await_end());
    assert_eq!(dir.list(), ["source"]);
}

/// A process that calls what it must not is seen, ended and told of, and leaves nothing.
fn breach() {
    let dir = Scratch::new();
    let (running, process) = start(&dir);
    call(&process, libc::SYS_getppid);
    let end = running.end();
    end.exits(120).explains(&["the jail stopped the image process", "getppid("]).prints("");
    assert!(process.await_end());
    assert_eq!(dir.list(), ["source"]);
}
