//! Block, as a Linux guest sees it: `load` as PID 1 past the guest's cache, in casemate and in QEMU's microvm.
//!
//! To be run where KVM runs Linux guests. The image lies in memory. What a load takes is what its whole run
//! takes, less one of the same round that leaves the disk alone: time, and the processor's time of the VMM and
//! of its guest.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::machine::{Machine, PEERS, Spent};
use crate::sample::{Case, Series, Unit};
use crate::subject::Bench;

/// Size of the image in bytes.
const IMAGE: usize = 64 << 20;
/// At least as fast as QEMU, at no more of the processor's time.
const GOAL: f64 = 1.0;
const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// One use of the disk.
struct Load {
    name: &'static str,
    /// As `load` has it.
    kind: &'static str,
    /// Bytes of a transfer.
    size: u32,
    /// Transfers in flight.
    depth: u32,
    /// Transfers in all.
    count: u32,
}

const LOADS: [Load; 7] = [
    load("4 KiB reads, one at a time", "read", 4 * KIB, 1, 1024),
    load("4 KiB reads, 32 at a time", "read", 4 * KIB, 32, 4096),
    load("4 KiB writes, one at a time", "write", 4 * KIB, 1, 1024),
    load("4 KiB writes, 32 at a time", "write", 4 * KIB, 32, 4096),
    load("4 KiB writes, each durable", "durable", 4 * KIB, 1, 1024),
    load("1 MiB reads", "read", MIB, 1, 128),
    load("1 MiB writes", "write", MIB, 1, 128),
];

const fn load(name: &'static str, kind: &'static str, size: u32, depth: u32, count: u32) -> Load {
    Load { name, kind, size, depth, count }
}

impl Load {
    fn arguments(&self) -> String {
        let Self { kind, size, depth, count, .. } = self;
        format!("{kind} {size} {depth} {count}")
    }

    fn mebibytes(&self) -> f64 {
        f64::from(self.size) / f64::from(MIB) * f64::from(self.count)
    }

    /// MiB in a second.
    fn rate(&self, spent: Spent) -> f64 {
        self.mebibytes() / (spent.whole / 1000.0)
    }

    /// Milliseconds of the processor for a GiB.
    fn cost(&self, spent: Spent) -> f64 {
        spent.cpu / (self.mebibytes() / 1024.0)
    }
}

/// Every load.
pub fn linux_disk(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let machine = Machine::new(bench)?;
    let memory = memfd_create("image", MemfdFlags::CLOEXEC).context("cannot make an image")?;
    let image = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
    std::fs::write(&image, vec![0x5a; IMAGE]).context("cannot write an image")?;
    let run = |peer: usize, arguments: &str| match peer {
        0 => machine.qemu_loads(&image, arguments),
        _ => machine.loads(bench, &image, arguments),
    };
    // By peer, by round, by load.
    let mut spent = PEERS.map(|_| Vec::new());
    // The first round fills caches and does not count.
    for round in 0..=rounds {
        for (peer, spent) in spent.iter_mut().enumerate() {
            let idle = run(peer, "")?;
            let loads = LOADS.iter().map(|load| Ok(run(peer, &load.arguments())?.without(idle)));
            let loads = loads.collect::<Result<Vec<_>>>()?;
            if round > 0 {
                spent.push(loads);
            }
        }
    }
    let case = |name: String, unit: Unit, number: &dyn Fn(&[Spent]) -> f64| {
        let series = PEERS.iter().zip(&spent).map(|(peer, rounds)| Series {
            subject: (*peer).to_owned(),
            samples: rounds.iter().map(|loads| number(loads)).collect(),
        });
        let series = series.collect();
        Case { bench: "linux-disk".into(), name, unit, series, goal: Some(GOAL) }
    };
    let cases = LOADS.iter().enumerate().flat_map(|(index, load)| {
        let rate = |loads: &[Spent]| load.rate(loads[index]);
        let cost = |loads: &[Spent]| load.cost(loads[index]);
        [
            case(format!("{} by Linux", load.name), Unit::MebibytesPerSecond, &rate),
            case(format!("CPU time per GiB, {} by Linux", load.name), Unit::Milliseconds, &cost),
        ]
    });
    Ok(cases.collect())
}
