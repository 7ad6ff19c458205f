//! Block, as a Linux guest sees it: `dd` past the guest's own cache, in casemate and in QEMU's microvm.
//!
//! To be run where KVM runs Linux guests. The image lies in memory. A load's time is that of its whole run less
//! that of one which does nothing.

use anyhow::{Context, Result};

use crate::machine::{Machine, PEERS};
use crate::sample::{Case, Unit, in_turn};
use crate::subject::Bench;

/// What both have to do before and after.
const NOTHING: &str = "mount -t devtmpfs dev /dev; :";

/// One use of the disk.
struct Load {
    name: &'static str,
    /// Arguments of `dd` but for its count.
    dd: &'static str,
    /// Bytes of a request.
    size: u32,
    count: u32,
}

const LOADS: [Load; 5] = [
    Load {
        name: "4 KiB reads",
        dd: "if=/dev/vdb of=/dev/null iflag=direct",
        size: 4096,
        count: 4096,
    },
    Load {
        name: "4 KiB writes",
        dd: "if=/dev/zero of=/dev/vdb oflag=direct",
        size: 4096,
        count: 4096,
    },
    Load {
        name: "4 KiB writes, each durable",
        dd: "if=/dev/zero of=/dev/vdb oflag=direct,dsync",
        size: 4096,
        count: 1024,
    },
    Load {
        name: "1 MiB reads",
        dd: "if=/dev/vdb of=/dev/null iflag=direct",
        size: 1 << 20,
        count: 64,
    },
    Load {
        name: "1 MiB writes",
        dd: "if=/dev/zero of=/dev/vdb oflag=direct",
        size: 1 << 20,
        count: 64,
    },
];

/// Every load, one request at a time.
pub fn linux_disk(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let machine = Machine::new(bench)?;
    let image = bench.path("image");
    std::fs::write(&image, vec![0x5a; 64 << 20]).context("cannot write an image")?;
    let run = |subject: usize, text: &str| match subject {
        0 => machine.qemu_runs(text, Some(&image)),
        _ => Ok(machine.runs(bench, "1", text, Some(&image))?.whole),
    };
    let measure = |load: &Load| {
        let Load { dd, size, count, .. } = load;
        let text = format!("{NOTHING} && dd {dd} bs={size} count={count} 2>/dev/null");
        let series = in_turn(&PEERS, rounds, |subject| {
            let time = run(subject, &text)? - run(subject, NOTHING)?;
            let mebibytes = f64::from(*size) * f64::from(*count) / f64::from(1 << 20);
            Ok::<_, anyhow::Error>(mebibytes / (time / 1000.0))
        })?;
        Ok(Case {
            bench: "linux-disk".into(),
            name: format!("{} by Linux", load.name),
            unit: Unit::MebibytesPerSecond,
            series,
            goal: Some(1.0),
        })
    };
    LOADS.iter().map(measure).collect()
}
