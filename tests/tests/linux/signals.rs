//! What signals to casemate do to the command.

use rustix::process::Signal;
use tests::run::Running;
use tests::scratch::Scratch;
use tests::suite::Test;

use crate::{NEEDS, run, script};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("signals::one_that_the_command_catches", NEEDS, caught),
        Test::new("signals::one_that_ends_the_command", NEEDS, deadly),
        Test::new("signals::the_third_one_ends_the_run", NEEDS, insistent),
        Test::new("signals::kill_9_leaves_nothing", NEEDS, killed),
    ]
}

/// A script that is ready when it says so.
fn started(dir: &Scratch, text: &str) -> Running {
    let mut running = run(dir, &[], &script(text)).start();
    running.await_stdout("ready\n");
    running
}

fn caught() {
    let dir = Scratch::new();
    let running = started(&dir, "trap 'echo caught; exit 5' TERM; echo ready; sleep 1000 & wait");
    running.signal(Signal::TERM);
    running.end().exits(5).outcome("exited").prints("ready\ncaught\n").is_silent();
}

fn deadly() {
    let dir = Scratch::new();
    let running = started(&dir, "echo ready; exec sleep 1000");
    running.signal(Signal::INT);
    running.end().exits(130).outcome("signaled").is_silent();
}

fn insistent() {
    let dir = Scratch::new();
    let running = started(&dir, "trap '' HUP INT TERM; echo ready; sleep 1000");
    // Different ones: two of a kind may become one.
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        running.signal(signal);
    }
    running.end().exits(143).outcome("interrupted").explains(&["signal 15"]);
}

fn killed() {
    let dir = Scratch::new();
    let running = started(&dir, "echo ready; while :; do :; done");
    let workers = running.workers();
    assert_eq!(workers.len(), 3, "{workers:?}");
    running.signal(Signal::KILL);
    for worker in workers {
        assert!(worker.await_end(), "{worker:?} outlived its launcher");
    }
    let end = running.end();
    end.check(end.code.is_none(), "kill -9 ended it");
}
