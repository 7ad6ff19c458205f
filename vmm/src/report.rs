//! The report: one JSON object that says unambiguously how a run ended.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use worker::jail::layers::Layer;

use crate::breach::Call;
use crate::layers::State;
use crate::outcome::Outcome;
use crate::supervise::{End, Phases};

#[derive(Serialize)]
struct Report<'a> {
    /// What ended the run; see `Outcome::kind`.
    outcome: &'static str,
    exit_status: u8,
    code: Option<u8>,
    signal: Option<u8>,
    worker: Option<&'a str>,
    reason: Option<String>,
    /// The forbidden call of a breach.
    call: Option<Call>,
    layers: Vec<LayerReport>,
    /// What weakens the default, by the names of the options.
    insecure: Vec<String>,
    phases_ms: PhasesMs,
    workers: Vec<WorkerReport<'a>>,
    kernel_console: Option<String>,
}

/// Milliseconds from the start of casemate; null for what was not reached.
#[derive(Serialize)]
struct PhasesMs {
    spawned: Option<f64>,
    sealed: Option<f64>,
    kernel_entered: Option<f64>,
    agent_up: Option<f64>,
    command_started: Option<f64>,
    command_ended: Option<f64>,
    ended: Option<f64>,
}

/// A layer of the jail over all workers, as read back from the kernel.
#[derive(Serialize)]
struct LayerReport {
    layer: &'static str,
    state: &'static str,
    level: u8,
    reason: Option<String>,
}

#[derive(Serialize)]
struct WorkerReport<'a> {
    name: &'a str,
    /// Resident at most, guest memory that the worker touched included.
    peak_memory_kib: u64,
}

/// Writes the report of `end`.
pub fn write(file: File, end: &End) -> Result<()> {
    let report = Report {
        outcome: end.outcome.kind(),
        exit_status: end.outcome.exit_status(),
        code: match end.outcome {
            Outcome::Exited(code) => Some(code),
            _ => None,
        },
        signal: match end.outcome {
            Outcome::Signaled(signal) | Outcome::Interrupted(signal) => Some(signal),
            _ => None,
        },
        worker: end.outcome.worker(),
        reason: end.outcome.message(),
        call: match end.outcome {
            Outcome::Breach(_, call) => call,
            _ => None,
        },
        layers: Layer::ALL.into_iter().filter_map(|layer| layer_report(layer, end)).collect(),
        insecure: end.insecure.clone(),
        phases_ms: phases(&end.phases),
        workers: end
            .peaks
            .iter()
            .map(|(name, peak)| WorkerReport { name, peak_memory_kib: *peak })
            .collect(),
        kernel_console: end
            .outcome
            .wants_kernel_log()
            .then(|| String::from_utf8_lossy(&end.kernel_log).into_owned()),
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    (&file).write_all(text.as_bytes()).context("cannot write the report")
}

fn phases(phases: &Phases) -> PhasesMs {
    let ms = |at: Option<Duration>| at.map(|at| (at.as_secs_f64() * 1e6).round() / 1e3);
    PhasesMs {
        spawned: ms(phases.spawned),
        sealed: ms(phases.sealed),
        kernel_entered: ms(phases.kernel_entered),
        agent_up: ms(phases.agent_up),
        command_started: ms(phases.command_started),
        command_ended: ms(phases.command_ended),
        ended: ms(phases.ended),
    }
}

/// The worst state that any worker has of `layer`; none when the workers were not looked at.
fn layer_report(layer: Layer, end: &End) -> Option<LayerReport> {
    let findings = || end.findings.iter().filter(|finding| finding.layer == layer);
    let worst = findings().max_by_key(|finding| match finding.state {
        State::Active => 0,
        State::Partial(_) => 1,
        State::Absent(_) => 2,
    })?;
    let (state, reason) = match &worst.state {
        State::Active => ("active", None),
        State::Partial(reason) => ("partial", Some(reason)),
        State::Absent(reason) => ("absent", Some(reason)),
    };
    let reason = reason.map(|reason| format!("{}: {reason}", worst.worker));
    let level = findings().map(|finding| finding.level).min()?;
    Some(LayerReport { layer: layer.name(), state, level, reason })
}
