//! Waiting for a sandbox to end, and ending it.
//!
//! The launcher reads fixed-size records from the workers, forwards signals, keeps the time, and
//! kills. Every record is believed only of the worker whose pipe it came from: the console worker
//! says how the command ended, the vcpu worker how the machine ended, each worker what went wrong
//! with itself.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use devices::channel::End as CommandEnd;
use protocol::frame::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use worker::status::{RECORD, Record, VmEnd};

use crate::breach::{self, Reply};
use crate::confine;
use crate::layers::{self, Finding, Floor};
use crate::outcome::{Outcome, in_words};
use crate::sandbox::{self, Sandbox};
use crate::signals::Signals;
use crate::spawn::{Ended, reap, take_descriptor};

/// How long the console worker may take for the kernel's last words when the guest was killed, and a
/// process that is on its way out to be gone.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// So many signals end the run instead of being forwarded.
const INSISTENT: u32 = 3;
/// More records than a worker of ours ever writes.
const MOST_RECORDS: u32 = 1024;
/// The most that is kept of the kernel's last words, in bytes.
const MOST_LOG: usize = devices::kernel_log::TAIL;

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

/// Everything there is to say about a run.
#[derive(Debug)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// When what happened.
    pub phases: Phases,
    /// Each worker's name and peak resident memory in KiB.
    pub peaks: Vec<(String, u64)>,
    /// The last bytes of the kernel's console.
    pub kernel_log: Vec<u8>,
    /// The layers of every worker, as read back.
    pub findings: Vec<Finding>,
    /// The options that weaken the default.
    pub insecure: Vec<String>,
}

/// What the supervisor goes by.
#[derive(Debug)]
pub struct Rules {
    /// What a sandbox has to have before its guest may run.
    pub floor: Floor,
    /// Let forbidden calls through and list them: insecure.
    pub learn: bool,
    /// The options that weaken the default, for the report.
    pub insecure: Vec<String>,
}

impl End {
    /// The end of a run that never began.
    pub fn refused(error: &anyhow::Error) -> Self {
        Self {
            outcome: Outcome::Refused(in_words(error)),
            phases: Phases::default(),
            peaks: Vec::new(),
            kernel_log: Vec::new(),
            findings: Vec::new(),
            insecure: Vec::new(),
        }
    }
}

/// The clock and the signals of a run, begun before anything is started.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    deadline: Option<Instant>,
    signals: Signals,
}

impl Watch {
    /// Begins to keep the time and to hold back signals.
    pub fn new(timeout: Option<Duration>) -> Result<Self> {
        let begun = Instant::now();
        let deadline = timeout.and_then(|timeout| begun.checked_add(timeout));
        Ok(Self { begun, deadline, signals: Signals::block()? })
    }

    /// Lets the guest run and waits until it is over and nothing of the sandbox is left.
    pub fn until_end(self, sandbox: Sandbox, rules: Rules) -> End {
        let mut run = Run::new(self, sandbox, rules);
        run.phases.spawned = Some(run.watch.begun.elapsed());
        let outcome = loop {
            if let Some(outcome) = run.turn() {
                break outcome;
            }
        };
        run.finish(outcome)
    }
}

struct Worker {
    worker: sandbox::Worker,
    open: bool,
    records: u32,
    sealed: bool,
    listener: Option<OwnedFd>,
    ended: Option<Ended>,
    peak: u64,
}

impl Worker {
    /// True when the process has ended, or does so now: one on its way out has no descriptors and no
    /// namespaces any more, but is not waited for yet.
    fn is_ending(&self) -> bool {
        let grace = Timespec::try_from(LAST_WORDS).ok();
        self.ended.is_some() || polls_readable(self.worker.child.pidfd.as_fd(), grace.as_ref())
    }
}

struct Run {
    watch: Watch,
    rules: Rules,
    findings: Vec<Finding>,
    learned: BTreeSet<(String, String)>,
    sandbox: Sandbox,
    workers: Vec<Worker>,
    phases: Phases,
    kernel_log: Vec<u8>,
    signals: u32,
    /// What the workers said, in the order in which it counts.
    facts: Facts,
}

#[derive(Default)]
struct Facts {
    command: Option<CommandEnd>,
    machine: Option<(VmEnd, u32)>,
    panic: bool,
    violation: Option<Outcome>,
    breach: Option<Outcome>,
    refusal: Option<Outcome>,
    failure: Option<Outcome>,
}

impl Run {
    fn new(watch: Watch, mut sandbox: Sandbox, rules: Rules) -> Self {
        let worker = |worker| Worker {
            worker,
            open: true,
            records: 0,
            sealed: false,
            listener: None,
            ended: None,
            peak: 0,
        };
        let workers = sandbox.workers.drain(..).map(worker).collect();
        let (phases, facts) = (Phases::default(), Facts::default());
        Self {
            watch,
            rules,
            findings: Vec::new(),
            learned: BTreeSet::new(),
            sandbox,
            workers,
            phases,
            kernel_log: Vec::new(),
            signals: 0,
            facts,
        }
    }

    /// Waits for the next event and takes note of it. Returns the outcome once it is known.
    fn turn(&mut self) -> Option<Outcome> {
        self.wait(self.watch.deadline);
        self.listen();
        if let Some(outcome) = self.take_signals() {
            return Some(outcome);
        }
        if self.watch.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Outcome::Timeout);
        }
        self.outcome()
    }

    /// Waits until a worker or a signal wants attention, or `until`.
    fn wait(&self, until: Option<Instant>) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.watch.signals.fd(), PollFlags::IN)];
        for worker in &self.workers {
            if worker.open {
                fds.push(PollFd::from_borrowed_fd(worker.worker.status.as_fd(), PollFlags::IN));
            }
            if let Some(listener) = worker.listener.as_ref().filter(|_| worker.ended.is_none()) {
                fds.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
            }
            if worker.ended.is_none() {
                let pidfd = worker.worker.child.pidfd.as_fd();
                fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
            }
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // Interrupted or not: whoever waits looks at everything again.
        let _ = poll(&mut fds, left.as_ref());
    }

    /// Reads what the workers said and reaps those that ended. A worker's end is looked at before
    /// its pipe, so that nothing it said can be missed.
    fn listen(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.ended.is_none() && readable(worker.worker.child.pidfd.as_fd()) {
                let (ended, peak) = reap(&worker.worker.child);
                worker.ended = Some(ended);
                worker.peak = peak;
            }
            self.take_breach(index);
            while let Some(record) = self.next_record(index) {
                self.note(index, record);
            }
        }
        if self.phases.sealed.is_none() && self.workers.iter().all(|worker| worker.sealed) {
            self.phases.sealed = Some(self.watch.begun.elapsed());
            if let Err(error) = self.begin() {
                self.facts.refusal = Some(Outcome::Refused(in_words(&error)));
            }
        }
    }

    /// Checks the floor, gives up what the launcher can still do, and lets the guest run.
    fn begin(&mut self) -> Result<()> {
        self.rules.floor.check(&self.findings)?;
        confine::launcher(self.rules.learn)?;
        // The vcpu worker waits for this; if it is gone, its end says so.
        let _ = rustix::io::write(&self.sandbox.go, &[1]);
        Ok(())
    }

    /// Takes the listener of a sealed worker's filter, and reads back its layers.
    fn look_into(&mut self, index: usize, landlock: u8, listener: Option<RawFd>) -> Result<()> {
        let Worker { worker, listener: ours, .. } = &mut self.workers[index];
        if let Some(number) = listener {
            *ours = Some(take_descriptor(&worker.child, number)?);
        }
        let given = &self.sandbox.given;
        let mut findings = layers::read_back(&worker.name, worker.child.pid, landlock, given)?;
        self.findings.append(&mut findings);
        Ok(())
    }

    /// Hears of a forbidden call of worker `index`. It stays held back, unless it is to be learned.
    fn take_breach(&mut self, index: usize) {
        let worker = &self.workers[index];
        let Some(listener) = worker.listener.as_ref().filter(|_| worker.ended.is_none()) else {
            return;
        };
        while readable(listener.as_fd()) {
            let reply = if self.rules.learn { Reply::LetThrough } else { Reply::Hold };
            let Some(call) = breach::receive(listener, reply) else { return };
            let name = worker.worker.name.clone();
            if self.rules.learn {
                self.learned.insert((name, call.rule()));
            } else {
                self.facts.breach.get_or_insert(Outcome::Breach(name, Some(call)));
                return;
            }
        }
    }

    /// The next record of worker `index`, if one has come.
    fn next_record(&mut self, index: usize) -> Option<Record> {
        let worker = &mut self.workers[index];
        if !worker.open || !readable(worker.worker.status.as_fd()) {
            return None;
        }
        let mut bytes = [0; RECORD];
        match rustix::io::read(&worker.worker.status, &mut bytes) {
            Ok(RECORD) if worker.records < MOST_RECORDS => {
                worker.records += 1;
                Some(Record::decode(&bytes).unwrap_or_else(malformed))
            }
            Ok(0) => {
                worker.open = false;
                None
            }
            Err(errno) if errno.kind() == ErrorKind::Interrupted => None,
            Ok(_) | Err(_) => {
                worker.open = false;
                Some(malformed())
            }
        }
    }

    fn note(&mut self, index: usize, record: Record) {
        let now = Some(self.watch.begun.elapsed());
        let name = self.workers[index].worker.name.clone();
        let facts = &mut self.facts;
        match (name.as_str(), record) {
            (_, Record::Sealed(landlock, listener)) if !self.workers[index].sealed => {
                match self.look_into(index, landlock, listener) {
                    Ok(()) => self.workers[index].sealed = true,
                    // Never sealed, so the guest will not run, and why it ended is what counts.
                    Err(_) if self.workers[index].is_ending() => {}
                    Err(error) => {
                        let refusal = Outcome::Refused(in_words(&error));
                        self.facts.refusal.get_or_insert(refusal);
                    }
                }
            }
            ("vcpu", Record::Boot(reason)) => {
                let what = &self.sandbox.boots;
                let reason = format!("cannot boot {what}: {}", printable(&reason));
                self.facts.refusal.get_or_insert(Outcome::Refused(reason));
            }
            (_, Record::Violation(violation)) => {
                facts.violation.get_or_insert(Outcome::Violation(name, violation));
            }
            (_, Record::Failed(reason)) => {
                facts.failure.get_or_insert(Outcome::Failed(name, printable(&reason)));
            }
            ("vcpu", Record::Entered) => self.phases.kernel_entered = now,
            ("vcpu", Record::VmEnded(how, started)) => {
                facts.machine.get_or_insert((how, started));
            }
            ("console", Record::AgentUp) => self.phases.agent_up = now,
            ("console", Record::CommandStarted) => {
                self.phases.agent_up = self.phases.agent_up.or(now);
                self.phases.command_started = now;
            }
            ("console", Record::CommandEnded(end)) => {
                if matches!(end, CommandEnd::Exited(_) | CommandEnd::Signaled(_)) {
                    self.phases.agent_up = self.phases.agent_up.or(now);
                    self.phases.command_started = self.phases.command_started.or(now);
                    self.phases.command_ended = now;
                }
                facts.command.get_or_insert(end);
            }
            ("console", Record::KernelLog(bytes)) => {
                let room = MOST_LOG.saturating_sub(self.kernel_log.len());
                self.kernel_log.extend(bytes.iter().take(room));
            }
            ("console", Record::KernelPanic) => facts.panic = true,
            _ => {
                facts
                    .failure
                    .get_or_insert(Outcome::Failed(name, "told what it cannot know".into()));
            }
        }
    }

    /// Forwards signals to the command; the third ends the run instead.
    fn take_signals(&mut self) -> Option<Outcome> {
        while let Some(signal) = self.watch.signals.next() {
            self.signals += 1;
            let forwardable = self.sandbox.agent && self.phases.command_started.is_some();
            if self.signals >= INSISTENT || !forwardable {
                return Some(Outcome::Interrupted(signal));
            }
            // Full or closed: the console worker has ended or is stuck, and the third signal helps.
            let _ = rustix::io::write(&self.sandbox.signals, &[signal]);
        }
        None
    }

    /// The outcome, if what is known decides it.
    fn outcome(&self) -> Option<Outcome> {
        let facts = &self.facts;
        if let Some(outcome) = self.breach().or(facts.violation.clone()).or(facts.refusal.clone()) {
            return Some(outcome);
        }
        if let Some(end) = &self.facts.command {
            return Some(command_outcome(end));
        }
        if let Some(outcome) = self.facts.failure.clone().or_else(|| self.unexpected_end()) {
            return Some(outcome);
        }
        // The console worker may still bring the command's end, or the kernel's last words.
        let console = self.workers.iter().find(|worker| worker.worker.name == "console");
        let console_done = console.is_none_or(|console| console.ended.is_some() && !console.open);
        let (how, started) = self.facts.machine?;
        console_done.then(|| self.machine_outcome(how, started))
    }

    fn machine_outcome(&self, how: VmEnd, started: u32) -> Outcome {
        if self.sandbox.agent && self.phases.agent_up.is_none() && !self.facts.panic {
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
            _ if self.facts.panic => Outcome::Panic,
            VmEnd::Exit(code) if !self.sandbox.agent => Outcome::Exited(code),
            VmEnd::PowerOff | VmEnd::Exit(_) => Outcome::PowerOff,
            VmEnd::Reset => Outcome::Reset,
            VmEnd::TripleFault => Outcome::TripleFault,
        }
    }

    /// A worker that made a forbidden call, or that a filter killed.
    fn breach(&self) -> Option<Outcome> {
        if self.facts.breach.is_some() {
            return self.facts.breach.clone();
        }
        let breached = |worker: &&Worker| worker.ended == Some(Ended::Killed(libc::SIGSYS));
        let worker = self.workers.iter().find(breached)?;
        Some(Outcome::Breach(worker.worker.name.clone(), None))
    }

    /// A worker that ended although the machine had not.
    fn unexpected_end(&self) -> Option<Outcome> {
        if self.facts.machine.is_some() {
            return None;
        }
        self.workers.iter().find_map(|worker| {
            let how = match worker.ended? {
                // A device worker leaves when the vcpu worker has, which is the one to look at.
                Ended::Exited(0) if worker.worker.name != "vcpu" => return None,
                Ended::Exited(127) => "could not be executed".to_owned(),
                Ended::Exited(status) => format!("exited with status {status}"),
                Ended::Killed(libc::SIGKILL) => "was killed (out of memory?)".to_owned(),
                Ended::Killed(signal) => format!("was ended by signal {signal}"),
            };
            Some(Outcome::Failed(worker.worker.name.clone(), how))
        })
    }

    /// Ends everything, collects what is left to say, and reaps every worker.
    fn finish(mut self, mut outcome: Outcome) -> End {
        self.kill(|name| name == "vcpu");
        // The end of the machine makes the console worker bring the kernel's last words.
        let until = Instant::now() + LAST_WORDS;
        let said = |run: &Self| {
            let console = run.workers.iter().find(|worker| worker.worker.name == "console");
            console.is_none_or(|console| !console.open)
        };
        while outcome.wants_kernel_log() && !said(&self) && Instant::now() < until {
            self.wait(Some(until));
            self.listen();
            while self.watch.signals.next().is_some() {}
        }
        self.kill(|_| true);
        while self.workers.iter().any(|worker| worker.ended.is_none()) {
            self.wait(None);
            self.listen();
            while self.watch.signals.next().is_some() {}
        }
        // One worker's failure is often another's consequence: what the guest did comes first.
        if matches!(outcome, Outcome::Failed(..)) {
            let facts = &self.facts;
            let better = self.breach().or(facts.violation.clone()).or(facts.refusal.clone());
            outcome = better.unwrap_or(outcome);
        }
        for (worker, rule) in &self.learned {
            eprintln!("casemate: learned for the {worker} worker: {rule}");
        }
        let peaks = self.workers.into_iter().map(|worker| (worker.worker.name, worker.peak));
        let peaks = peaks.collect();
        if let Some(cgroup) = self.sandbox.cgroup.take() {
            cgroup.remove();
        }
        self.phases.ended = Some(self.watch.begun.elapsed());
        End {
            outcome,
            phases: self.phases,
            peaks,
            kernel_log: self.kernel_log,
            findings: self.findings,
            insecure: self.rules.insecure,
        }
    }

    fn kill(&self, which: impl Fn(&str) -> bool) {
        for worker in self.workers.iter().filter(|worker| which(&worker.worker.name)) {
            if worker.ended.is_none() {
                // Gone already is as good.
                let _ = pidfd_send_signal(&worker.worker.child.pidfd, Signal::KILL);
            }
        }
    }
}

fn command_outcome(end: &CommandEnd) -> Outcome {
    match end {
        CommandEnd::Exited(code) => Outcome::Exited(*code),
        CommandEnd::Signaled(signal) => Outcome::Signaled(*signal),
        CommandEnd::Failed(failure, text) => {
            let text = printable(text);
            match failure {
                Failure::NotFound => Outcome::NotFound(text),
                Failure::NotExecutable => Outcome::NotExecutable(text),
                Failure::Setup => Outcome::Setup(text),
            }
        }
    }
}

fn malformed() -> Record {
    Record::Failed("wrote a malformed status record".to_owned())
}

/// Text from a worker, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    polls_readable(fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
}

fn polls_readable(fd: BorrowedFd<'_>, within: Option<&Timespec>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    matches!(poll(&mut fds, within), Ok(ready) if ready > 0)
}
