//! Memory of the host's huge pages: it is, or the run is refused, and no page is held longer than it takes.

use std::path::Path;

use bare::Op;
use rustix::process::Signal;
use serde_json::json;
use tests::guests::{READY, announce};
use tests::huge_pages::{Pool, SIZE};
use tests::run::{End, Run, Running};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::memory;

/// Memory of these guests, and how many huge pages that are.
const MEMORY: [&str; 3] = ["--hugepages", "--mem", "64M"];
const COUNT: u64 = 32;

pub fn tests() -> Vec<Test> {
    let needs = &[Need::Kvm, Need::Root, Need::HugePages(2 * COUNT)];
    let mut tests = vec![
        Test::new("huge_pages::every_worker_maps_them", needs, mapped),
        Test::new("huge_pages::a_user_gets_them_too", needs, user),
        Test::new("huge_pages::one_too_few_is_refused_before_the_start", needs, one_too_few),
        Test::new("huge_pages::those_of_another_run_are_not_there", needs, taken),
        Test::new("huge_pages::a_killed_run_gives_them_back", needs, killed),
        Test::new("huge_pages::transparent_ones_are_asked_for", &[Need::Kvm, Need::Root], advised),
        Test::new("huge_pages::transparent_ones_back_ram", &[Need::Kvm, Need::Root], || {
            used(false)
        }),
        Test::new("huge_pages::and_a_user_s", &[Need::Kvm, Need::Root], || used(true)),
        Test::new("huge_pages::none_back_small_pages", &[Need::Kvm, Need::Root], small),
        Test::new("huge_pages::without_the_option_none_is_taken", needs, without),
    ];
    // On both sides of the hole, and not all of the last GiB below it.
    for (size, count) in [("32", 16), ("128M", 64), ("3074M", 1537)] {
        let needs = [Need::Kvm, Need::Root, Need::HugePages(count)];
        let check = move || {
            let pool = Pool::with(count);
            memory::check(size, &["--hugepages"]);
            assert_eq!(pool.left(), count, "free pages afterwards");
        };
        tests.push(Test::new(format!("huge_pages::memory_of_{size}"), &needs, check));
    }
    tests
}

/// A guest with a disk that is up and goes on.
fn started(dir: &Scratch) -> Running {
    dir.write("a.img", [0; 512]);
    let mut running =
        Run::boot(dir, &announce(Op::Spin)).args(&["--disk", "a.img"]).args(&MEMORY).start();
    running.await_stdout(READY);
    running
}

fn mapped() {
    let (dir, pool) = (Scratch::new(), Pool::with(COUNT));
    let running = started(&dir);
    assert_eq!(pool.left(), 0, "free pages while the guest runs");
    for (name, control_pages) in [("vcpu", 2), ("console", 1), ("blk0", 1)] {
        let worker = running.worker(name);
        let part = "guest-memory";
        assert_eq!(worker.mappings_of(part), [COUNT * SIZE], "{name}: RAM");
        assert_eq!(worker.page_sizes_of(part), [SIZE], "{name}: pages of RAM");
        let pages: u64 = worker.mappings_of("control-pages").iter().sum();
        assert_eq!(pages, control_pages * 4096, "{name}: control pages");
    }
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143);
    reports(&end, SIZE, false);
    assert_eq!(pool.left(), COUNT, "free pages afterwards");
}

fn user() {
    let (dir, pool) = (Scratch::new(), Pool::with(COUNT));
    Run::boot(&dir, &[Op::Exit(3)]).args(&MEMORY).as_user().end().exits(3).is_silent();
    assert_eq!(pool.left(), COUNT, "free pages afterwards");
}

fn one_too_few() {
    let (dir, pool) = (Scratch::new(), Pool::with(COUNT - 1));
    refused(&Run::boot(&dir, &announce(Op::Spin)).args(&MEMORY).end(), COUNT - 1);
    assert_eq!(pool.left(), COUNT - 1, "free pages afterwards");
    pool.leave(COUNT);
    Run::boot(&dir, &[Op::Exit(3)]).args(&MEMORY).end().exits(3).is_silent();
}

/// The fix that the line proposes mends it.
fn taken() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let pool = Pool::with(COUNT + 2);
    let running = started(&first);
    let another = || Run::boot(&second, &[Op::Exit(3)]).args(&MEMORY).end();
    let end = another();
    refused(&end, 2);
    let fix = end.stderr.split_once("echo ").and_then(|(_, rest)| rest.split_once(" >/sys/"));
    pool.set(fix.unwrap().0.parse().unwrap());
    another().exits(3).is_silent();
    running.signal(Signal::TERM);
    running.end().exits(143);
}

fn refused(end: &End, left: u64) {
    end.exits(125).outcome("refused").prints("");
    let free = format!("{left} of the host's");
    end.explains(&["cannot reserve 32 huge pages of 2 MiB", &free, "nr_hugepages"]);
    end.check(end.phase("spawned").is_none(), "it was refused before anything was started");
}

fn killed() {
    let (dir, pool) = (Scratch::new(), Pool::with(COUNT));
    for _ in 0..5 {
        let running = started(&dir);
        running.signal(Signal::KILL);
        running.end();
        assert_eq!(pool.left(), COUNT, "free pages afterwards");
    }
}

/// Whether it gets them is for the host to say.
fn advised() {
    let dir = Scratch::new();
    dir.write("a.img", [0; 512]);
    let mut running = Run::boot(&dir, &announce(Op::Spin)).args(&["--disk", "a.img"]).start();
    running.await_stdout(READY);
    for name in ["vcpu", "console", "blk0"] {
        assert_eq!(advice(&running, name, "hg"), has_transparent(), "{name}");
    }
    running.signal(Signal::TERM);
    running.end().exits(143);
}

/// Whether a worker gave this advice, as VmFlags has it, about its RAM.
fn advice(running: &Running, worker: &str, flag: &str) -> bool {
    let flags = running.worker(worker).fields_of("guest-memory", "VmFlags:").concat();
    flags.split(' ').any(|given| given == flag)
}

/// The first touched page of RAM is a huge one, unless the host wants none.
fn used(by_user: bool) {
    let dir = Scratch::new();
    let run = Run::boot(&dir, &announce(Op::Spin)).args(&["--mem", "64M"]);
    let mut running = if by_user { run.as_user() } else { run }.start();
    running.await_stdout(READY);
    let field = |field| running.worker("vcpu").fields_of("guest-memory", field);
    let kibibytes = |size: &str| size.trim_end_matches(" kB").parse::<u64>().unwrap();
    let huge: u64 = field("ShmemPmdMapped:").iter().map(|size| kibibytes(size)).sum();
    assert_eq!(huge > 0, has_transparent(), "{huge} KiB in huge pages");
    running.signal(Signal::TERM);
    reports(&running.end(), 4096, has_transparent());
}

/// Not even where the host gives them to every file that has no setting of its own.
fn small() {
    let dir = Scratch::new();
    let shared = Path::new("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    let before = shared.exists().then(|| Setting::of(shared));
    for setting in ["never", "advise"] {
        before.iter().for_each(|before| before.change(setting));
        let run = Run::boot(&dir, &announce(Op::Spin)).args(&["--mem", "64M", "--small-pages"]);
        let mut running = run.start();
        running.await_stdout(READY);
        let field = |field| running.worker("vcpu").fields_of("guest-memory", field);
        assert_eq!(field("ShmemPmdMapped:"), ["0 kB"], "{setting}");
        for name in ["vcpu", "console"] {
            assert_eq!(advice(&running, name, "nh"), shared.exists(), "{name}");
        }
        running.signal(Signal::TERM);
        reports(&running.end(), 4096, false);
    }
}

/// A setting of the host, put back when this goes.
struct Setting<'a> {
    path: &'a Path,
    before: String,
}

impl<'a> Setting<'a> {
    fn of(path: &'a Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        Self { path, before: chosen.unwrap().0.to_owned() }
    }

    fn change(&self, value: &str) {
        std::fs::write(self.path, value).unwrap();
    }
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        self.change(&self.before);
    }
}

fn without() {
    let (dir, pool) = (Scratch::new(), Pool::with(COUNT));
    let mut running = Run::boot(&dir, &announce(Op::Spin)).args(&["--mem", "64M"]).start();
    running.await_stdout(READY);
    assert_eq!(pool.left(), COUNT, "free pages while the guest runs");
    assert_eq!(running.worker("vcpu").page_sizes_of("guest-memory"), [4096]);
    running.signal(Signal::TERM);
    reports(&running.end(), 4096, has_transparent());
}

/// Memory in the report.
fn reports(end: &End, page_bytes: u64, transparent: bool) {
    let bytes = COUNT * SIZE;
    let memory = json!({"bytes": bytes, "page_bytes": page_bytes, "transparent": transparent});
    end.check(end.report.as_ref().unwrap()["memory"] == memory, "another memory in the report");
}

/// Whether this host gives transparent huge pages to who asks.
fn has_transparent() -> bool {
    let state = |file: &str| {
        let path = Path::new("/sys/kernel/mm/transparent_hugepage").join(file);
        std::fs::read_to_string(path).unwrap_or_else(|_| "[never]".to_owned())
    };
    !state("enabled").contains("[never]") && !state("shmem_enabled").contains("[deny]")
}
