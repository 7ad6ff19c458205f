//! What the devices' own work takes, without a virtual machine: `cargo bench -p devices`.
//!
//! | group | what is measured |
//! |---|---|
//! | ring | a chain made available, taken, given back and found |
//! | registers | an access, as the vcpu worker makes it for an exit |
//! | blk | a request: kick, the worker's turn, a transfer over a memfd, used ring and interrupt |
//! | console | a chain out: kick, the worker's two turns, used ring, interrupt, a write to /dev/null |
#![expect(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]

use std::fs::File;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use devices::blk::{self, Blk, FLUSH, ID_LEN, Shape};
use devices::console;
use devices::raw::Raw;
use devices::ring::Ring;
use devices::serve::{BlkLoop, ConsoleLoop, Inputs, Joined, Line};
use devices::testing::{Machine, Part, SplitRing, memory};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of guest memory.
const MEMORY: usize = 1 << 20;
/// Where a driver has its rings, a request's header and status, and data.
const RING: u64 = 0x1000;
const SECOND_RING: u64 = 0x4000;
const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x8010;
const DATA: u64 = 0x1_0000;
const PAGE: u32 = 4096;

/// A disk of 1 MiB.
const SHAPE: Shape = Shape { sectors: 2048, read_only: false };

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    ring(&mut criterion);
    registers(&mut criterion);
    blk(&mut criterion);
    console(&mut criterion);
    criterion.final_summary();
}

fn ring(criterion: &mut Criterion) {
    let rows: [(&str, &[Part]); 2] = [
        ("chain of 1 descriptor", &[Part::Out(DATA, PAGE)]),
        (
            "chain of 3 descriptors",
            &[Part::Out(HEADER, 16), Part::In(DATA, PAGE), Part::In(STATUS, 1)],
        ),
    ];
    let mut group = criterion.benchmark_group("ring");
    for (name, parts) in rows {
        let memory = memory(&[(0, MEMORY)]);
        let mut driver = SplitRing::new(memory, RING, blk::QUEUE_SIZE);
        let mut device = Ring::start(memory, driver.geometry, blk::QUEUE_SIZE).unwrap();
        let mut head = driver.add(parts);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let chain = black_box(device.pop(memory).unwrap().unwrap());
                device.push(memory, chain.head, 0).unwrap();
                let (used, _) = driver.take_used().unwrap();
                head = u16::try_from(used).unwrap();
                driver.offer(head);
            });
        });
    }
}

fn registers(criterion: &mut Criterion) {
    let memory = memory(&[(0, MEMORY)]);
    let ring = SplitRing::new(memory, RING, blk::QUEUE_SIZE);
    let (machine, _link) = Machine::new(memory, SHAPE.identity());
    let mut driver = machine.driver;
    driver.negotiate(FLUSH);
    let mut group = criterion.benchmark_group("registers");
    group.bench_function("read of Status", |bencher| {
        bencher.iter(|| driver.read(black_box(0x070)));
    });
    group.bench_function("write of QueueNum", |bencher| {
        bencher.iter(|| driver.write(black_box(0x038), black_box(128)));
    });
    driver.place(0, &ring.geometry);
    driver.add_status(devices::mmio::status::DRIVER_OK).unwrap();
    group.bench_function("write of QueueNotify", |bencher| {
        bencher.iter(|| driver.write(black_box(0x050), black_box(0)).unwrap());
    });
}

fn blk(criterion: &mut Criterion) {
    let page = Part::In(DATA, PAGE);
    let rows: [(&str, u32, Option<Part>); 3] = [
        ("4 KiB read", 0, Some(page)),
        ("4 KiB write", 1, Some(Part::Out(DATA, PAGE))),
        ("flush", 4, None),
    ];
    let mut group = criterion.benchmark_group("blk");
    for (name, kind, data) in rows {
        let memory = memory(&[(0, MEMORY)]);
        let image = File::from(memfd_create("image", MemfdFlags::CLOEXEC).unwrap());
        image.set_len(SHAPE.sectors * blk::SECTOR).unwrap();
        let (mut machine, link) = Machine::new(memory, SHAPE.identity());
        let mut ring = SplitRing::new(memory, RING, blk::QUEUE_SIZE);
        let mut worker = BlkLoop::new(link, Blk::new(image, SHAPE, [0; ID_LEN]));
        machine.start(FLUSH, &[&ring]);
        worker.turn(true).unwrap();
        memory.write_obj(kind.to_le(), GuestAddress(HEADER)).unwrap();
        let mut parts = vec![Part::Out(HEADER, 16)];
        parts.extend(data);
        parts.push(Part::In(STATUS, 1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                ring.add(&parts);
                machine.kick(0);
                worker.turn(true).unwrap();
                ring.take_used().unwrap()
            });
        });
        let status: u8 = memory.read_obj(GuestAddress(STATUS)).unwrap();
        assert_eq!(status, 0, "{name}");
    }
}

fn console(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("console");
    for (name, len) in [("64 bytes out", 64), ("4 KiB out", PAGE)] {
        let memory = memory(&[(0, MEMORY)]);
        let null = File::options().write(true).open("/dev/null").unwrap();
        let (mut machine, link) = Machine::new(memory, console::IDENTITY);
        let receive = SplitRing::new(memory, SECOND_RING, console::QUEUE_SIZE);
        let mut transmit = SplitRing::new(memory, RING, console::QUEUE_SIZE);
        let line = Line::new(link, Joined::Raw(Raw::new(null.into())));
        let inputs = Inputs { stdin: None, orders: None };
        let mut worker = ConsoleLoop::new(vec![line], inputs, |_| Ok(()));
        machine.start(0, &[&receive, &transmit]);
        worker.turn(true).unwrap();
        group.throughput(Throughput::Bytes(len.into()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                transmit.add(&[Part::Out(DATA, len)]);
                machine.kick(console::TRANSMIT);
                // One turn takes the chain, the next writes what it held.
                worker.turn(true).unwrap();
                worker.turn(true).unwrap();
                transmit.take_used().unwrap()
            });
        });
    }
}
