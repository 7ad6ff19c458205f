//! Disks that are left as they are, and disks with limits.

use std::time::Duration;

use bare::virtio::{Buffer, Queue};
use bare::{Op, Width};
use serde_json::{Value, json};
use tests::guests::{Answer, Disk, NOT_SERVED, expect};
use tests::run::{End, Run};
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

const SECTOR: usize = 512;
const BLOCK: usize = 4096;
const IMAGE: &str = "disk.img";

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let mut tests = vec![
        Test::new("disk_limits::an_ephemeral_disk_leaves_its_image_as_it_is", kvm, ephemeral),
        Test::new("disk_limits::two_runs_may_share_an_ephemeral_disk", kvm, shared),
        Test::new("disk_limits::an_ephemeral_disk_is_capped", kvm, capped),
        Test::new("disk_limits::defaults_are_in_the_report", kvm, defaults),
    ];
    tests.extend(RATES.into_iter().map(|row| {
        Test::new(format!("disk_limits::holds::{}", row.name), kvm, move || holds(&row))
    }));
    tests
}

fn image(dir: &Scratch, len: usize) -> Vec<u8> {
    let bytes = noise(11, len);
    dir.write(IMAGE, &bytes);
    bytes
}

/// What the report says of the first disk.
fn disk(end: &End) -> Value {
    end.report.as_ref().unwrap()["limits"]["disks"][0].clone()
}

#[track_caller]
fn check(end: &End, name: &str, expected: &Value) {
    end.check(disk(end)[name] == *expected, &format!("{name} should be {expected}"));
}

fn ephemeral() {
    let dir = Scratch::new();
    // The last block is not a whole one.
    let before = image(&dir, 16 * BLOCK + 3 * SECTOR);
    let sectors = before.len() / SECTOR;
    let mut expected = before.clone();
    let mut disk = Disk::new(0);
    let mut ops = disk.up();
    for (sector, count) in [(0, 1), (7, 2), (16, 16), (15, 18), (40, 8), (sectors - 1, 1), (2, 3)] {
        let bytes = noise(sector as u64, count * SECTOR);
        ops.extend(disk.write(sector as u64, &bytes, Answer::Ok));
        expected[sector * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    ops.extend(disk.flush());
    for (sector, expected) in (0..).step_by(16).zip(expected.chunks(16 * SECTOR)) {
        ops.extend(disk.read(sector, expected));
    }
    let args = ["--disk", &format!("{IMAGE},ephemeral")];
    let end = Run::boot(&dir, &ops).args(&args).end();
    end.exits(0).is_silent();
    assert_same(&dir.read(IMAGE), &before, "the image");
    check(&end, "kept_in", &json!("copy"));
    check(&end, "written_bytes", &json!(4_u64 << 30));
    check(&end, "refused_writes", &json!(0));
    // A file that nobody may write will do, and the next run finds it as it was.
    let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(dir.path(IMAGE), read_only).unwrap();
    let mut disk = Disk::new(0);
    let ops = [disk.up(), disk.read(0, &before[..BLOCK]), disk.write(0, &[1; 512], Answer::Ok)];
    let other = Scratch::new();
    let args = ["--disk", &format!("{},ephemeral", dir.path(IMAGE).to_str().unwrap())];
    Run::boot(&other, &ops.concat()).args(&args).as_user().end().exits(0).is_silent();
    assert_same(&dir.read(IMAGE), &before, "the image");
    assert_eq!(dir.list(), [IMAGE, "guest.elf", "report.json"]);
}

fn shared() {
    let dir = Scratch::new();
    let before = image(&dir, 4 * BLOCK);
    let args = ["--disk", &format!("{IMAGE},ephemeral")];
    let mut first = Run::boot(&dir, &tests::guests::announce(Op::Halt)).args(&args).start();
    first.await_stdout(tests::guests::READY);
    let other = Scratch::new();
    let path = dir.path(IMAGE);
    let args = ["--disk", &format!("{},ephemeral", path.to_str().unwrap())];
    let mut disk = Disk::new(0);
    let ops = [disk.up(), disk.write(0, &[1; 4096], Answer::Ok)].concat();
    Run::boot(&other, &ops).args(&args).end().exits(0);
    // Somebody who would write to it has to wait.
    let args = ["--disk", path.to_str().unwrap()];
    let refused = Run::boot(&other, &[Op::Exit(0)]).args(&args).end();
    refused.exits(125).explains(&["another run is using it"]);
    first.signal(rustix::process::Signal::TERM);
    first.end().exits(143);
    assert_same(&dir.read(IMAGE), &before, "the image");
}

fn capped() {
    let dir = Scratch::new();
    let before = image(&dir, 16 * BLOCK);
    let mut disk = Disk::new(0);
    let block = |n: u64| n * 8;
    let ops = [
        disk.up(),
        disk.write(block(3), &[1; BLOCK], Answer::Ok),
        // Part of a block takes all of it.
        disk.write(block(5) + 1, &[2; SECTOR], Answer::Ok),
        disk.write(block(6), &[3; SECTOR], Answer::Error),
        disk.write(block(7), &[3; BLOCK], Answer::Error),
        // What is kept may be written again, and what is not reads as it was.
        disk.write(block(3) + 7, &[4; SECTOR], Answer::Ok),
        disk.read(block(3), &[&[1; 7 * SECTOR][..], &[4; SECTOR]].concat()),
        disk.read(block(6), &before[6 * BLOCK..][..BLOCK]),
    ];
    let args = ["--disk", &format!("{IMAGE},ephemeral,max=8K")];
    let end = Run::boot(&dir, &ops.concat()).args(&args).end();
    end.exits(0).explains(&["2 writes to blk0 failed", "max=SIZE"]);
    check(&end, "written_bytes", &json!(8192));
    check(&end, "refused_writes", &json!(2));
    assert_same(&dir.read(IMAGE), &before, "the image");
}

fn defaults() {
    let dir = Scratch::new();
    image(&dir, BLOCK);
    let end = Run::boot(&dir, &[Op::Exit(0)]).args(&["--disk", &format!("{IMAGE},ro")]).end();
    end.exits(0);
    let expected = json!({
        "name": "blk0",
        "kept_in": "image",
        "bytes": 4096,
        "read_only": true,
        "written_bytes": null,
        "bytes_per_second": null,
        "operations_per_second": null,
        "held_operations": 0,
        "held_ms": 0,
        "refused_writes": 0,
    });
    end.check(disk(&end) == expected, &format!("the disk should be {expected}"));
}

/// A rate, and requests that take three seconds at it.
struct Rate {
    name: &'static str,
    options: &'static str,
    kind: u8,
    len: u32,
    count: u64,
}

const RATES: [Rate; 4] = [
    Rate { name: "bytes_read", options: ",max-rate=4M", kind: 0, len: 64 << 10, count: 192 },
    Rate { name: "bytes_written", options: ",max-rate=4M", kind: 1, len: 64 << 10, count: 192 },
    Rate { name: "operations", options: ",ro,max-ops=200", kind: 0, len: 512, count: 600 },
    Rate {
        name: "bytes_of_an_ephemeral_disk",
        options: ",ephemeral,max-rate=2M,max-ops=100000",
        kind: 1,
        len: 64 << 10,
        count: 96,
    },
];

fn holds(row: &Rate) {
    let dir = Scratch::new();
    image(&dir, 64 << 10);
    let disk = Disk::new(0);
    let queue = Queue { size: 4, ..disk.queue };
    let status = disk.header() + 16;
    let chain = [
        Buffer { addr: disk.header(), len: 16, writable: false },
        Buffer { addr: disk.data(), len: row.len, writable: row.kind == 0 },
        Buffer { addr: status, len: 1, writable: true },
    ];
    let mut ops = bare::virtio::bring_up(
        disk.device,
        bare::virtio::VERSION_1 | tests::guests::FLUSH,
        &[queue],
        NOT_SERVED,
    );
    let mut header = vec![0; 16];
    header[0] = row.kind;
    ops.push(Op::Bytes { addr: disk.header(), data: header });
    ops.push(queue.chain(0, &chain));
    let mut turn = queue.again(disk.device, 1, NOT_SERVED);
    turn.push(expect(Width::Byte, status, 0, NOT_SERVED));
    ops.push(Op::Repeat { count: row.count, ops: turn });
    let args = ["--disk", &format!("{IMAGE}{}", row.options)];
    let run = || {
        let end = Run::boot(&dir, &ops).args(&args).end();
        end.exits(0).is_silent();
        let took = end.phase("ended").unwrap() - end.phase("kernel_entered").unwrap();
        // A limit is never beaten, on whatever host.
        end.check(took >= 2700.0, &format!("{took} ms instead of 3000"));
        (end, took)
    };
    // A host that does other things meanwhile may take longer: not three times in a row.
    let (end, took) =
        std::iter::repeat_with(run).take(2).find(|(_, took)| *took <= 3300.0).unwrap_or_else(run);
    end.check(took <= 3300.0, &format!("{took} ms instead of 3000"));
    let held = disk_number(&end, "held_operations");
    end.check(held > row.count / 20 && held < row.count, &format!("{held} were held"));
    let held = Duration::from_millis(disk_number(&end, "held_ms"));
    end.check(held > Duration::from_millis(1500), &format!("held for {held:?} only"));
}

fn disk_number(end: &End, name: &str) -> u64 {
    disk(end)[name].as_u64().unwrap()
}
