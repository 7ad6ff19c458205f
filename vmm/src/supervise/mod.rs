//! Waiting for a sandbox to end, and ending it.
//!
//! The launcher reads fixed-size records from the workers, forwards signals, keeps the time, and
//! kills. What it hears goes to [`facts`](crate::facts), which say how the run ended. [`finish`] is what
//! follows once that is known.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use devices::orders::Order;
use rustix::event::{PollFd, PollFlags};
use worker::jail::code::forget_code;
use worker::status::{RECORD, Record};

use crate::breach::{Call, Reply};
use crate::confine;
use crate::facts::Facts;
use crate::layers::{self, Finding, Floor, Subject};
use crate::limits::{Limits, Time};
use crate::messages::complain;
use crate::outcome::{Outcome, in_words};
use crate::report::End;
use crate::sandbox::{Sandbox, Worker};
use crate::signals::{RESIZED, Signals};
use crate::terminal::{self, Keeper};
use crate::watched::{Said, wait};

mod finish;

/// So many signals end the run instead of being forwarded.
const INSISTENT: u32 = 3;
/// A wait that has been so long may be much longer.
const SETTLED: Duration = Duration::from_secs(1);
/// More rules than any table of ours could lack.
const MOST_LEARNED: usize = 256;

/// What the supervisor goes by.
#[derive(Debug)]
pub struct Rules {
    /// What a sandbox has to have before its guest may run.
    pub floor: Floor,
    /// Let forbidden calls through and list them: insecure.
    pub learn: bool,
    /// The options that weaken the default, for the report.
    pub insecure: Vec<String>,
    /// What the run is limited to, for the report.
    pub limits: Limits,
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
    pub fn new(limit: Time) -> Result<Self> {
        let begun = Instant::now();
        let deadline = limit.0.and_then(|timeout| begun.checked_add(timeout));
        Ok(Self { begun, deadline, signals: Signals::block()? })
    }

    /// Lets the guest run and waits until it is over and nothing of the sandbox is left.
    pub fn until_end(self, sandbox: Sandbox, rules: Rules) -> End {
        let mut run = Run::new(self, sandbox, rules);
        run.facts.phases.spawned = Some(run.watch.begun.elapsed());
        let outcome = loop {
            if let Some(outcome) = run.turn() {
                break outcome;
            }
        };
        run.finish(outcome)
    }
}

struct Run {
    watch: Watch,
    rules: Rules,
    findings: Vec<Finding>,
    learned: BTreeSet<(String, String)>,
    sandbox: Sandbox,
    workers: Vec<Worker>,
    signals: u32,
    facts: Facts,
    /// Of the terminal that is the guest's.
    keeper: Option<Keeper>,
}

impl Run {
    fn new(watch: Watch, mut sandbox: Sandbox, rules: Rules) -> Self {
        let names = sandbox.workers.iter().map(|worker| worker.name.clone());
        let mut facts = Facts::new(sandbox.agent, sandbox.early, sandbox.boots.clone(), names);
        facts.recorded = sandbox.record.then(Default::default);
        let workers = sandbox.workers.drain(..).collect();
        Self {
            watch,
            rules,
            findings: Vec::new(),
            learned: BTreeSet::new(),
            sandbox,
            workers,
            signals: 0,
            facts,
            keeper: None,
        }
    }

    /// Waits for the next event and takes note of it. Returns the outcome once it is known.
    fn turn(&mut self) -> Option<Outcome> {
        let boot = self.boot_deadline();
        self.wait([self.watch.deadline, boot].into_iter().flatten().min());
        self.listen();
        // Not before: until then Ctrl-C is for casemate.
        if let Some(keeper) =
            self.keeper.as_mut().filter(|_| self.facts.phases.command_started.is_some())
        {
            keeper.lend();
        }
        if let Some(outcome) = self.take_signals() {
            return Some(outcome);
        }
        if self.watch.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Outcome::Timeout);
        }
        self.facts.outcome().or_else(|| self.boot_timeout())
    }

    /// When the guest has to have started the command.
    fn boot_deadline(&self) -> Option<Instant> {
        let deadline = self.facts.boot_deadline(self.rules.limits.boot.0?)?;
        self.watch.begun.checked_add(deadline)
    }

    /// The outcome, if the guest has not started the command in time.
    fn boot_timeout(&self) -> Option<Outcome> {
        self.boot_deadline().filter(|deadline| Instant::now() >= *deadline)?;
        Some(self.facts.boot_timeout(self.rules.limits.boot.0?))
    }

    /// Waits until a worker or a signal wants attention, or `until`. A long wait is one with little memory.
    fn wait(&self, until: Option<Instant>) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.watch.signals.fd(), PollFlags::IN)];
        fds.extend(self.workers.iter().flat_map(|worker| worker.process.waiting()));
        let left = || until.map(|until| until.saturating_duration_since(Instant::now()));
        let first = left().map_or(SETTLED, |left| left.min(SETTLED));
        if !wait(&mut fds, Some(first)) {
            forget_code();
            wait(&mut fds, left());
        }
    }

    /// Reads what the workers said and reaps those that ended. A worker's end is looked at before
    /// its pipe, so that nothing it said can be missed.
    fn listen(&mut self) {
        for index in 0..self.workers.len() {
            if let Some(ended) = self.workers[index].process.reap() {
                self.facts.workers[index].ended = Some(ended);
            }
            self.take_breach(index);
            while let Some(said) = self.workers[index].process.next_record() {
                self.note(index, decode(said));
            }
            self.facts.workers[index].silent = self.workers[index].process.is_silent();
        }
        let phases = &mut self.facts.phases;
        if phases.sealed.is_none() && self.workers.iter().all(|worker| worker.sealed) {
            phases.sealed = Some(self.watch.begun.elapsed());
            if let Err(error) = self.begin() {
                self.facts.refuse(in_words(&error));
            }
        }
    }

    /// Checks the floor, gives up what the launcher can still do, and lets the guest run.
    fn begin(&mut self) -> Result<()> {
        self.rules.floor.check(&self.findings)?;
        if self.sandbox.terminal {
            self.keeper = Some(Keeper::start()?);
        }
        confine::launcher(self.rules.learn, self.sandbox.terminal)?;
        // The vcpu worker waits for this; if it is gone, its end says so.
        let _ = rustix::io::write(&self.sandbox.go, &[1]);
        Ok(())
    }

    /// Takes the listener of a sealed worker's filter, and reads back its layers. False when the worker
    /// is on its way out.
    fn look_into(&mut self, index: usize, landlock: u8, listener: Option<RawFd>) -> Result<bool> {
        let Worker { plan, process, .. } = &mut self.workers[index];
        if !process.take_listener(listener)? {
            return Ok(false);
        }
        let subject = Subject::worker(plan, process.pid(), landlock, listener);
        match layers::read_back(&subject, &self.sandbox.given) {
            Ok(mut findings) => self.findings.append(&mut findings),
            Err(_) if process.is_ending() => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Hears of a forbidden call of worker `index`. It stays held back, unless it is to be learned.
    fn take_breach(&mut self, index: usize) {
        let reply = if self.rules.learn { Reply::LetThrough } else { Reply::Hold };
        while let Some(call) = self.workers[index].process.next_call(reply) {
            if !self.rules.learn {
                return self.facts.note_breach(index, call);
            }
            self.learn(index, call);
        }
    }

    /// Says which rule would have allowed a call, the first time: at once, so that it is known even if
    /// the run never ends.
    fn learn(&mut self, index: usize, call: Call) {
        let learned = (self.workers[index].name.clone(), call.rule());
        if self.learned.len() < MOST_LEARNED && !self.learned.contains(&learned) {
            complain(&format!("learned for the {} worker: {}", learned.0, learned.1));
            self.learned.insert(learned);
        }
    }

    fn note(&mut self, index: usize, record: Record) {
        match record {
            Record::Sealed(landlock, listener) if !self.workers[index].sealed => {
                match self.look_into(index, landlock, listener) {
                    Ok(true) => self.workers[index].sealed = true,
                    // Never sealed, so the guest will not run, and why it ended is what counts.
                    Ok(false) => {}
                    Err(error) => self.facts.refuse(in_words(&error)),
                }
            }
            Record::Early(bytes) => match self.facts.note_early(index, &bytes) {
                Some(line) => complain(&format!("early console: {line}")),
                None => self.facts.note(index, Record::Early(bytes), self.watch.begun.elapsed()),
            },
            record => self.facts.note(index, record, self.watch.begun.elapsed()),
        }
    }

    /// Forwards signals to the command; the third ends the run instead.
    fn take_signals(&mut self) -> Option<Outcome> {
        while let Some(signal) = self.watch.signals.next() {
            if signal == RESIZED {
                self.resize();
                continue;
            }
            self.signals += 1;
            let forwardable = self.sandbox.agent && self.facts.phases.command_started.is_some();
            if self.signals >= INSISTENT || !forwardable {
                return Some(Outcome::Interrupted(signal));
            }
            self.order(Order::Signal(signal));
        }
        None
    }

    /// Passes on the size of the terminal, if it is the guest's.
    fn resize(&self) {
        if self.sandbox.terminal {
            let (rows, columns) = terminal::size();
            self.order(Order::Resize(rows, columns));
        }
    }

    /// Tells the console worker. If its pipe is full or closed, it has ended or is stuck, and the third
    /// signal helps.
    fn order(&self, order: Order) {
        let _ = rustix::io::write(&self.sandbox.orders, &order.encode());
    }
}

fn decode(said: Said<RECORD>) -> Record {
    let record = match said {
        Said::Record(bytes) => Record::decode(&bytes),
        Said::Malformed => None,
    };
    record.unwrap_or_else(|| Record::Failed("wrote a malformed status record".to_owned()))
}
