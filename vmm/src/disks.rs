//! The disks of a run, as the report has them: their limits, and what those cost.

use std::collections::BTreeMap;

use devices::blk::{Limited, SECTOR};
use serde::Serialize;
use worker::plan::{Backing, Device, Plan, Role};

use crate::limits::bound;

/// A disk, its limits and what they cost.
#[derive(Clone, Debug, Serialize)]
pub struct DiskReport {
    /// Its worker.
    name: String,
    /// `image`, `copy` or `temporary`.
    kept_in: &'static str,
    bytes: u64,
    read_only: bool,
    /// The most that is kept of what is written; null: no limit besides the size.
    written_bytes: Option<u64>,
    bytes_per_second: Option<u64>,
    operations_per_second: Option<u64>,
    /// Requests that had to wait for those two.
    held_operations: u64,
    held_ms: u64,
    /// Writes that failed because there was no room for them.
    refused_writes: u64,
}

/// The disk that `plan`'s worker serves, if it is one.
pub fn report(plan: &Plan, limited: &BTreeMap<String, Limited>) -> Option<DiskReport> {
    let Role::Blk { device, backing, rates } = plan.role else { return None };
    let Device::Blk(shape) = plan.devices.get(usize::from(device))? else { return None };
    let name = plan.name();
    let Limited { held, held_ms, full } = limited.get(&name).copied().unwrap_or_default();
    let (kept_in, most) = match backing {
        Backing::Image => ("image", u64::MAX),
        Backing::Copy(most) => ("copy", most),
        Backing::Temporary => ("temporary", u64::MAX),
    };
    Some(DiskReport {
        name,
        kept_in,
        bytes: shape.sectors.saturating_mul(SECTOR),
        read_only: shape.read_only,
        written_bytes: bound(most),
        bytes_per_second: bound(rates.bytes),
        operations_per_second: bound(rates.operations),
        held_operations: held,
        held_ms,
        refused_writes: full,
    })
}

/// A line for each disk on which there was no room.
pub fn full_in_words(disks: &[DiskReport]) -> Vec<String> {
    let full = disks.iter().filter(|disk| disk.refused_writes > 0);
    full.map(|DiskReport { name, kept_in, refused_writes, .. }| match *kept_in {
        "copy" => format!(
            "{refused_writes} writes to {name} failed: it keeps no more (--disk FILE,ephemeral,max=SIZE)"
        ),
        _ => format!("{refused_writes} writes to {name} failed: the host's disk is full"),
    })
    .collect()
}
