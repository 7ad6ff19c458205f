//! Boot: a Linux guest's way to PID 1 and to the end of a command, against QEMU's microvm with the same kernel, and
//! against Firecracker where it is on PATH.
//!
//! To be run where KVM runs Linux guests.

use anyhow::Result;

use crate::machine::{MEBIBYTES, Machine, Peer};
use crate::sample::{Case, Series, Unit, in_turn};
use crate::subject::Bench;

/// At most so many times QEMU's.
const GOAL: f64 = 0.6;
const TRUE: &str = "/bin/true";
const VCPUS: [&str; 3] = ["1", "2", "4"];
/// Of a command's run, by their names in the report.
const PHASES: [&str; 5] =
    ["kernel_entered", "agent_up", "command_started", "command_ended", "ended"];

/// Boots that end at PID 1, and that run a command.
pub fn boot(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let machine = Machine::new(bench)?;
    let peers = Peer::all();
    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    let first = in_turn(&names, rounds, |index| machine.to_first(bench, peers[index]))?;
    let mut phases = vec![Vec::new(); PHASES.len()];
    let command = in_turn(&names, rounds, |index| {
        if peers[index] != Peer::Casemate {
            return machine.ends_as_init(bench, peers[index], TRUE);
        }
        let run = machine.runs(bench, "1", TRUE)?;
        for (samples, phase) in phases.iter_mut().zip(PHASES) {
            samples.push(run.phase(phase)?);
        }
        Ok(run.whole)
    })?;
    let by_vcpus = in_turn(&["1 vCPU", "2", "4"], rounds, |index| {
        Ok::<_, anyhow::Error>(machine.runs(bench, VCPUS[index], TRUE)?.whole)
    })?;
    let phases = PHASES.iter().zip(phases).map(|(phase, samples)| Series {
        subject: phase.replace('_', " "),
        // The first round does not count.
        samples: samples[1..].to_vec(),
    });
    Ok(vec![
        case("exec to PID 1's end, the same initramfs", first, Some(GOAL)),
        case("exec to the exit of /bin/true", command, Some(GOAL)),
        case("from main, in a run of /bin/true", phases.collect(), None),
        case("exec to the exit of /bin/true by vCPUs", by_vcpus, None),
    ])
}

fn case(name: &str, series: Vec<Series>, goal: Option<f64>) -> Case {
    Case {
        bench: "boot".into(),
        name: format!("{name}, {MEBIBYTES} MiB"),
        unit: Unit::Milliseconds,
        series,
        goal,
    }
}
