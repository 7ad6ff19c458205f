//! What a guest leaves for `--out`, and the process that unpacks it.
//!
//! The guest is a bare one, its own agent too: it writes an archive to the output disk byte by byte and says
//! that the command has succeeded. All the rest is as ever: the disk's worker, and the unpack process in its jail.

use std::time::{Duration, Instant};

use bare::Op;
use protocol::collected::{ARCHIVE, Mark};
use protocol::frame::{FromGuest, FromHost};
use rustix::process::Signal;
use tar::EntryType;
use tests::archive::{More, Tar};
use tests::guests::{Answer, Disk, READY};
use tests::inject;
use tests::process::{PATIENCE, Process, alone_with};
use tests::run::{KERNEL, REPORT, Run, Running, programs};
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

use crate::agent::Agent;

/// How much may come out, in bytes.
const MOST: &str = "100000";
const MIB: u64 = 1 << 20;

/// What makes a disk, and words of the line that refuses it.
type Row = (&'static str, fn() -> Vec<u8>, &'static str);

const REFUSED: [Row; 27] = [
    ("nothing_written", Vec::new, "did not complete"),
    ("no_archive", || marked(&Mark::Complete(512), &[1; 512]), "no tar archive"),
    ("a_mark_that_lies", || marked(&Mark::Complete(1 << 40), &[]), "did not complete"),
    ("an_overflowing_mark", || marked(&Mark::Complete(u64::MAX), &[]), "did not complete"),
    ("the_guest_gave_up", || marked(&Mark::Failed("no \x1b room".into()), &[]), "says: no ^[ room"),
    ("cut_off", || marked(&Mark::Complete(1536), &good().unfinished()), "ends early"),
    ("a_damaged_header", || disk(good().raw(&[7; 512])), "checksum"),
    ("a_symbolic_link", || disk(good().link(EntryType::Symlink, "x", "/etc")), "a symbolic link"),
    ("a_hard_link", || disk(good().link(EntryType::Link, "x", "good/file")), "a hard link"),
    ("a_character_device", || special(EntryType::Char, 0o644), "a device"),
    ("a_block_device", || special(EntryType::Block, 0o644), "a device"),
    ("a_fifo", || special(EntryType::Fifo, 0o644), "a FIFO"),
    ("an_unknown_type", || special(EntryType::new(b'V'), 0o644), "type"),
    ("set_user_id", || special(EntryType::Regular, 0o4755), "set-id"),
    ("set_group_id", || special(EntryType::Regular, 0o2755), "set-id"),
    ("set_group_id_of_a_directory", || special(EntryType::Directory, 0o2755), "set-id"),
    ("a_sticky_directory", || special(EntryType::Directory, 0o1777), "sticky"),
    ("an_absolute_path", || disk(good().file("/tmp/x", b"")), "absolute"),
    ("a_path_that_climbs", || disk(good().file("good/../../x", b"")), "\"..\""),
    ("a_long_path_that_climbs", || disk(good().pax("path", b"../x").file("x", b"")), "\"..\""),
    ("a_path_through_a_file", || disk(good().file("good/file/x", b"")), "goes through"),
    ("a_path_through_nothing", || disk(good().file("bad/x", b"")), "goes through"),
    ("the_same_file_twice", || disk(good().file("./good//file", b"")), "twice"),
    ("a_file_for_a_directory", || disk(good().file("good", b"")), "twice"),
    ("a_file_for_all_of_it", || disk(good().file(".", b"")), "not a directory"),
    ("too_much", || disk(good().file("a", &[1; 60_000]).file("b", &[1; 60_000])), "--max-out"),
    (
        "a_file_without_end",
        || disk(good().add(EntryType::Regular, "a", &claims(1 << 40))),
        "--max-out",
    ),
];

pub fn tests() -> Vec<Test> {
    let (kvm, root) = (&[Need::Kvm], &[Need::Kvm, Need::Root]);
    let rows = REFUSED.into_iter();
    let mut tests: Vec<Test> = rows
        .map(|row| Test::new(format!("out::refused::{}", row.0), kvm, move || refused(&row)))
        .collect();
    tests.extend([
        Test::new("out::files_come_out", kvm, comes_out),
        Test::new("out::as_much_as_max_out_and_not_a_byte_more", kvm, cap),
        Test::new("out::ctrl_c_takes_back_what_was_unpacked", kvm, || {
            cut(&[], Some(Signal::INT), 130, "interrupted");
        }),
        Test::new("out::so_does_the_time_limit", kvm, || {
            cut(&["--timeout", "1s"], None, 124, "timeout");
        }),
        Test::new("out::the_process_has_a_group_of_its_own", root, group),
        Test::new("out::without_a_layer_nothing_is_started", kvm, floor),
        // Tracing another user's process takes root.
        Test::new("out::a_forbidden_call_ends_the_run", root, breach),
    ]);
    tests
}

/// What every archive begins with.
fn good() -> Tar {
    Tar::default().directory("good").file("good/file", b"content")
}

fn claims(length: u64) -> More<'static> {
    More { claimed: Some(length), ..More::default() }
}

fn special(kind: EntryType, mode: u32) -> Vec<u8> {
    disk(good().add(kind, "x", &More { mode, device: (1, 3), ..More::default() }))
}

/// A disk with an archive and its mark.
fn disk(archive: Tar) -> Vec<u8> {
    let bytes = archive.bytes();
    marked(&Mark::Complete(bytes.len() as u64), &bytes)
}

fn marked(mark: &Mark, archive: &[u8]) -> Vec<u8> {
    let mut disk = mark.encode().to_vec();
    disk.resize(ARCHIVE as usize, 0);
    disk.extend_from_slice(archive);
    disk.resize(disk.len().next_multiple_of(512), 0);
    disk
}

/// An agent that has written this to the output disk, which comes after the root's.
fn written(bytes: &[u8]) -> Agent {
    let mut agent = Agent::running();
    // The channel is a device more than Disk counts with.
    let mut disk = Disk::new(2);
    agent.ops.extend(disk.up());
    for (piece, sector) in bytes.chunks(128 << 10).zip((0..).step_by(256)) {
        agent.ops.extend(disk.write(sector, piece, Answer::Ok));
    }
    agent
}

/// `casemate run` of this guest, with something to come out to `results`.
fn run<'a>(dir: &'a Scratch, program: &[Op], options: &[&str]) -> Run<'a> {
    dir.write(KERNEL, bare::elf(program));
    dir.write("root.img", [0; 512]);
    let run = Run::new(dir, &["run", "--kernel", KERNEL, "--rootfs", "root.img", "--mem", "64M"]);
    run.args(&["--report", REPORT, "--out", "results"]).args(options).args(&["--", "true"])
}

/// The names of what came out.
fn results(dir: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path("results")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn refused((_, make, words): &Row) {
    let dir = Scratch::new();
    let end = run(&dir, &written(&make()).exits(0), &["--max-out", MOST]).end();
    end.exits(125).outcome("uncollected").prints("").explains(&["\"results\"", words]);
    assert_eq!(results(&dir), [""; 0], "something came out");
    assert_eq!(dir.list(), [KERNEL, REPORT, "results", "root.img"], "something came out elsewhere");
}

fn comes_out() {
    let dir = Scratch::new();
    let end = run(&dir, &written(&disk(good())).exits(0), &["--max-out", MOST]).end();
    end.exits(0).is_silent();
    assert_eq!(dir.read("results/good/file"), b"content");
    let out = &end.report.as_ref().unwrap()["out"][0];
    end.check(out["files"] == 1 && out["bytes"] == 7, "the report has something else");
}

/// What is in all files together counts; directories and names do not.
fn cap() {
    for (more, status) in [(0, 0), (1, 125)] {
        let dir = Scratch::new();
        let content = noise(5, 60_000);
        let archive = Tar::default().directory("d").file("d/a", &content);
        let archive = archive.file("b", &content[..40_000 + more]);
        let end = run(&dir, &written(&disk(archive)).exits(0), &["--max-out", MOST]).end();
        end.exits(status);
        if status == 0 {
            assert_same(&dir.read("results/d/a"), &content, "d/a");
            assert_same(&dir.read("results/b"), &content[..40_000], "b");
        } else {
            end.explains(&["\"b\"", "100000 bytes", "--max-out"]);
            assert_eq!(results(&dir), [""; 0]);
        }
    }
}

/// A file that takes a while, in an archive that the guest hardly had to write.
fn large() -> Vec<u8> {
    const LENGTH: u64 = 16 << 30;
    let archive = good().add(EntryType::Regular, "large", &claims(LENGTH)).unfinished();
    marked(&Mark::Complete(archive.len() as u64 + LENGTH + 1024), &archive)
}

/// Ends a run while `large` is unpacked.
fn cut(options: &[&str], signal: Option<Signal>, status: i32, outcome: &str) {
    let dir = Scratch::new();
    let options = [&["--max-out", "32G"], options].concat();
    let running = run(&dir, &written(&large()).exits(0), &options).start();
    let begun = Instant::now();
    let unpacked = || dir.path("results/large").metadata().map_or(0, |file| file.len());
    while unpacked() < 10 * MIB {
        assert!(begun.elapsed() < PATIENCE, "nothing is unpacked");
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(signal) = signal {
        running.signal(signal);
    }
    let end = running.end();
    end.exits(status).outcome(outcome);
    end.check(
        end.stderr.contains("cannot collect \"results\""),
        "no word on what did not come out",
    );
    assert_eq!(results(&dir), [""; 0], "something is left");
}

/// The process that unpacks, as it waits for its go.
fn unpacker(running: &mut Running) -> Process {
    running.await_stdout(READY);
    running.worker("image")
}

fn waiting() -> Agent {
    let mut agent = written(&disk(good()));
    agent.print(READY);
    agent
}

/// Its memory is not the workers', and theirs is not its own.
fn group() {
    let dir = Scratch::new();
    let mut running = run(&dir, &waiting().then(Op::Spin), &["--max-out", MOST]).start();
    let process = unpacker(&mut running);
    assert_eq!(alone_with(&process, running.pid()), (128 + 256) * MIB);
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    running.signal(Signal::HUP);
    let end = running.end();
    end.check(end.code.is_some_and(|code| code > 128), "another end");
    assert_eq!(results(&dir), [""; 0]);
}

fn floor() {
    let dir = Scratch::new();
    let without = [programs().join("without").into_os_string(), "landlock".into()];
    let end = run(&dir, &waiting().exits(0), &[]).by(&without).end();
    end.exits(125)
        .prints("")
        .explains(&["\"results\"", "layer landlock of the unpack worker is absent"]);
    assert_eq!(results(&dir), [""; 0]);
}

fn breach() {
    let dir = Scratch::new();
    let mut agent = waiting();
    agent.say(&FromGuest::Credit(1));
    agent.expect(&FromHost::Data(b"x"));
    let mut running = run(&dir, &agent.exits(0), &["--max-out", MOST]).open_stdin().start();
    let process = unpacker(&mut running);
    inject::call(&process, libc::SYS_getppid);
    std::io::Write::write_all(&mut running.stdin(), b"x").unwrap();
    let end = running.end();
    end.exits(120).outcome("breach");
    end.check(end.stderr.contains("the jail stopped the unpack process: it tried getppid("), "why");
    assert_eq!(results(&dir), [""; 0]);
}
