//! Start-up: exec to exit of a guest that ends at once, and `main` to its first instruction.

use anyhow::Result;
use bare::Op;

use crate::sample::{Case, Unit, in_turn};
use crate::subject::Bench;

/// Guest memory of the peers' published figures.
const MEBIBYTES: u64 = 256;
/// At most so many times the floor.
const GOAL: f64 = 1.5;

/// What `casemate boot` is given besides the kernel.
fn options(mebibytes: u64, cpus: u8) -> Vec<String> {
    let words = ["--mem", &mebibytes.to_string(), "--cpus", &cpus.to_string()];
    words.map(str::to_owned).to_vec()
}

/// casemate with every layer on against the floor.
pub fn startup(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let guest = bench.guest("exit.elf", &[Op::Exit(0)])?;
    let mut entered = [Vec::new(), Vec::new()];
    let whole = in_turn(&["floor", "casemate"], rounds, |subject| {
        let (whole, entry) = if subject == 0 {
            bench.floor(MEBIBYTES)?
        } else {
            let run = bench.run(&guest, &options(MEBIBYTES, 1))?;
            (run.whole, run.phase("kernel_entered")?)
        };
        entered[subject].push(entry);
        Ok::<_, anyhow::Error>(whole)
    })?;
    let mut entry = whole.clone();
    for (series, samples) in entry.iter_mut().zip(&entered) {
        series.samples = samples[1..].to_vec();
    }
    let case = |name: &str, series| Case {
        bench: "startup".into(),
        name: format!("{name}, {MEBIBYTES} MiB, 1 vCPU"),
        unit: Unit::Milliseconds,
        series,
        goal: Some(GOAL),
    };
    Ok(vec![case("exec to exit", whole), case("main to first instruction", entry)])
}

/// How start-up grows with memory and with vCPUs: the first of each is what the others are compared with.
pub fn scaling(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let guest = bench.guest("exit.elf", &[Op::Exit(0)])?;
    let case = |name: &str, labels: &[&str], sizes: &[(u64, u8)]| {
        let series = in_turn(labels, rounds, |index| {
            let (mebibytes, cpus) = sizes[index];
            Ok::<_, anyhow::Error>(bench.run(&guest, &options(mebibytes, cpus))?.whole)
        })?;
        let name = format!("exec to exit by {name}");
        Ok::<_, anyhow::Error>(Case {
            bench: "scaling".into(),
            name,
            unit: Unit::Milliseconds,
            series,
            goal: None,
        })
    };
    Ok(vec![
        case(
            "memory",
            &["128 MiB", "512 MiB", "2 GiB", "8 GiB"],
            &[(128, 1), (512, 1), (2048, 1), (8192, 1)],
        )?,
        case(
            "vCPUs",
            &["1 vCPU", "2 vCPUs", "4 vCPUs", "8 vCPUs"],
            &[(256, 1), (256, 2), (256, 4), (256, 8)],
        )?,
    ])
}
