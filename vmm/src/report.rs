//! The report: one JSON object that says unambiguously how a run ended.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use devices::serve::Dropped;
use devices::visible;
use serde::Serialize;
use worker::jail::layers::Layer;

use crate::breach::Call;
use crate::collect::Collected;
use crate::disks::DiskReport;
use crate::facts::Phases;
use crate::layers::{Finding, State};
use crate::limits::{self, InForce};
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::recorded::RecordReport;

/// Everything there is to say about a run.
#[derive(Debug)]
pub struct End {
    /// What `casemate ps` called it.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When what happened.
    pub phases: Phases,
    /// Each worker's name and peak resident memory in KiB.
    pub peaks: Vec<(String, u64)>,
    /// The last bytes of the kernel's console.
    pub kernel_log: Vec<u8>,
    /// What the early console said last, if there is one.
    pub early: Option<String>,
    /// What is not in the record of the guest's accesses, if there is one.
    pub record: Option<RecordReport>,
    /// The layers of every worker, as read back.
    pub findings: Vec<Finding>,
    /// The options that weaken the default.
    pub insecure: Vec<String>,
    /// The guest's memory, if the run began.
    pub memory: Option<Memory>,
    /// What the run was limited to, if it began.
    pub limits: Option<InForce>,
    /// Output that was dropped.
    pub dropped: Dropped,
    /// The disks, their limits and what those cost.
    pub disks: Vec<DiskReport>,
    /// What came out.
    pub collected: Vec<Collected>,
}

impl End {
    /// The end of a run that never began.
    pub fn refused(error: &anyhow::Error) -> Self {
        Self {
            id: String::new(),
            outcome: Outcome::of_error(error),
            phases: Phases::default(),
            peaks: Vec::new(),
            kernel_log: Vec::new(),
            early: None,
            record: None,
            findings: Vec::new(),
            insecure: Vec::new(),
            memory: None,
            limits: None,
            dropped: Dropped::default(),
            disks: Vec::new(),
            collected: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    /// What `casemate ps` called it.
    id: &'a str,
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
    memory: Option<Memory>,
    limits: &'a Option<InForce>,
    /// What came out, and why not.
    out: &'a [Collected],
    phases_ms: PhasesMs,
    workers: Vec<WorkerReport<'a>>,
    kernel_console: Option<String>,
    /// Null: there is no early console.
    early_console: Option<&'a str>,
    /// Null: nothing is recorded.
    record: &'a Option<RecordReport>,
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
    /// Resident at most, guest memory that the worker touched included unless that is of `--hugepages`.
    peak_memory_kib: u64,
}

/// Writes the report of `end`.
pub fn write(file: File, end: &End) -> Result<()> {
    (&file).write_all(text(end)?.as_bytes()).context("cannot write the report")
}

/// The report as text, at most [`limits::REPORT`] bytes. The guest has a say in nothing that is long
/// but its kernel's last words, which are the first to go.
fn text(end: &End) -> Result<String> {
    let mut report = report(end);
    let mut text = escaped(&serde_json::to_string_pretty(&report)?);
    if text.len() >= limits::REPORT {
        report.kernel_console = None;
        text = escaped(&serde_json::to_string_pretty(&report)?);
    }
    text.push('\n');
    Ok(text)
}

/// JSON with every character escaped that a terminal could obey: reports get looked at.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\n' => text.push(char),
            char if visible::is_obeyed(char) => {
                // A string takes everything; none of these has a number above 0xffff.
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            char => text.push(char),
        }
    }
    text
}

fn report(end: &End) -> Report<'_> {
    Report {
        id: &end.id,
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
        memory: end.memory,
        limits: &end.limits,
        out: &end.collected,
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
        early_console: end.early.as_deref(),
        record: &end.record,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::MOST_LOG;

    /// The longest that a guest and a worker can make it.
    fn longest(reason: usize) -> End {
        let layers = Layer::ALL.into_iter().map(|layer| Finding {
            worker: "console".to_owned(),
            layer,
            state: State::Partial("\u{1}".repeat(200)),
            level: u8::MAX,
        });
        End {
            outcome: Outcome::Failed("console".to_owned(), "\"".repeat(reason)),
            peaks: (0..32).map(|n| (format!("blk{n}"), u64::MAX)).collect(),
            // A control character takes six bytes in JSON.
            kernel_log: vec![1; MOST_LOG],
            early: Some("\"".repeat(4 << 10)),
            findings: layers.collect(),
            ..End::refused(&anyhow::anyhow!(""))
        }
    }

    #[test]
    fn it_is_never_longer_than_its_limit() {
        let text = text(&longest(worker::status::TEXT)).unwrap();
        assert!(text.len() <= limits::REPORT && text.contains(&"\\u0001".repeat(MOST_LOG)));
    }

    #[test]
    fn nothing_in_it_is_obeyed_by_a_terminal_and_nothing_is_lost() {
        let words = "\u{1b}[2J\u{7f}\u{9b}31m\u{202e}é\n";
        let end = End { kernel_log: words.into(), ..longest(1) };
        let text = text(&end).unwrap();
        assert!(!text.chars().any(|char| char != '\n' && visible::is_obeyed(char)), "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["kernel_console"], words);
    }

    #[test]
    fn the_kernels_last_words_are_the_first_to_go() {
        let text = text(&longest(32 << 10)).unwrap();
        assert!(text.len() <= limits::REPORT, "{}", text.len());
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["kernel_console"], serde_json::Value::Null);
        assert_eq!(report["outcome"], "failed");
    }
}
