//! `casemate drill`: nothing gets through all layers, and each layer alone stops what it is for.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::process::PATIENCE;
use tests::run::{End, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

/// A technique, a layer that stops it alone, and one that does not. The cgroup namespace is not among
/// them: it hides names, and stops nothing that another layer does not.
const ROWS: [(&str, &str, &str); 14] = [
    ("open_passwd", "root", "net-ns"),
    ("openat2_passwd", "landlock", "pid-ns"),
    ("truncate_path", "user-ns", "capabilities"),
    ("attach", "pid-ns", "net-ns"),
    ("connect_tcp", "net-ns", "root"),
    ("shared_memory", "ipc-ns", "uts-ns"),
    ("set_host_name", "uts-ns", "ipc-ns"),
    ("use_processes", "cgroup", "root"),
    ("leaked_file", "descriptors", "landlock"),
    ("use_heap", "limits", "seccomp"),
    ("mount", "capabilities", "limits"),
    ("execute_set_id", "no-new-privs", "limits"),
    ("execute_memfd", "seccomp", "no-new-privs"),
    ("leave_cgroup", "root", "cgroup-ns"),
];

const QUICK: [&str; 3] = ["drill", "--quick", "--json"];
/// More than a thousand processes, each with namespaces of its own, maybe on an emulated machine.
const LIMIT: Duration = Duration::from_secs(600);

pub fn tests() -> Vec<Test> {
    let root = &[Need::Kvm, Need::Root];
    vec![
        Test::new("drill::nothing_gets_through_as_root", root, || {
            let dir = Scratch::new();
            holds(&Run::new(&dir, &QUICK).limit(LIMIT).end(), 120);
        }),
        Test::new("drill::nothing_gets_through_as_a_user", &[Need::Kvm, Need::Namespaces], || {
            let dir = Scratch::new();
            holds(&Run::new(&dir, &QUICK).limit(LIMIT).as_user().end(), 80);
        }),
        Test::new("drill::each_layer_alone_stops_what_it_is_for", root, layers),
        Test::new("drill::a_signal_ends_it_and_nothing_is_left", &[Need::Kvm], interrupted),
        Test::new("drill::a_technique_that_is_not_there", &[], unknown),
        Test::new("drill::lists_its_techniques", &[], list),
    ]
}

fn report(end: &End) -> Value {
    let report = serde_json::from_slice(&end.stdout);
    report.unwrap_or_else(|error| panic!("no JSON: {error}: {}", end.stderr))
}

/// `possible`: at least so many techniques get through where no layer is on, or the prober is no good.
fn holds(end: &End, possible: usize) {
    end.check(end.code == Some(0) && end.stderr.is_empty(), "the drill did not end well");
    let report = report(end);
    assert_eq!(report["held"], true);
    let workers = report["workers"].as_array().unwrap();
    let names: Vec<_> = workers.iter().map(|worker| worker["worker"].as_str().unwrap()).collect();
    assert_eq!(names, ["vcpu", "console", "blk0", "blk1", "blk2"]);
    for (name, worker) in names.iter().zip(workers) {
        let calls = &worker["calls"];
        assert_eq!(calls["mismatch"], Value::Null, "{name}: a filter that is not its table's");
        assert!(calls["tried"].as_u64().unwrap() > 2000, "{name}: {calls}");
        let most = if *name == "vcpu" { 12 } else { 10 };
        assert!((1..=most).contains(&calls["allowed"].as_u64().unwrap()), "{name}: {calls}");
        let techniques = worker["techniques"].as_array().unwrap();
        let with = |place: &str| {
            let through = |t: &&Value| t[place]["result"] == "through";
            techniques.iter().filter(through).map(|t| t["id"].as_str().unwrap()).collect::<Vec<_>>()
        };
        assert!(techniques.len() >= 90, "{name}: {} techniques", techniques.len());
        assert!(with("host").len() >= possible, "{name}: only {:?}", with("host"));
        assert_eq!(with("all"), ["rdtsc"], "{name}");
    }
}

fn layers() {
    let dir = Scratch::new();
    let names = ROWS.map(|(technique, ..)| technique);
    let run = Run::new(&dir, &["drill", "--json", "--worker", "console"]);
    let end = run.args(&names).limit(LIMIT).end();
    end.check(end.code == Some(0), "the drill did not end well");
    let report = report(&end);
    let techniques = report["workers"][0]["techniques"].as_array().unwrap();
    assert_eq!(techniques.len(), ROWS.len());
    for (technique, layer, other) in ROWS {
        let row = techniques.iter().find(|row| row["id"] == technique).unwrap();
        let result = |cell: &Value| cell["result"].as_str().unwrap_or("none").to_owned();
        assert_eq!(result(&row["host"]), "through", "{technique} without any layer");
        let alone = &row["alone"];
        let stopped = ["filter", "errno", "in-vain", "signal", "confined"];
        let with = result(&alone[layer]);
        assert!(stopped.contains(&with.as_str()), "{technique} with {layer} alone: {with}");
        assert_eq!(result(&alone[other]), "through", "{technique} with {other} alone");
        assert_ne!(result(&row["all"]), "through", "{technique} with all layers");
    }
}

/// Processes and control groups are looked for at the end of every run.
fn interrupted() {
    let dir = Scratch::new();
    let temporary = format!("TMPDIR={}", dir.dir().display());
    let run = Run::new(&dir, &["drill"]).by(&["env", &temporary]);
    let running = run.start();
    let laid_out = || dir.list().iter().any(|name| name.starts_with("casemate-drill-"));
    let begun = Instant::now();
    while !laid_out() {
        assert!(begun.elapsed() < PATIENCE, "no bait is laid out");
        thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    let end = running.end();
    end.check(end.code == Some(130), "expected the signal's status").prints("");
    assert_eq!(dir.list(), Vec::<String>::new(), "left behind");
}

fn unknown() {
    let dir = Scratch::new();
    let end = Run::new(&dir, &["drill", "open_sesame"]).end();
    end.check(end.code == Some(2), "expected a usage error").explains(&["open_sesame", "--list"]);
}

fn list() {
    let dir = Scratch::new();
    let end = Run::new(&dir, &["drill", "--list"]).end();
    end.check(end.code == Some(0), "expected a list").is_silent();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    end.check(text.lines().count() >= 90, "expected ninety techniques");
    for (technique, ..) in ROWS {
        end.check(text.contains(technique), technique);
    }
}
