//! The jail of a running guest's workers, as the kernel tells it of every thread; and that the report
//! says the same.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bare::Op;
use rustix::process::{Signal, getpid};
use tests::guests::{READY, announce};
use tests::process::Process;
use tests::run::{Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

const MIB: u64 = 1 << 20;

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Every layer by its name in the report.
const LAYERS: [&str; 15] = [
    "user-ns",
    "root",
    "pid-ns",
    "net-ns",
    "ipc-ns",
    "uts-ns",
    "cgroup-ns",
    "cgroup",
    "core-sched",
    "descriptors",
    "limits",
    "capabilities",
    "no-new-privs",
    "landlock",
    "seccomp",
];

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (who, started) in [("root", as_root as Start), ("a_user", as_user as Start)] {
        // What is read of other users' processes takes root.
        let needs = &[Need::Kvm, Need::Root, Need::Namespaces];
        let mut add = |name: &str, check: fn(&Running)| {
            let name = format!("jail::as_{who}::{name}");
            tests.push(Test::new(name, needs, move || {
                let dir = Scratch::new();
                let running = started(&dir);
                check(&running);
                running.signal(Signal::TERM);
                running.end().exits(143);
            }));
        };
        add("no_capability_in_any_set_of_any_thread", capabilities);
        add("a_filter_and_no_new_privs_on_every_thread", filters);
        add("no_thread_is_root_of_the_host", ids);
        add("no_namespace_is_ours_or_another_workers", namespaces);
        add("the_root_is_empty_and_read_only", roots);
        add("limits_are_those_of_the_worker", limits);
    }
    let needs = &[Need::Kvm, Need::Root, Need::Namespaces];
    tests.push(Test::new("jail::as_root::the_report_says_so", needs, || reported(as_root, &[])));
    tests.push(Test::new("jail::as_a_user::the_report_says_so", needs, || {
        reported(as_user, &["cgroup"]);
    }));
    tests.push(Test::new("jail::the_group_has_its_limits", needs, group));
    tests
}

type Start = fn(&Scratch) -> Running;

fn boot<'a>(dir: &'a Scratch) -> Run<'a> {
    dir.write("a.img", [0; 1024]);
    dir.write("b.img", [0; 512]);
    let args = ["--cpus", "2", "--mem", "64M", "--disk", "a.img", "--disk", "b.img,ro"];
    Run::boot(dir, &announce(Op::Spin)).args(&args)
}

fn as_root(dir: &Scratch) -> Running {
    ready(boot(dir))
}

fn as_user(dir: &Scratch) -> Running {
    ready(boot(dir).as_user())
}

fn ready(run: Run<'_>) -> Running {
    let mut running = run.start();
    running.await_stdout(READY);
    running
}

/// Every thread of every worker.
fn threads(running: &Running) -> Vec<(Process, i32)> {
    let workers = running.workers();
    assert_eq!(workers.len(), 4, "{workers:?}");
    let threads: Vec<_> = workers
        .iter()
        .flat_map(|worker| worker.thread_ids().into_iter().map(|id| (worker.clone(), id)))
        .collect();
    // Two vCPUs, three devices, and whatever KVM has started.
    assert!(threads.len() >= 5, "{threads:?}");
    threads
}

fn capabilities(running: &Running) {
    for (worker, thread) in threads(running) {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let value = worker.status(thread, set);
            assert_eq!(value, "0000000000000000", "{set} of {thread} of {}", worker.name);
        }
    }
}

fn filters(running: &Running) {
    let me = Process::of(getpid());
    let ours: u32 = me.status(me.thread_ids()[0], "Seccomp_filters").parse().unwrap();
    for (worker, thread) in threads(running) {
        let of = |field| worker.status(thread, field);
        assert_eq!(of("Seccomp"), "2", "{}", worker.name);
        assert_eq!(of("Seccomp_filters"), (ours + 1).to_string(), "{}", worker.name);
        assert_eq!(of("NoNewPrivs"), "1", "{}", worker.name);
    }
}

fn ids(running: &Running) {
    let launcher = Process::of(running.pid());
    let launcher = launcher.status(launcher.thread_ids()[0], "Uid");
    let as_root = launcher.starts_with("0\t");
    for (worker, thread) in threads(running) {
        for field in ["Uid", "Gid"] {
            let ids = worker.status(thread, field);
            let ids: BTreeSet<u32> =
                ids.split_ascii_whitespace().map(|id| id.parse().unwrap()).collect();
            let id = *ids.first().unwrap();
            assert!(ids.len() == 1 && id != 0, "{field} of {}: {ids:?}", worker.name);
            assert_eq!(id >= 0x7000_0000, as_root, "{field} of {}: {id}", worker.name);
        }
        assert_eq!(worker.status(thread, "Groups"), "", "{}", worker.name);
    }
}

fn namespaces(running: &Running) {
    let me = Process::of(getpid());
    let mut seen: BTreeSet<PathBuf> =
        NAMESPACES.into_iter().map(|kind| me.namespace(me.thread_ids()[0], kind)).collect();
    for worker in running.workers() {
        let of = |thread| NAMESPACES.map(|kind| worker.namespace(thread, kind));
        let threads = worker.thread_ids();
        let first = of(threads[0]);
        for thread in threads {
            assert_eq!(of(thread), first, "a thread of {}", worker.name);
        }
        for namespace in first {
            let of_its_own = seen.insert(namespace.clone());
            assert!(of_its_own, "{} shares {namespace:?}", worker.name);
        }
        // It is the first process of its pid namespace, and the only one.
        let ids = worker.status(worker.thread_ids()[0], "NSpid");
        assert_eq!(ids.split_ascii_whitespace().last(), Some("1"), "{}", worker.name);
    }
}

fn roots(running: &Running) {
    for worker in running.workers() {
        assert_eq!(worker.root_entries(), Vec::<String>::new(), "{}", worker.name);
        let mounts = worker.mounts();
        let [mount] = &mounts[..] else { panic!("{} sees {mounts:?}", worker.name) };
        let options = mount.split(' ').nth(5).unwrap();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.split(',').any(|o| o == option), "{}: {mount}", worker.name);
        }
    }
}

fn limits(running: &Running) {
    let address_space = ((64 + 256) * MIB).to_string();
    let data = (64 * MIB).to_string();
    for worker in running.workers() {
        let (size, processes) = match &*worker.name {
            "casemate-vcpu" => ("0", "6"),
            "casemate-blk0" => ("1024", "0"),
            "casemate-blk1" => ("512", "0"),
            // No file is behind its outputs: they are pipes.
            _ => ("65536", "0"),
        };
        let rows = [
            ("Max address space", &*address_space),
            ("Max data size", &data),
            ("Max stack size", "8388608"),
            ("Max core file size", "0"),
            ("Max locked memory", "0"),
            ("Max msgqueue size", "0"),
            ("Max file size", size),
            ("Max processes", processes),
        ];
        for (name, most) in rows {
            let both = (most.to_owned(), most.to_owned());
            assert_eq!(worker.limit(name), both, "{name} of {}", worker.name);
        }
        let (files, _) = worker.limit("Max open files");
        assert!(files.parse::<u32>().unwrap() <= 11, "{} may open {files}", worker.name);
    }
}

fn reported(start: Start, missing: &[&str]) {
    let dir = Scratch::new();
    let running = start(&dir);
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143);
    let found = end.report.as_ref().unwrap()["layers"].as_array().unwrap().clone();
    let names: Vec<_> = found.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    end.check(names == LAYERS, "the report has other layers");
    for layer in &found {
        let name = layer["layer"].as_str().unwrap();
        let expected = if missing.contains(&name) { "absent" } else { "active" };
        // Whether there are cores to share is the machine's.
        let holds = layer["state"] == expected || name == "core-sched";
        end.check(holds, &format!("{name} should be {expected}"));
        let explained = layer["reason"].as_str().is_some_and(|reason| !reason.is_empty());
        end.check(explained == (layer["state"] != "active"), &format!("the reason of {name}"));
    }
}

fn group() {
    let dir = Scratch::new();
    let running = as_root(&dir);
    let groups = tests::process::groups_of(running.pid());
    assert!(!groups.is_empty(), "root has a control group wherever there are any");
    // Two vCPUs, four workers, and four more threads.
    let memory = ((64 + 256) * MIB).to_string();
    let rows: [(&str, &str); 5] = [
        ("memory.max", &memory),
        ("memory.limit_in_bytes", &memory),
        ("pids.max", "10"),
        ("cpu.max", "300000 100000"),
        ("cpu.cfs_quota_us", "300000"),
    ];
    let mut found = BTreeSet::new();
    for group in &groups {
        for (file, value) in rows {
            if let Ok(text) = std::fs::read_to_string(group.join(file)) {
                assert_eq!(text.trim(), value, "{file} of {group:?}");
                found.insert(file.split('.').next().unwrap());
            }
        }
        let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        let mut members: BTreeSet<i32> = members.lines().map(|id| id.parse().unwrap()).collect();
        for worker in running.workers() {
            let id = worker.pid.as_raw_nonzero().get();
            assert!(members.remove(&id), "{} is not in {group:?}", worker.name);
        }
        // Some kernels have a thread of KVM's there, which counts as a process.
        let name = |id| std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap();
        let others: Vec<_> = members.into_iter().map(name).collect();
        assert!(others.iter().all(|name| name.starts_with("kvm")), "{others:?} in {group:?}");
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["cpu", "memory", "pids"]);
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143);
    let group = end.report.as_ref().unwrap()["limits"]["group"].clone();
    let expected = serde_json::json!({
        "memory_bytes": (64 + 256) * MIB, "threads": 10, "cpus": 3
    });
    end.check(group == expected, "the report has other limits of the group");
}
