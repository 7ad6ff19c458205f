//! One attempt: a prober in a worker's place, watched as the launcher watches a worker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prober::answer::{ANSWER, Answer, FORBIDDEN, IN_VAIN};
use prober::bait::SET_ID;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use serde::Serialize;
use worker::jail::layers::Layers;
use worker::plan::Role;
use worker::status::{RECORD, Record};

use super::bait::Laid;
use crate::breach::{self, Call, Heard, Reply};
use crate::cgroup::Cgroup;
use crate::identity::Identity;
use crate::outcome::in_words;
use crate::sandbox::{Parts, Start, Worker};
use crate::spawn::{Ended, reap, take_descriptor};

/// An attempt that takes longer than this gets nowhere.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The drill's control group.
    pub cgroup: Option<&'a Cgroup>,
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

/// A prober at work, ended and reaped when this goes.
struct Attempt {
    worker: Worker,
    reply: Reply,
    listener: Option<OwnedFd>,
    ended: Option<Ended>,
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
        let worker = range.parts.start_worker(&start, &plan, &range.identity, range.cgroup)?;
        Ok(Self { worker, reply, listener: None, ended: None })
    }

    /// Watches until there is something to say.
    fn ending(&mut self) -> Result<Ending> {
        let until = Instant::now() + PATIENCE;
        let mut sealed = false;
        loop {
            let Some(ready) = self.wait(until) else { return Ok(Ending::Hung) };
            if ready.status {
                if sealed {
                    if let Some(answer) = self.answer()? {
                        return Ok(Ending::Answered(answer));
                    }
                } else if let Some(failed) = self.first_record()? {
                    return Ok(failed);
                } else {
                    sealed = true;
                }
            } else if ready.listener {
                let heard = self.listener.as_ref().map(|l| breach::receive(l, self.reply));
                match heard {
                    Some(Heard::Call(call)) if self.reply == Reply::Hold => {
                        return Ok(Ending::Caught(call));
                    }
                    Some(Heard::End) => self.listener = None,
                    _ => {}
                }
            } else if ready.end {
                return Ok(Ending::Ended(self.reap()));
            }
        }
    }

    /// Takes the filter's listener of a prober that is sealed; tells of one that is not.
    fn first_record(&mut self) -> Result<Option<Ending>> {
        let mut bytes = [0; RECORD];
        let record = match rustix::io::read(&self.worker.status, &mut bytes)? {
            RECORD => Record::decode(&bytes).context("the prober speaks no language of ours")?,
            _ => return Ok(Some(Ending::Failed("it ended before it was sealed".to_owned()))),
        };
        match record {
            Record::Sealed(_, listener) => {
                if let Some(number) = listener {
                    match take_descriptor(&self.worker.child, number) {
                        Ok(listener) => self.listener = Some(listener),
                        // It is through already, or a limit's signal was faster.
                        Err(_) if self.is_ending() => {}
                        // Without a user namespace, an unprivileged drill is no master of the prober.
                        Err(error) => return Ok(Some(Ending::Failed(in_words(&error)))),
                    }
                }
                Ok(None)
            }
            Record::Failed(reason) | Record::Boot(reason) => Ok(Some(Ending::Failed(reason))),
            _ => bail!("the prober said something else than a worker says first"),
        }
    }

    fn answer(&self) -> Result<Option<Answer>> {
        let mut bytes = [0; ANSWER];
        match rustix::io::read(&self.worker.status, &mut bytes)? {
            ANSWER => {
                Ok(Some(Answer::decode(&bytes).context("the prober gave no answer of ours")?))
            }
            0 => Ok(None),
            _ => bail!("the prober gave half an answer"),
        }
    }

    fn wait(&self, until: Instant) -> Option<Ready> {
        let mut fds = vec![
            PollFd::new(&self.worker.status, PollFlags::IN),
            PollFd::new(&self.worker.child.pidfd, PollFlags::IN),
        ];
        fds.extend(
            self.listener.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)),
        );
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        if poll(&mut fds, left.as_ref()).ok()? == 0 {
            return None;
        }
        let has = |index: usize| {
            fds.get(index).is_some_and(|fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN))
        };
        Some(Ready { status: has(0), end: has(1), listener: has(2) })
    }

    /// True when the process has ended, or does so within the time that it takes a killed one.
    fn is_ending(&self) -> bool {
        let mut fds = [PollFd::new(&self.worker.child.pidfd, PollFlags::IN)];
        let grace = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut fds, Some(&grace)).is_ok_and(|ready| ready > 0)
    }

    fn reap(&mut self) -> Ended {
        let child = &self.worker.child;
        *self.ended.get_or_insert_with(|| reap(child).0)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Gone already is as good.
            let _ = pidfd_send_signal(&self.worker.child.pidfd, Signal::KILL);
            self.reap();
        }
    }
}

/// Which descriptors poll as readable.
struct Ready {
    status: bool,
    end: bool,
    listener: bool,
}

fn name_of(call: &Call) -> String {
    call.name().map_or_else(|| format!("number {:#x}", call.number), str::to_owned)
}

/// `EPERM` and the like.
fn errno_name(errno: u16) -> String {
    syscalls::Errno::new(errno.into()).name().map_or_else(|| errno.to_string(), str::to_owned)
}
