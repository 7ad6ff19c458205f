//! Nothing is left behind, a hundred times over: processes, control groups, mounts, temporary files.
//!
//! Each end is come to twenty-five times. That processes and groups are gone is checked at the end of
//! every run, here as everywhere; what would only add up is compared before and after.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bare::Op;
use rustix::process::Signal;
use tests::guests::{READY, announce};
use tests::inject;
use tests::process::PATIENCE;
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

const TIMES: usize = 25;

/// One run, from its start to its end.
type Once = fn(&Scratch);

pub fn tests() -> Vec<Test> {
    let rows: [(&str, Once, &[Need]); 5] = [
        ("a_normal_end", normal, &[Need::Kvm]),
        ("a_time_limit", time_limit, &[Need::Kvm]),
        ("kill_9_of_the_launcher", killed, &[Need::Kvm]),
        ("a_refusal", refused, &[Need::Kvm]),
        ("a_breach", breached, &[Need::Kvm, Need::Root]),
    ];
    let tests = rows.into_iter().map(|(name, once, needs)| {
        Test::new(format!("leftovers::none_of_{name}"), needs, move || repeated(once))
    });
    tests.collect()
}

fn repeated(once: Once) {
    let dir = Scratch::new();
    dir.write("a.img", [0; 512]);
    for own in ["home", "tmp"] {
        std::fs::create_dir(dir.path(own)).unwrap();
    }
    let before = Host::now();
    for _ in 0..TIMES {
        once(&dir);
    }
    // Other tests may be in the middle of clearing up at any one moment.
    let begun = Instant::now();
    while !Host::now().more_than(&before).is_empty() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(Host::now().more_than(&before), Vec::<String>::new(), "left behind");
    assert_eq!(dir.list(), ["a.img", KERNEL, "home", REPORT, "tmp"], "left in the directory");
    for own in ["home", "tmp"] {
        assert_eq!(names(&dir.path(own)), Vec::<String>::new(), "left in {own}");
    }
}

fn boot<'a>(dir: &'a Scratch, program: &[Op]) -> Run<'a> {
    let run = Run::boot(dir, program).args(&["--disk", "a.img", "--mem", "64M"]);
    run.by(&["sh", "-c", "TMPDIR=$PWD/tmp HOME=$PWD/home exec \"$@\"", "sh"])
}

fn normal(dir: &Scratch) {
    boot(dir, &[Op::Exit(9)]).end().exits(9);
}

fn time_limit(dir: &Scratch) {
    boot(dir, &announce(Op::Spin)).args(&["--timeout", "100ms"]).end().exits(124);
}

fn killed(dir: &Scratch) {
    let mut running = boot(dir, &announce(Op::Spin)).start();
    running.await_stdout(READY);
    running.signal(Signal::KILL);
    let end = running.end();
    end.check(end.code.is_none(), "kill -9 ended it");
}

fn breached(dir: &Scratch) {
    let mut running = boot(dir, &announce(Op::Halt)).start();
    running.await_stdout(READY);
    inject::call(&running.worker("blk0"), libc::SYS_getppid);
    running.end().exits(120);
}

fn refused(dir: &Scratch) {
    boot(dir, &[Op::Exit(0)]).args(&["--require", "landlock>=200"]).end().exits(125);
}

/// What casemate could leave on the host, besides processes.
struct Host {
    mounts: BTreeSet<String>,
    files: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Host {
    fn now() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let temporary = ["/dev/shm", "/run", "/var/tmp"].map(Path::new);
        let mut groups = BTreeSet::new();
        find_groups(Path::new("/sys/fs/cgroup"), &mut groups);
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            files: temporary.iter().flat_map(|dir| names(dir)).collect(),
            groups,
        }
    }

    /// What is there now and was not before, as far as it can be casemate's: its mounts are of an empty
    /// tmpfs without a source, its groups and files bear its name.
    fn more_than(&self, before: &Self) -> Vec<String> {
        let is_mount = |line: &&String| {
            line.contains(" - tmpfs none ") || line.contains("casemate") || line.contains("kvm")
        };
        let is_file =
            |name: &&String| name.contains("casemate") && !name.contains("casemate-test-");
        let mounts = self.mounts.difference(&before.mounts).filter(is_mount);
        let files = self.files.difference(&before.files).filter(is_file);
        let groups = self.groups.difference(&before.groups);
        mounts.chain(files).chain(groups).cloned().collect()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

/// Every control group of a launcher that no longer runs.
fn find_groups(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let launcher = name.strip_prefix("casemate-").and_then(|rest| rest.split('-').next());
        if launcher.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            found.insert(entry.path().to_string_lossy().into_owned());
        }
        find_groups(&entry.path(), found);
    }
}
