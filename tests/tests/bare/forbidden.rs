//! A worker that calls what it must not: the run ends with the worker's and the call's name, or, where
//! that was asked for by an insecure name, the call is made and what would allow it is said.

use bare::Op;
use rustix::process::Signal;
use tests::guests::{READY, announce};
use tests::inject::call;
use tests::run::{Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    // Tracing another user's process takes root.
    let needs = &[Need::Kvm, Need::Root];
    let workers = ["vcpu", "console", "blk0"];
    let breaches = workers.map(|worker| {
        Test::new(format!("forbidden::ends_the_run_of_the_{worker}_worker"), needs, move || {
            breach(worker)
        })
    });
    let lessons = workers.map(|worker| {
        Test::new(format!("forbidden::is_learned_of_the_{worker}_worker"), needs, move || {
            lesson(worker)
        })
    });
    breaches.into_iter().chain(lessons).collect()
}

fn started(dir: &Scratch, args: &[&str]) -> Running {
    dir.write("a.img", [0; 512]);
    let mut running =
        Run::boot(dir, &announce(Op::Halt)).args(&["--disk", "a.img"]).args(args).start();
    running.await_stdout(READY);
    running
}

fn breach(name: &str) {
    let dir = Scratch::new();
    let running = started(&dir, &[]);
    call(&running.worker(name), libc::SYS_getppid);
    let end = running.end();
    end.exits(120).outcome("breach").blames(name);
    end.explains(&["the jail stopped", name, "getppid("]);
    let number = end.report.as_ref().unwrap()["call"]["number"].as_i64();
    end.check(number == Some(libc::SYS_getppid), "the report has another call");
}

fn lesson(name: &str) {
    let dir = Scratch::new();
    let mut running = started(&dir, &["--insecure-learn-syscalls"]);
    let worker = running.worker(name);
    // It comes back as interrupted, which every loop knows and goes on from. Said once, however often
    // it is called.
    for _ in 0..3 {
        call(&worker, libc::SYS_restart_syscall);
        running.await_stderr("restart_syscall");
    }
    assert!(worker.is_alive());
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143).outcome("interrupted");
    let rule = "rule(libc::SYS_restart_syscall, \"restart_syscall\", &[], \"why\")";
    let line = format!("casemate: learned for the {name} worker: {rule}\n");
    end.check(end.stderr.matches("learned").count() == 1, "expected one lesson");
    end.check(end.stderr.starts_with(&line), "expected the rule that would allow the call");
    let insecure = end.report.as_ref().unwrap()["insecure"].clone();
    end.check(insecure == serde_json::json!(["insecure-learn-syscalls"]), "the report is silent");
}
