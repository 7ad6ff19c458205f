//! Block: requests of a bare guest that waits by looking, against the same transfers made by this process.
//! A write is durable only after a flush, unless its driver does not know of flushes: then each one is.
//!
//! What is measured is the way of a request: kick, worker, transfer, used ring. The image lies in the
//! page cache. A guest's time is that of its whole run less that of one which makes no request.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use bare::virtio::register::{INTERRUPT_ACK, INTERRUPT_STATUS};
use bare::virtio::{Buffer, Queue, VERSION_1, bring_up, register, set};
use bare::{FREE, Op, Width};
use tests::guests::FLUSH;

use crate::sample::{Case, Unit, in_turn};
use crate::subject::{Bench, milliseconds};

/// Size of the image in bytes.
const IMAGE: u64 = 64 << 20;
const SECTOR: u64 = 512;
/// The console is device 0.
const DEVICE: u8 = 1;
const QUEUE: Queue = Queue { index: 0, size: 256, base: FREE };
/// Headers of 16 bytes, a status byte behind each.
const HEADERS: u64 = FREE + 0x4000;
const DATA: u64 = FREE + (1 << 20);
/// Descriptors of a request: header, data, status.
const PARTS: u16 = 3;
/// Bytes that a benchmark moves in one run.
const LARGE: u64 = 1 << 30;
const SMALL: u64 = 160 << 20;
const DURABLE: u64 = 8 << 20;

/// What is done with the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Each is durable before it is answered.
    DurableWrite,
}

/// One way to use the disk.
struct Load {
    name: &'static str,
    kind: Kind,
    /// Bytes of a request.
    size: u32,
    /// Requests in flight.
    depth: u16,
    /// Bytes in all.
    bytes: u64,
    /// The guest acknowledges each batch's interrupt, though it waits by looking.
    acknowledged: bool,
}

const LOADS: [Load; 7] = [
    load("4 KiB reads, one at a time", Kind::Read, 4096, 1, SMALL),
    load("4 KiB reads, 32 at a time", Kind::Read, 4096, 32, SMALL),
    load("4 KiB writes, one at a time", Kind::Write, 4096, 1, SMALL),
    load("4 KiB writes, 32 at a time", Kind::Write, 4096, 32, SMALL),
    load("4 KiB writes, each durable", Kind::DurableWrite, 4096, 1, DURABLE),
    load("1 MiB reads", Kind::Read, 1 << 20, 1, LARGE),
    load("1 MiB writes", Kind::Write, 1 << 20, 1, LARGE),
];

const fn load(name: &'static str, kind: Kind, size: u32, depth: u16, bytes: u64) -> Load {
    Load { name, kind, size, depth, bytes, acknowledged: false }
}

impl Load {
    fn batches(&self) -> u64 {
        self.bytes / u64::from(self.size) / u64::from(self.depth)
    }

    /// Where request `nth` of a batch begins, in bytes: all over the image, in no order.
    fn offset(&self, nth: u16) -> u64 {
        let places = IMAGE / u64::from(self.size);
        u64::from(nth) * 7919 % places * u64::from(self.size)
    }

    /// A guest that makes `batches` batches of requests.
    fn guest(&self, batches: u64) -> Vec<Op> {
        // Without the feature the device writes through.
        let flush = if self.kind == Kind::DurableWrite { 0 } else { FLUSH };
        let mut ops = bring_up(DEVICE, VERSION_1 | flush, &[QUEUE], 1);
        for nth in 0..self.depth {
            ops.extend(self.request(nth));
        }
        // Slot after slot names the same few chains: the ring is a multiple of a batch.
        for slot in 0..QUEUE.size {
            let addr = QUEUE.avail() + 4 + 2 * u64::from(slot);
            let value = u64::from(slot % self.depth * PARTS);
            ops.push(Op::Write { width: Width::Word, addr, value });
        }
        ops.push(Op::Repeat { count: batches, ops: self.batch() });
        ops
    }

    /// Offers a batch, waits for it, and answers its interrupt as a driver does (section 4.2.3.4).
    fn batch(&self) -> Vec<Op> {
        let mut ops = QUEUE.again(DEVICE, self.depth, 2);
        if self.acknowledged {
            let status = register(DEVICE, INTERRUPT_STATUS);
            ops.push(Op::Expect { width: Width::Long, addr: status, mask: 0, value: 0, code: 3 });
            ops.push(set(DEVICE, INTERRUPT_ACK, 1));
        }
        ops
    }

    /// Header, status and chain of request `nth` of every batch.
    fn request(&self, nth: u16) -> [Op; 2] {
        let at = HEADERS + 32 * u64::from(nth);
        let mut header = [0; 17];
        header[0] = (self.kind != Kind::Read).into();
        header[8..16].copy_from_slice(&(self.offset(nth) / SECTOR).to_le_bytes());
        let data = DATA + u64::from(nth) * u64::from(self.size);
        let parts = [
            Buffer { addr: at, len: 16, writable: false },
            Buffer { addr: data, len: self.size, writable: self.kind == Kind::Read },
            Buffer { addr: at + 16, len: 1, writable: true },
        ];
        [Op::Bytes { addr: at, data: header.into() }, QUEUE.chain(nth * PARTS, &parts)]
    }

    /// The same transfers by this process.
    fn by_hand(&self, image: &File) -> Result<f64> {
        let mut data = vec![0; usize::try_from(self.size)?];
        let begun = Instant::now();
        for _ in 0..self.batches() {
            for nth in 0..self.depth {
                match self.kind {
                    Kind::Read => image.read_exact_at(&mut data, self.offset(nth))?,
                    Kind::Write => image.write_all_at(&data, self.offset(nth))?,
                    Kind::DurableWrite => {
                        image.write_all_at(&data, self.offset(nth))?;
                        image.sync_data()?;
                    }
                }
            }
        }
        Ok(milliseconds(begun))
    }

    fn measure(&self, bench: &Bench, rounds: usize, path: &Path) -> Result<Case> {
        let image = File::options().read(true).write(true).open(path)?;
        let options = ["--mem", "128", "--disk", path.to_str().context("the path is not UTF-8")?];
        let options = options.map(str::to_owned);
        let work = bench.guest("work.elf", &self.guest(self.batches()))?;
        let idle = bench.guest("idle.elf", &self.guest(0))?;
        let series = in_turn(&["pread/pwrite", "casemate"], rounds, |subject| {
            let time = match subject {
                0 => self.by_hand(&image)?,
                _ => bench.run(&work, &options)?.whole - bench.run(&idle, &options)?.whole,
            };
            #[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
            let mebibytes = self.bytes as f64 / f64::from(1 << 20);
            Ok::<_, anyhow::Error>(mebibytes / (time / 1000.0))
        })?;
        Ok(Case {
            bench: "disk".into(),
            name: self.name.to_owned(),
            unit: Unit::MebibytesPerSecond,
            series,
            goal: None,
        })
    }
}

/// A guest that makes `count` reads of 4 KiB, each when the one before has been answered and its interrupt
/// acknowledged.
pub fn requests_one_by_one(count: u64) -> Vec<Op> {
    Load { acknowledged: true, ..LOADS[0] }.guest(count)
}

/// The disk under each load.
pub fn disk(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let path = bench.path("image");
    std::fs::write(&path, vec![0x5a; usize::try_from(IMAGE)?])?;
    LOADS.iter().map(|load| load.measure(bench, rounds, &path)).collect()
}
