//! What the devices' own work takes, without a virtual machine: `cargo bench -p devices`.
//!
//! | group | what is measured |
//! |---|---|
//! | ring | a chain made available, taken, given back and found |
//! | registers | an access, as the vcpu worker makes it for an exit |
//! | blk | a request: kick, the worker's turn, a transfer over a memfd, used ring and interrupt |
//! | console | a chain out: kick, the worker's two turns, used ring, interrupt, a write to /dev/null |
#![expect(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use devices::blk::{self, FLUSH, Shape};
use devices::ring::Ring;
use devices::testing::{Machine, Part, Request, ServedConsole, ServedDisk, SplitRing, memory};

/// Bytes of guest memory.
const MEMORY: usize = 1 << 20;
/// Where a driver has its rings, a request's header and status, and data.
const RING: u64 = 0x1000;
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
    let rows = [
        ("4 KiB read", Request::Read(PAGE)),
        ("4 KiB write", Request::Write(PAGE)),
        ("flush", Request::Flush),
    ];
    let mut group = criterion.benchmark_group("blk");
    for (name, request) in rows {
        let mut disk = ServedDisk::new(request);
        group.bench_function(name, |bencher| bencher.iter(|| disk.serve()));
    }
}

fn console(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("console");
    for (name, len) in [("64 bytes out", 64), ("4 KiB out", PAGE)] {
        let mut console = ServedConsole::new(len);
        group.throughput(Throughput::Bytes(len.into()));
        group.bench_function(name, |bencher| bencher.iter(|| console.serve()));
    }
}
