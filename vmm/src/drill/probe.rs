//! One attempt: a prober in a worker's place, watched as the launcher watches a worker.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prober::answer::{ANSWER, Answer, FORBIDDEN, IN_VAIN};
use prober::bait::SET_ID;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use worker::jail::layers::Layers;
use worker::plan::Role;
use worker::status::{RECORD, Record};

use super::bait::Laid;
use crate::breach::{Call, Reply};
use crate::cgroup::Entrance;
use crate::identity::Identity;
use crate::outcome::in_words;
use crate::sandbox::{Parts, Start, Worker};
use crate::spawn::Ended;
use crate::watched::{Event, Said};

/// An attempt that takes longer than this gets nowhere.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Cell {
    /// The technique got through.
    Through,
    /// It succeeded, on something of the sandbox's own.
    Confined {
        /// The layer that makes it the sandbox's own.
        layer: &'static str,
    },
    /// The filter caught a system call.
    Filter {
        /// Its name.
        call: String,
    },
    /// A system call failed.
    Errno {
        /// The error's name.
        errno: String,
    },
    /// Every call was made and brought nothing.
    InVain,
    /// A signal ended the attacker.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It never came back.
    Hung,
    /// It was not tried, and why.
    NotTried {
        /// The reason.
        reason: String,
    },
}

impl Cell {
    /// True when something stopped the technique.
    pub fn is_stopped(&self) -> bool {
        !matches!(self, Self::Through | Self::NotTried { .. })
    }

    /// What stopped it, or that nothing did, in few words.
    pub fn words(&self) -> String {
        match self {
            Self::Through => "through".to_owned(),
            Self::Confined { layer } => format!("inside its own {layer}"),
            Self::Filter { call } => format!("filter: {call}"),
            Self::Errno { errno } => errno.clone(),
            Self::InVain => "in vain".to_owned(),
            Self::Signal { signal } => format!("signal {signal}"),
            Self::Hung => "never came back".to_owned(),
            Self::NotTried { reason } => format!("not tried: {reason}"),
        }
    }
}

/// What every attempt of a drill starts from.
pub struct Range<'a> {
    /// What workers inherit.
    pub parts: &'a Parts,
    /// The prober.
    pub program: BorrowedFd<'a>,
    /// Who it is on the host.
    pub identity: Identity,
    /// The way into the drill's control group.
    pub entrance: Option<&'a Entrance>,
    /// The drill runs as root; only then it could make a program set-user-id to somebody else.
    pub root: bool,
    /// What is laid out for it.
    pub laid: &'a Laid,
}

/// What a prober does before it is ended.
#[derive(Debug)]
enum Ending {
    Answered(Answer),
    Caught(Call),
    Ended(Ended),
    Failed(String),
    Hung,
}

impl Range<'_> {
    /// Has the prober in `role` try `attack` behind `layers`.
    pub fn attempt(&self, role: &Role, layers: Layers, attack: &str) -> Result<Cell> {
        let mut attempt = Attempt::start(self, role, layers, attack, Reply::Hold)?;
        Ok(match attempt.ending()? {
            Ending::Answered(Answer::Through(euid))
                if attack == "execute_set_id" && !(self.root && euid == SET_ID) =>
            {
                Cell::InVain
            }
            Ending::Answered(Answer::Through(_)) => Cell::Through,
            Ending::Answered(Answer::Failed(IN_VAIN)) => Cell::InVain,
            Ending::Answered(Answer::Failed(errno)) => Cell::Errno { errno: errno_name(errno) },
            Ending::Answered(Answer::Walked { .. }) => bail!("the prober walked instead"),
            Ending::Caught(call) => Cell::Filter { call: name_of(&call) },
            Ending::Ended(Ended::Killed(signal)) => Cell::Signal { signal },
            Ending::Ended(Ended::Exited(status)) => {
                bail!("the prober for {attack} exited with status {status} without an answer")
            }
            Ending::Failed(reason) => Cell::NotTried { reason },
            Ending::Hung => Cell::Hung,
        })
    }

    /// Has the prober in `role` try every system call behind all layers.
    pub fn walk(&self, role: &Role) -> Result<Walked> {
        let reply = Reply::Fail(i32::from(FORBIDDEN));
        let mut attempt = Attempt::start(self, role, Layers::ALL, "walk", reply)?;
        match attempt.ending()? {
            Ending::Answered(Answer::Walked { tried, allowed, mismatch }) => {
                let mismatch = mismatch.checked_sub(1).map(|number| {
                    let known = usize::try_from(number).ok().and_then(syscalls::Sysno::new);
                    known.map_or_else(|| format!("{number:#x}"), |call| call.name().to_owned())
                });
                Ok(Walked { tried, allowed, mismatch })
            }
            Ending::Failed(reason) => bail!("the prober could not walk: {reason}"),
            other => bail!("the prober did not come back from its walk: {other:?}"),
        }
    }
}

/// What the walk over every system call found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// So many combinations of call and arguments were tried.
    pub tried: u32,
    /// So many different calls are allowed.
    pub allowed: u32,
    /// The first call where filter and table differ.
    pub mismatch: Option<String>,
}

/// A prober at work, ended with all that it started when this goes.
struct Attempt {
    worker: Worker,
    reply: Reply,
}

impl Attempt {
    fn start(
        range: &Range<'_>,
        role: &Role,
        layers: Layers,
        attack: &str,
        reply: Reply,
    ) -> Result<Self> {
        let plan = range.parts.plan(role.clone(), layers);
        let mut args = plan.to_args();
        args.extend(range.laid.bait.to_args());
        args.push(format!("attack={attack}").into());
        range.laid.refresh().context("cannot put the bait back")?;
        let start = Start { file: range.program, args, more: &range.laid.leaked() };
        let worker = range.parts.start_worker(&start, &plan, &range.identity, range.entrance)?;
        Ok(Self { worker, reply })
    }

    /// Watches until there is something to say.
    fn ending(&mut self) -> Result<Ending> {
        let until = Some(Instant::now() + PATIENCE);
        match self.worker.process.next_event(self.reply, until) {
            Event::Said(said) => {
                if let Some(failed) = self.first_record(said)? {
                    return Ok(failed);
                }
            }
            Event::Ended => {
                return Ok(Ending::Failed("it ended before it was sealed".to_owned()));
            }
            Event::Called(call) => return Ok(Ending::Caught(call)),
            Event::Nothing => return Ok(Ending::Hung),
        }
        Ok(match self.worker.process.next_event::<ANSWER>(self.reply, until) {
            Event::Said(Said::Record(bytes)) => Ending::Answered(
                Answer::decode(&bytes).context("the prober gave no answer of ours")?,
            ),
            Event::Said(Said::Malformed) => bail!("the prober gave half an answer"),
            Event::Called(call) => Ending::Caught(call),
            Event::Ended => Ending::Ended(self.end()),
            Event::Nothing => Ending::Hung,
        })
    }

    /// Takes the filter's listener of a prober that is sealed; tells of one that is not.
    fn first_record(&mut self, said: Said<RECORD>) -> Result<Option<Ending>> {
        let record = match said {
            Said::Record(bytes) => Record::decode(&bytes),
            Said::Malformed => None,
        };
        match record.context("the prober speaks no language of ours")? {
            Record::Sealed(_, listener) => match self.worker.process.take_listener(listener) {
                // If there is none to take, it is through already, or a limit's signal was faster.
                Ok(_) => Ok(None),
                // Without a user namespace, an unprivileged drill is no master of the prober.
                Err(error) => Ok(Some(Ending::Failed(in_words(&error)))),
            },
            Record::Failed(reason) | Record::Boot(reason) => Ok(Some(Ending::Failed(reason))),
            _ => bail!("the prober said something else than a worker says first"),
        }
    }

    /// Ends the prober and all that it started: a worker has a session, and so a process group, of its
    /// own, whose number is nobody else's until the prober is waited for.
    fn end(&mut self) -> Ended {
        let process = &mut self.worker.process;
        if let Some(group) = Pid::from_raw(process.pid()).filter(|_| !process.has_ended()) {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
        process.kill();
        process.await_end()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end();
    }
}

fn name_of(call: &Call) -> String {
    call.name().map_or_else(|| format!("number {:#x}", call.number), str::to_owned)
}

/// `EPERM` and the like.
fn errno_name(errno: u16) -> String {
    syscalls::Errno::new(errno.into()).name().map_or_else(|| errno.to_string(), str::to_owned)
}
