//! Disks: what a guest may do with them, and what is in the image afterwards.

use bare::virtio::{Buffer, Queue, gsi, register, set};
use bare::{FREE, Op, Width, interrupt};
use tests::guests::{Answer, Disk, FLUSH, FOREVER, NOT_SERVED, expect, holds};
use tests::run::{End, Run};
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

const SECTOR: usize = 512;
const SECTORS: u64 = 64;
const IMAGE: &str = "disk.img";
/// As many as there are device slots, but for the console's.
const MOST: u8 = 17;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let mut tests = vec![
        Test::new("disk::what_is_written_is_read_and_kept", kvm, kept),
        Test::new("disk::the_next_run_reads_it", kvm, next_run),
        Test::new("disk::each_of_several_is_its_own", kvm, several),
        Test::new("disk::as_many_as_can_be", kvm, most),
        Test::new("disk::a_read_only_one_stays_as_it_is", kvm, read_only),
        Test::new("disk::a_read_only_one_may_be_read_by_two_runs", kvm, two_readers),
        Test::new("disk::requests_in_pieces", kvm, in_pieces),
        Test::new("disk::without_flush_it_is_written_through", kvm, write_through),
        Test::new("disk::interrupts_arrive", kvm, interrupts),
        Test::new("disk::restart_after_a_reset", kvm, restart),
    ];
    tests.extend(
        REFUSED.into_iter().map(|row| {
            Test::new(format!("disk::refused::{}", row.name), kvm, move || refused(&row))
        }),
    );
    tests
}

fn image(dir: &Scratch) -> Vec<u8> {
    let bytes = noise(7, SECTOR * SECTORS as usize);
    dir.write(IMAGE, &bytes);
    bytes
}

fn run(dir: &Scratch, program: &[Op]) -> End {
    let end = Run::boot(dir, program).args(&["--disk", IMAGE]).end();
    end.exits(0).is_silent();
    end
}

fn at(sector: usize, len: usize) -> std::ops::Range<usize> {
    sector * SECTOR..sector * SECTOR + len
}

fn kept() {
    let dir = Scratch::new();
    let mut expected = image(&dir);
    let mut disk = Disk::new(0);
    let mut ops = disk.up();
    let capacity = register(disk.device, register::CONFIG);
    ops.push(expect(Width::Long, capacity, SECTORS, 1));
    ops.push(expect(Width::Long, capacity + 4, 0, 1));
    ops.extend(disk.identify("casemate-blk0"));
    ops.extend(disk.read(3, &expected[at(3, 2 * SECTOR)]));
    // The first sector, the last, and a run of them; more requests than the queue has slots.
    for (sector, len) in [(0, SECTOR), (63, SECTOR), (10, 16 * SECTOR), (12, SECTOR), (0, SECTOR)] {
        let bytes = noise(100 + sector as u64, len);
        ops.extend(disk.write(sector as u64, &bytes, Answer::Ok));
        ops.extend(disk.read(sector as u64, &bytes));
        expected[at(sector, len)].copy_from_slice(&bytes);
    }
    ops.extend(disk.flush());
    run(&dir, &ops);
    assert_same(&dir.read(IMAGE), &expected, "the image");
    assert_eq!(dir.list(), [IMAGE, "guest.elf", "report.json"]);
}

fn next_run() {
    let dir = Scratch::new();
    image(&dir);
    let bytes = noise(8, SECTOR);
    let mut disk = Disk::new(0);
    run(&dir, &[disk.up(), disk.write(5, &bytes, Answer::Ok), disk.flush()].concat());
    let mut disk = Disk::new(0);
    run(&dir, &[disk.up(), disk.read(5, &bytes)].concat());
}

fn several() {
    let dir = Scratch::new();
    let names = ["a.img", "b.img", "c.img"];
    let mut images: Vec<_> = (0..3).map(|n| noise(n, SECTOR * (n as usize + 1))).collect();
    let mut ops = Vec::new();
    let mut disks: Vec<_> = (0..3).map(Disk::new).collect();
    for disk in &disks {
        ops.extend(disk.up());
    }
    for ((n, disk), image) in (0..).zip(&mut disks).zip(&mut images) {
        dir.write(names[n], &image);
        ops.extend(disk.identify(&format!("casemate-blk{n}")));
        ops.extend(disk.read(n as u64, &image[at(n, SECTOR)]));
        let bytes = noise(50 + n as u64, SECTOR);
        ops.extend(disk.write(n as u64, &bytes, Answer::Ok));
        image[at(n, SECTOR)].copy_from_slice(&bytes);
    }
    let args = names.iter().flat_map(|name| ["--disk", name]).collect::<Vec<_>>();
    Run::boot(&dir, &ops).args(&args).end().exits(0).is_silent();
    for (name, image) in names.iter().zip(&images) {
        assert_same(&dir.read(name), image, name);
    }
}

fn most() {
    let dir = Scratch::new();
    let (mut ops, mut args) = (Vec::new(), Vec::new());
    for n in 0..MOST {
        let bytes = noise(n.into(), SECTOR);
        dir.write(&format!("{n}.img"), &bytes);
        args.extend(["--disk".to_owned(), format!("{n}.img,ro")]);
        let mut disk = Disk::new(n);
        ops.extend(disk.up());
        ops.extend(disk.identify(&format!("casemate-blk{n}")));
        ops.extend(disk.read(0, &bytes));
    }
    Run::boot(&dir, &ops).args(&args).end().exits(0).is_silent();
}

fn read_only() {
    const READ_ONLY: u64 = 1 << 5;
    let dir = Scratch::new();
    let expected = image(&dir);
    let mut disk = Disk::new(0);
    let device = disk.device;
    let mut ops = vec![
        set(device, register::DEVICE_FEATURES_SEL, 0),
        Op::Expect {
            width: Width::Long,
            addr: register(device, register::DEVICE_FEATURES),
            mask: READ_ONLY,
            value: READ_ONLY,
            code: 1,
        },
    ];
    // With the feature agreed on and without: a driver that was not told tries to write as well.
    for features in [FLUSH | READ_ONLY, FLUSH] {
        ops.extend(disk.forget());
        let features = features | bare::virtio::VERSION_1;
        ops.extend(bare::virtio::bring_up(device, features, &[disk.queue], 2));
        for sector in [0, 31, SECTORS - 1] {
            ops.extend(disk.write(sector, &[0; SECTOR], Answer::Error));
        }
        ops.extend(disk.read(0, &expected[at(0, SECTOR)]));
        ops.extend(disk.flush());
    }
    let end = Run::boot(&dir, &ops).args(&["--disk", &format!("{IMAGE},ro")]).end();
    end.exits(0).is_silent();
    assert_same(&dir.read(IMAGE), &expected, "the image");
}

fn two_readers() {
    let dir = Scratch::new();
    image(&dir);
    let args = ["--disk", &format!("{IMAGE},ro")];
    let mut first = Run::boot(&dir, &tests::guests::announce(Op::Halt)).args(&args).start();
    first.await_stdout(tests::guests::READY);
    let other = Scratch::new();
    let path = dir.path(IMAGE);
    let args = ["--disk", &format!("{},ro", path.to_str().unwrap())];
    Run::boot(&other, &[Op::Exit(0)]).args(&args).end().exits(0);
    first.signal(rustix::process::Signal::TERM);
    first.end().exits(143);
}

/// A request is the same however it is cut into descriptors (virtio 1.2, section 2.7.4).
fn in_pieces() {
    let dir = Scratch::new();
    let mut expected = image(&dir);
    let mut disk = Disk::new(0);
    disk.queue = Queue { size: 256, base: FREE + 0x20_0000, ..disk.queue };
    let bytes = noise(9, SECTOR);
    let pieces = |mut addr: u64, lens: &[u32], writable| -> Vec<Buffer> {
        let piece = |&len| {
            let buffer = Buffer { addr, len, writable };
            addr += u64::from(len);
            buffer
        };
        lens.iter().map(piece).collect()
    };
    let header = |kind: u8, sector: u8| {
        let mut header = vec![0; 16];
        (header[0], header[8]) = (kind, sector);
        Op::Bytes { addr: disk.header(), data: header }
    };
    let status = disk.header() + 16;
    let mut ops = disk.up();
    // A write: the header in three, its end and the data's beginning in one, single bytes.
    ops.push(header(1, 20));
    ops.push(Op::Bytes { addr: disk.data(), data: bytes.clone() });
    let mut chain = pieces(disk.header(), &[1, 8, 0, 7], false);
    chain.extend(pieces(disk.data(), &[1, 1, 500, 10], false));
    chain.push(Buffer { addr: status, len: 1, writable: true });
    ops.extend(disk.queue.request(disk.device, 0, &chain, FOREVER, NOT_SERVED));
    ops.push(expect(Width::Byte, status, 0, NOT_SERVED));
    // A read into pieces, with the status at the end of the last.
    let data = disk.data() + 0x1000;
    ops.push(header(0, 20));
    let mut chain = pieces(disk.header(), &[15, 1], false);
    chain.extend(pieces(data, &[100, 0, 1, 411 + 1], true));
    ops.extend(disk.queue.request(disk.device, 1, &chain, FOREVER, NOT_SERVED));
    ops.extend(holds(data, &bytes));
    ops.push(expect(Width::Byte, data + 512, 0, NOT_SERVED));
    ops.push(expect(Width::Long, disk.queue.used_len(1), 513, NOT_SERVED));
    run(&dir, &ops);
    expected[at(20, SECTOR)].copy_from_slice(&bytes);
    assert_same(&dir.read(IMAGE), &expected, "the image");
}

fn write_through() {
    let dir = Scratch::new();
    let mut expected = image(&dir);
    let mut disk = Disk::new(0);
    let bytes = noise(10, SECTOR);
    let mut ops = bare::virtio::bring_up(disk.device, bare::virtio::VERSION_1, &[disk.queue], 1);
    ops.extend(disk.write(1, &bytes, Answer::Ok));
    run(&dir, &ops);
    expected[at(1, SECTOR)].copy_from_slice(&bytes);
    assert_same(&dir.read(IMAGE), &expected, "the image");
}

fn interrupts() {
    const VECTOR: u8 = 0x45;
    let dir = Scratch::new();
    let bytes = image(&dir);
    let mut disk = Disk::new(0);
    let mut ops = interrupt::route(gsi(disk.device), VECTOR);
    ops.extend(disk.up());
    ops.push(bare::virtio::expect(disk.device, register::INTERRUPT_STATUS, 0, 1));
    ops.extend(disk.read(0, &bytes[..SECTOR]));
    ops.push(interrupt::requested(VECTOR, FOREVER, 2));
    ops.push(bare::virtio::expect(disk.device, register::INTERRUPT_STATUS, 1, 3));
    ops.push(set(disk.device, register::INTERRUPT_ACK, 1));
    ops.push(bare::virtio::expect(disk.device, register::INTERRUPT_STATUS, 0, 4));
    run(&dir, &ops);
}

fn restart() {
    let dir = Scratch::new();
    let expected = image(&dir);
    let mut disk = Disk::new(0);
    let mut ops = Vec::new();
    for round in 0..3 {
        ops.extend(disk.forget());
        ops.extend(disk.up());
        ops.extend(disk.read(round, &expected[at(round as usize, SECTOR)]));
        ops.push(set(disk.device, register::STATUS, 0));
        ops.push(bare::virtio::expect(disk.device, register::STATUS, 0, 1));
        ops.push(bare::virtio::expect(disk.device, register::INTERRUPT_STATUS, 0, 2));
    }
    run(&dir, &ops);
}

/// A request that is answered with a status, and changes nothing.
struct Refused {
    name: &'static str,
    kind: u32,
    sector: u64,
    len: u32,
    answer: Answer,
}

const fn refused_write(name: &'static str, sector: u64, len: u32) -> Refused {
    Refused { name, kind: 1, sector, len, answer: Answer::Error }
}

const fn refused_read(name: &'static str, sector: u64, len: u32) -> Refused {
    Refused { name, kind: 0, sector, len, answer: Answer::Error }
}

const REFUSED: [Refused; 12] = [
    refused_write("write_past_the_end", SECTORS, 512),
    refused_write("write_over_the_end", SECTORS - 1, 1024),
    refused_write("write_at_2_to_the_55", 1 << 55, 512),
    refused_write("write_at_2_to_the_63", 1 << 63, 512),
    refused_write("write_at_the_last_number", u64::MAX, 512),
    refused_write("write_of_a_byte", 0, 1),
    refused_write("write_of_a_byte_too_much", 0, 513),
    refused_read("read_past_the_end", SECTORS, 512),
    refused_read("read_at_the_last_number", u64::MAX, 512),
    refused_read("read_of_a_byte_too_little", 0, 511),
    Refused { name: "discard", kind: 11, sector: 0, len: 16, answer: Answer::Unsupported },
    Refused {
        name: "a_kind_that_nobody_knows",
        kind: 99,
        sector: 0,
        len: 512,
        answer: Answer::Unsupported,
    },
];

fn refused(row: &Refused) {
    let dir = Scratch::new();
    let expected = image(&dir);
    let mut disk = Disk::new(0);
    let buffer = Buffer { addr: disk.data(), len: row.len, writable: row.kind == 0 };
    let mut ops = disk.up();
    ops.extend(disk.request(row.kind, row.sector, Some(buffer), row.answer));
    // And the device goes on.
    ops.extend(disk.read(1, &expected[at(1, SECTOR)]));
    run(&dir, &ops);
    assert_same(&dir.read(IMAGE), &expected, "the image");
}
