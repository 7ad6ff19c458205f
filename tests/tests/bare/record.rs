//! `--record`: what a guest does with its devices, as a fuzz program that does the same again.

use std::path::Path;

use bare::virtio::{Buffer, register, set};
use bare::{Op, Width};
use devices::violation::Violation;
use programs::whole::look;
use serde_json::{Value, json};
use tests::guests::{Answer, Console, Disk, FOREVER, NOT_SERVED, OWN, READY, announce};
use tests::run::{End, Run};
use tests::scratch::{Scratch, assert_same};
use tests::suite::{Need, Test};

use crate::violations;

/// The record's name in the test's directory.
const RECORD: &str = "record";
/// The most that a record may be long, in bytes.
const MOST: usize = 4 << 20;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let mut tests = vec![
        Test::new("record::a_guest_is_replayed_as_it_was", kvm, as_it_was),
        Test::new("record::other_devices_work_and_are_counted", kvm, others),
        Test::new("record::a_flood_ends_at_the_cap", kvm, flood),
        Test::new("record::kicks_of_nothing_take_a_byte_each", kvm, idle_kicks),
        Test::new("record::input_is_not_recorded", kvm, input),
        Test::new("record::the_vcpu_worker_holds_one_file_and_the_kicks", kvm, descriptors),
        Test::new("record::without_it_there_is_no_file", kvm, without),
        Test::new("record::refused", &[], refused),
    ];
    for (worker, name, guest, violation) in violations::guests() {
        let check = move || violation_again(worker, name, &guest, violation);
        tests.push(Test::new(format!("record::violations::{worker}::{name}"), kvm, check));
    }
    tests
}

/// A program's disk.
fn image() -> Vec<u8> {
    (0u8..251).cycle().take(4096).collect()
}

fn record<'a>(dir: &'a Scratch, guest: &[Op]) -> Run<'a> {
    dir.write("disk.img", image());
    Run::boot(dir, guest).args(&["--disk", "disk.img", "--record", RECORD])
}

fn replay(dir: &Scratch) -> (End, Value) {
    let end = Run::new(dir, &["replay", "--json", RECORD]).end();
    let json = serde_json::from_slice(&end.stdout);
    end.check(json.is_ok(), "stdout is no JSON");
    (end, json.unwrap())
}

/// What the report has of a record.
fn report(end: &End) -> Value {
    end.report.as_ref().map(|report| report["record"].clone()).unwrap_or_default()
}

/// A record's part of the report; the counts that are not given are 0.
fn parts(counts: &[(&str, Value)]) -> Value {
    let mut all = json!({
        "clipped_buffers": 0, "left_out_room": 0, "left_out_devices": 0, "left_out_widths": 0,
        "stopped": null,
    });
    for (name, count) in counts {
        all[name] = count.clone();
    }
    all
}

/// Every kind of request, errors, a reset, a chain that is there before its device is, output.
fn guest() -> Vec<Op> {
    let (mut console, mut disk) = (Console::new(), Disk::new(0));
    let image = image();
    let mut ops = console.up();
    ops.extend(console.say("one\n"));
    ops.extend(disk.up());
    ops.extend(disk.read(1, &image[512..1536]));
    ops.extend(disk.write(3, &[7; 1024], Answer::Ok));
    ops.extend(disk.write(8, &[9; 512], Answer::Error));
    ops.extend(disk.flush());
    ops.extend(disk.identify("casemate-blk0"));
    ops.extend(disk.request(99, 0, None, Answer::Unsupported));
    ops.extend(console.say("a longer line, of more than one word of memory\n"));
    ops.push(set(disk.device, register::STATUS, 0));
    ops.extend(disk.forget());
    // The last chain that was written is a request of kind 99; it has a header and a status.
    ops.extend(disk.queue.offer(0, 0));
    ops.extend(disk.up());
    ops.extend(disk.queue.await_used(0, 0, FOREVER, NOT_SERVED));
    ops.extend(console.say("two\n"));
    ops
}

/// The record is committed as a seed of the fuzz target. With `CASEMATE_WRITE` set, it is written there
/// instead of compared.
fn as_it_was() {
    let dir = Scratch::new();
    let end = record(&dir, &guest()).end();
    end.exits(0).outcome("exited").is_silent();
    assert_eq!(report(&end), parts(&[]));
    let program = dir.read(RECORD);
    let seed = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seed = seed.join("../devices/fuzz/corpus/whole/seed-recorded");
    if std::env::var_os("CASEMATE_WRITE").is_some() {
        std::fs::write(&seed, &program).unwrap();
    }
    assert_same(&program, &std::fs::read(&seed).unwrap(), "the seed");

    // The models of the fuzz target find nothing, and the same.
    let ought = look(&program);
    assert!(ought.first.is_none() && !ought.entangled);
    assert_same(&ought.image[..4096], &dir.read("disk.img"), "the model's disk");
    assert_same(&ought.output, &end.stdout, "the model's output");

    let (again, json) = replay(&dir);
    again.exits(0);
    again.check(json["disk"]["sha256"] == sha256(&dir.read("disk.img")), "another disk");
    again.check(json["console"]["sha256"] == sha256(&end.stdout), "another output");
    again.check(json["left_out"].as_object().unwrap().values().all(|n| *n == 0), "left out");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What ended a worker is in the record, and ends it again: here as in the models. But a device that is started
/// looks at its rings, and may be so late that it finds what its guest has not kicked it for yet. Then nobody
/// ever does, and the guest is recorded once more.
fn violation_again(worker: &str, name: &str, guest: &[Op], violation: Violation) {
    const TRIES: usize = 5;
    let (again, json) = (0..TRIES)
        .map(|_| record_violation(worker, guest, violation))
        .find(|(_, json)| json["worker"] == worker || json["done"]["kicks"] != 0)
        .unwrap();
    // A chain of more than 4 GiB does not fit a program, and what is left of it is another mistake.
    if name != "longer_than_4_gib" {
        again.check(json["worker"] == worker, "another worker");
        let reason = json["reason"].as_str().unwrap_or_default();
        again.check(reason.contains(&violation.to_string()), "replayed as another violation");
    }
}

/// Records a guest that is a violation, and replays the record.
fn record_violation(worker: &str, guest: &[Op], violation: Violation) -> (End, Value) {
    let dir = Scratch::new();
    let end = record(&dir, guest).args(&["--mem", violations::MEMORY]).end();
    end.exits(119).outcome("violation").blames(worker);
    end.check(end.stderr.contains(&violation.to_string()), "another violation");
    assert_same(&dir.read("disk.img"), &image(), "the image");
    let program = dir.read(RECORD);
    assert!(program.len() < 24 << 10, "{} bytes", program.len());
    look(&program);
    replay(&dir)
}

fn others() {
    let dir = Scratch::new();
    let (mut first, mut second) = (Disk::new(0), Disk::new(1));
    let mut ops = second.up();
    ops.extend(second.write(0, &[5; 512], Answer::Ok));
    ops.extend(first.up());
    ops.extend(first.read(0, &image()[..512]));
    // A width that no register has.
    let addr = register(first.device, register::STATUS);
    ops.push(Op::Write { width: Width::Word, addr, value: 0 });
    dir.write("second.img", [0; 512]);
    let end = record(&dir, &ops).args(&["--disk", "second.img"]).end();
    end.exits(0);
    assert_eq!(dir.read("second.img"), [5; 512]);
    let record = report(&end);
    // At least half of what there was.
    let count = record["left_out_devices"].as_u64();
    end.check(count.is_some_and(|count| (10..30).contains(&count)), "the other disk's accesses");
    end.explains(&["the record is a part", "accesses to other devices"]);
    replay(&dir).0.exits(0);
}

/// More output than there is room for.
fn flood() {
    const LEN: u32 = 8192;
    const COUNT: u64 = 600;
    let dir = Scratch::new();
    let console = Console::new();
    let queue = console.transmit;
    let mut ops = console.up();
    ops.push(queue.chain(0, &[Buffer { addr: OWN, len: LEN, writable: false }]));
    ops.push(Op::Repeat { count: COUNT, ops: queue.again(Console::DEVICE, 1, NOT_SERVED) });
    let end = record(&dir, &ops).end();
    end.exits(0).explains(&["the record is a part", "as long as it may be, 4 MiB"]);
    end.check(end.stdout.len() as u64 == u64::from(LEN) * COUNT, "output is lost");
    let len = dir.read(RECORD).len();
    assert!(len <= MOST && len > MOST - 32 * 1024, "{len} bytes");
    let stopped = report(&end)["stopped"].clone();
    end.check(stopped.as_str().is_some_and(|why| why.contains("4 MiB")), "the report's reason");
    let (again, json) = replay(&dir);
    again.exits(0);
    // It has all of it up to where it ends.
    let output = json["console"]["bytes"].as_u64().unwrap();
    again.check(output >= 300 * u64::from(LEN) && output.is_multiple_of(LEN.into()), "output");
}

fn idle_kicks() {
    const COUNT: u64 = 20_000;
    let dir = Scratch::new();
    let console = Console::new();
    let mut ops = console.up();
    let before = {
        let dir = Scratch::new();
        record(&dir, &ops).end().exits(0);
        dir.read(RECORD).len()
    };
    ops.push(Op::Repeat { count: COUNT, ops: vec![console.transmit.kick(Console::DEVICE)] });
    let end = record(&dir, &ops).end();
    end.exits(0).is_silent();
    // The kick, and the state of the ring that it was for.
    let len = (dir.read(RECORD).len() - before) as u64;
    assert!(len <= 12 * COUNT, "{len} bytes for {COUNT} kicks");
    look(&dir.read(RECORD));
}

/// Room for input is in a program until its ring is full; what is typed is not.
fn input() {
    const CHAINS: u16 = 12;
    let dir = Scratch::new();
    let mut console = Console::new();
    let queue = console.receive;
    let mut ops = console.up();
    for nth in 0..CHAINS {
        let buffer = Buffer { addr: OWN, len: 1, writable: true };
        ops.extend(queue.request(Console::DEVICE, nth, &[buffer], FOREVER, NOT_SERVED));
    }
    ops.extend(console.say("heard\n"));
    let end = record(&dir, &ops).stdin(vec![b'x'; CHAINS.into()]).end();
    end.exits(0).prints("heard\n").explains(&["buffers for input are left out"]);
    let program = dir.read(RECORD);
    assert!(!program.contains(&b'x'), "what was typed");
    let ought = look(&program);
    assert_eq!((ought.first, &ought.output[..]), (None, &b"heard\n"[..]));
    let (again, json) = replay(&dir);
    again.exits(0).check(json["console"]["sha256"] == sha256(b"heard\n"), "another output");
}

fn descriptors() {
    let dir = Scratch::new();
    let mut running = record(&dir, &announce(Op::Spin)).start();
    running.await_stdout(READY);
    let vcpu = running.worker("vcpu");
    let mut open = vcpu.descriptors();
    for (number, ending) in [
        (9, "/record"),
        (18, "anon_inode:[eventfd]"),
        (19, "anon_inode:[eventfd]"),
        (22, "anon_inode:[eventfd]"),
    ] {
        let target = open.remove(&number).unwrap_or_default();
        assert!(target.ends_with(ending), "descriptor {number} is {target:?}");
    }
    let files = open.values().filter(|target| target.starts_with('/'));
    assert_eq!(files.count(), 0, "{open:?}");
    assert_eq!(vcpu.flags(9) & 0o3, 1, "it is for writing");
    let most = MOST.to_string();
    assert_eq!(vcpu.limit("Max file size"), (most.clone(), most));
    running.signal(rustix::process::Signal::TERM);
    running.end().exits(143);
}

fn without() {
    let dir = Scratch::new();
    let end = Run::boot(&dir, &[]).end();
    end.exits(0).is_silent();
    assert_eq!(report(&end), Value::Null);
    assert!(!dir.list().contains(&RECORD.to_owned()));
}

fn refused() {
    let dir = Scratch::new();
    dir.write("guest.elf", bare::elf(&[]));
    std::os::unix::fs::symlink("target", dir.path("link")).unwrap();
    for (path, word) in [
        ("missing/record", "cannot create \"missing/record\""),
        (".", "cannot create \".\""),
        ("link", "cannot create \"link\""),
        ("/dev/null", "a character device"),
    ] {
        let end = Run::new(&dir, &["boot", "--kernel", "guest.elf", "--record", path]).end();
        end.exits(125).prints("").explains(&[word]);
    }
}
