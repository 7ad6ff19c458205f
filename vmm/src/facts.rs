//! What is known of a run, and how it ended as far as that is decided.
//!
//! Every record is believed only of the worker whose pipe it came from: the console worker says how
//! the command ended, the vcpu worker how the machine ended, each worker what went wrong with itself.

use std::collections::BTreeMap;
use std::time::Duration;

use devices::blk::Limited;
use devices::channel::End as CommandEnd;
use devices::serve::Dropped;
use devices::visible;
use protocol::frame::Failure;
use worker::status::{Record, Recorded, VmEnd};

use crate::breach::Call;
use crate::layers;
use crate::outcome::Outcome;
use crate::spawn::Ended;

/// The most that is kept of the kernel's last words, in bytes.
pub const MOST_LOG: usize = devices::kernel_log::TAIL;

/// The most that is kept of what the early console said last, in characters.
const MOST_EARLY: usize = 4 << 10;

/// When what happened, since the start of casemate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Every worker was started.
    pub spawned: Option<Duration>,
    /// Every worker was sealed.
    pub sealed: Option<Duration>,
    /// The first vCPU was about to run.
    pub kernel_entered: Option<Duration>,
    /// The agent spoke.
    pub agent_up: Option<Duration>,
    /// The command was executed.
    pub command_started: Option<Duration>,
    /// The command ended and its output was written.
    pub command_ended: Option<Duration>,
    /// Every worker was gone.
    pub ended: Option<Duration>,
}

/// One worker, as far as it is known.
#[derive(Debug)]
pub struct Life {
    /// `vcpu`, `console`, `blk0`, …
    pub name: String,
    /// It has ended so.
    pub ended: Option<Ended>,
    /// Everything that it said has been heard.
    pub silent: bool,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Facts {
    /// The agent runs a command; otherwise the guest is on its own.
    pub agent: bool,
    /// What is booted, for messages.
    pub boots: String,
    /// The workers, in their order.
    pub workers: Vec<Life>,
    /// When what happened.
    pub phases: Phases,
    /// The last bytes of the kernel's console.
    pub kernel_log: Vec<u8>,
    /// What the early console said last, if there is one, fit for a terminal.
    pub early: Option<String>,
    /// Output that was dropped.
    pub dropped: Dropped,
    /// What their limits cost the disks, by their workers' names.
    pub limited: BTreeMap<String, Limited>,
    /// What is not in the record of the guest's accesses, if there is one.
    pub recorded: Option<Recorded>,
    command: Option<CommandEnd>,
    machine: Option<(VmEnd, u32)>,
    panic: bool,
    violation: Option<Outcome>,
    /// A forbidden call that a filter has caught.
    pub breach: Option<Outcome>,
    refusal: Option<Outcome>,
    failure: Option<Outcome>,
}

impl Facts {
    /// Nothing is known yet of these workers.
    pub fn new(
        agent: bool,
        early: bool,
        boots: String,
        workers: impl Iterator<Item = String>,
    ) -> Self {
        let workers = workers.map(|name| Life { name, ended: None, silent: false }).collect();
        Self { agent, early: early.then(String::new), boots, workers, ..Self::default() }
    }

    /// The guest will not run, for this reason.
    pub fn refuse(&mut self, reason: String) {
        self.refusal.get_or_insert(Outcome::Refused(reason));
    }

    /// Worker `index` made a forbidden call.
    pub fn note_breach(&mut self, index: usize, call: Call) {
        let name = self.workers[index].name.clone();
        self.breach.get_or_insert(Outcome::Breach(name, Some(call)));
    }

    /// Worker `index` said this, so long after the start.
    pub fn note(&mut self, index: usize, record: Record, now: Duration) {
        let (name, now) = (self.workers[index].name.clone(), Some(now));
        let phases = &mut self.phases;
        match (name.as_str(), record) {
            ("vcpu", Record::Boot(reason)) => {
                let reason = format!("cannot boot {}: {}", self.boots, visible::line(&reason));
                self.refuse(reason);
            }
            (_, Record::Violation(violation)) => {
                self.violation.get_or_insert(Outcome::Violation(name, violation));
            }
            (_, Record::Failed(reason)) => {
                let mut reason = visible::line(&reason);
                if let Some(remedy) = layers::remedy_for(&reason) {
                    reason = format!("{reason} ({remedy})");
                }
                self.failure.get_or_insert(Outcome::Failed(name, reason));
            }
            ("vcpu", Record::Entered) => phases.kernel_entered = now,
            ("vcpu", Record::VmEnded(how, started)) => {
                self.machine.get_or_insert((how, started));
            }
            ("console", Record::AgentUp) => phases.agent_up = now,
            ("console", Record::CommandStarted) => {
                phases.agent_up = phases.agent_up.or(now);
                phases.command_started = now;
            }
            ("console", Record::CommandEnded(end)) if self.agent => {
                if matches!(end, CommandEnd::Exited(_) | CommandEnd::Signaled(_)) {
                    phases.agent_up = phases.agent_up.or(now);
                    phases.command_started = phases.command_started.or(now);
                    phases.command_ended = now;
                }
                self.command.get_or_insert(end);
            }
            ("vcpu", Record::Recorded(recorded)) if self.recorded.is_some() => {
                self.recorded = Some(recorded);
            }
            (disk, Record::Limited(limited)) if disk.starts_with("blk") => {
                self.limited.insert(name, limited);
            }
            ("console", Record::Dropped(dropped)) => self.dropped = dropped,
            ("console", Record::KernelLog(bytes)) => {
                let room = MOST_LOG.saturating_sub(self.kernel_log.len());
                self.kernel_log.extend(bytes.iter().take(room));
            }
            ("console", Record::KernelPanic) => self.panic = true,
            _ => {
                let reason = "told what it cannot know".to_owned();
                self.failure.get_or_insert(Outcome::Failed(name, reason));
            }
        }
    }

    /// Worker `index` passed on what the guest wrote to the early console. Returns it, fit for a
    /// terminal, if there is such a console and the worker is the one that has it.
    pub fn note_early(&mut self, index: usize, bytes: &[u8]) -> Option<String> {
        let kept = self.early.as_mut().filter(|_| self.workers[index].name == "vcpu")?;
        let line = visible::line(String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']));
        kept.push_str(&line);
        kept.push('\n');
        let excess = kept.chars().count().saturating_sub(MOST_EARLY);
        *kept = kept.chars().skip(excess).collect();
        Some(line)
    }

    /// When a guest that has entered its kernel has to have started the command, since the start; none
    /// when it has, or when there is no command.
    pub fn boot_deadline(&self, limit: Duration) -> Option<Duration> {
        let Phases { kernel_entered, command_started, .. } = self.phases;
        let waits = self.agent && command_started.is_none() && self.command.is_none();
        kernel_entered.filter(|_| waits)?.checked_add(limit)
    }

    /// The outcome of a guest that did not start the command in time.
    pub fn boot_timeout(&self, limit: Duration) -> Outcome {
        let limit = humantime::format_duration(limit);
        let how_far = match (self.phases.agent_up, &self.early) {
            (Some(_), _) => "its agent is up, but the command is not".to_owned(),
            (None, None) => "--earlycon shows what its kernel says before that".to_owned(),
            (None, Some(said)) => match said.lines().last() {
                Some(line) => format!("the last that its kernel said early: {line}"),
                None => "its kernel said nothing to the early console".to_owned(),
            },
        };
        Outcome::BootTimeout(format!(
            "the guest did not start the command within {limit} (--boot-timeout): {how_far}"
        ))
    }

    /// The outcome, if what is known decides it.
    pub fn outcome(&self) -> Option<Outcome> {
        if let Some(outcome) = self.cause() {
            return Some(outcome);
        }
        if let Some(end) = &self.command {
            return Some(command_outcome(end));
        }
        if let Some(outcome) = self.failure.clone().or_else(|| self.unexpected_end()) {
            return Some(outcome);
        }
        // The console worker may still bring the command's end, or the kernel's last words.
        let (how, started) = self.machine?;
        let console = self.console();
        let console_done = console.is_none_or(|console| console.ended.is_some() && console.silent);
        console_done.then(|| self.machine_outcome(how, started))
    }

    /// What comes before any failure of a worker, which is often its consequence.
    pub fn cause(&self) -> Option<Outcome> {
        let (violation, refusal) = (self.violation.clone(), self.refusal.clone());
        self.breach().or(violation).or(refusal)
    }

    /// The console worker.
    pub fn console(&self) -> Option<&Life> {
        self.workers.iter().find(|worker| worker.name == "console")
    }

    fn machine_outcome(&self, how: VmEnd, started: u32) -> Outcome {
        if self.agent && self.phases.agent_up.is_none() && !self.panic {
            let missing = match started {
                0 => "it started no virtio device: its kernel lacks virtio_mmio, or ACPI",
                bits if bits & 0b11 != 0b11 => {
                    "it did not start its consoles: its kernel lacks virtio_console"
                }
                _ => "its agent did not speak",
            };
            return Outcome::Setup(format!(
                "the guest ended before it could run the command: {missing} (give the kernel's \
                 modules with --modules DIR, see its words with --console FILE)"
            ));
        }
        match how {
            _ if self.panic => Outcome::Panic,
            VmEnd::Exit(code) if !self.agent => Outcome::Exited(code),
            VmEnd::PowerOff | VmEnd::Exit(_) => Outcome::PowerOff,
            VmEnd::Reset => Outcome::Reset,
            VmEnd::TripleFault => Outcome::TripleFault,
        }
    }

    /// A worker that made a forbidden call, or that a filter killed.
    fn breach(&self) -> Option<Outcome> {
        if self.breach.is_some() {
            return self.breach.clone();
        }
        let breached = |worker: &&Life| worker.ended == Some(Ended::Killed(libc::SIGSYS));
        let worker = self.workers.iter().find(breached)?;
        Some(Outcome::Breach(worker.name.clone(), None))
    }

    /// A worker that ended although the machine had not.
    fn unexpected_end(&self) -> Option<Outcome> {
        if self.machine.is_some() {
            return None;
        }
        self.workers.iter().find_map(|worker| {
            let ended = worker.ended?;
            // A device worker leaves when the vcpu worker has, which is the one to look at.
            let leaves = ended == Ended::Exited(0) && worker.name != "vcpu";
            (!leaves).then(|| Outcome::Failed(worker.name.clone(), ended.to_string()))
        })
    }
}

fn command_outcome(end: &CommandEnd) -> Outcome {
    match end {
        CommandEnd::Exited(code) => Outcome::Exited(*code),
        CommandEnd::Signaled(signal) => Outcome::Signaled(*signal),
        CommandEnd::Failed(failure, text) => {
            let text = visible::line(text);
            match failure {
                Failure::NotFound => Outcome::NotFound(text),
                Failure::NotExecutable => Outcome::NotExecutable(text),
                Failure::Setup => Outcome::Setup(text),
            }
        }
    }
}
