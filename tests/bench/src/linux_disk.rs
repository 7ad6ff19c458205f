//! Block, as a Linux guest sees it: `load` as PID 1 past the guest's cache, in casemate and in its peers.
//!
//! To be run where KVM runs Linux guests. The image lies in memory. What a load takes is what its whole run
//! takes, less one of the same round that leaves the disk alone: time, and the processor's time of the VMM and
//! of its guest.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::machine::{Machine, Peer, Spent};
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
    load("4 KiB reads, one at a time", "read", 4 * KIB, 1, 2048),
    load("4 KiB reads, 32 at a time", "read", 4 * KIB, 32, 8192),
    load("4 KiB writes, one at a time", "write", 4 * KIB, 1, 2048),
    load("4 KiB writes, 32 at a time", "write", 4 * KIB, 32, 8192),
    load("4 KiB writes, each durable", "durable", 4 * KIB, 1, 1024),
    load("1 MiB reads", "read", MIB, 1, 192),
    load("1 MiB writes", "write", MIB, 1, 192),
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

/// How fast the disk is. To be run where a clock is worth something: an emulated host's is not.
pub fn rates(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    cases(bench, rounds, "linux-disk", Unit::MebibytesPerSecond, Load::rate)
}

/// What of the processor it takes.
pub fn costs(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    cases(bench, rounds, "linux-disk-cpu", Unit::Milliseconds, Load::cost)
}

/// A case for each load.
fn cases(
    bench: &Bench,
    rounds: usize,
    name: &'static str,
    unit: Unit,
    number: fn(&Load, Spent) -> f64,
) -> Result<Vec<Case>> {
    let peers = Peer::all();
    let mut cases = LOADS.each_ref().map(|load| Case {
        bench: name.into(),
        name: match unit {
            Unit::Milliseconds => format!("CPU time for a GiB: {} by Linux", load.name),
            _ => format!("{} by Linux", load.name),
        },
        unit,
        series: peers.iter().map(|peer| Series::of(peer.name())).collect(),
        goal: Some(GOAL),
    });
    let machine = Machine::new(bench)?;
    let memory = memfd_create("image", MemfdFlags::CLOEXEC).context("cannot make an image")?;
    let image = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
    std::fs::write(&image, vec![0x5a; IMAGE]).context("cannot write an image")?;
    let run = |peer: Peer, arguments: &str| machine.loads(bench, peer, &image, arguments);
    // The first round fills caches and does not count: without a load, since the image is in memory.
    for peer in &peers {
        run(*peer, "")?;
    }
    for _ in 0..rounds {
        for (index, peer) in peers.iter().copied().enumerate() {
            let idle = run(peer, "")?;
            for (load, case) in LOADS.iter().zip(&mut cases) {
                let spent = run(peer, &load.arguments())?.without(idle);
                case.series[index].samples.push(number(load, spent));
            }
        }
    }
    Ok(cases.into())
}
