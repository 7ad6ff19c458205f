//! A companion program that does one thing in a jail of its own and ends, as the image builder does:
//! started as a worker is, its layers read back as a worker's are, heard through records of a fixed size,
//! killed at the first forbidden call.
//!
//! It begins with nothing before the launcher says go, which it does once it has the filter's listener and
//! has found every layer that is required.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devices::visible;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Resource;
use worker::fds;
use worker::jail::layers::{Layer, Layers};
use worker::plan::On;
use worker::status::{RECORD, Record};

use crate::breach::{Call, Reply};
use crate::cgroup::{Cgroup, Limits};
use crate::host;
use crate::identity::Identity;
use crate::layers::{self, Floor, Given, Subject};
use crate::signals::{RESIZED, Signals};
use crate::spawn::{Program, spawn};
use crate::watched::{Event, Said, Until, Watched};

/// What is started, and with what.
pub struct Companion<'a> {
    /// Who it is in messages: `image`.
    pub name: &'static str,
    /// Its file's name: `casemate-image`.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its descriptors, besides the status pipe and the go. All are open on what the user gave.
    pub table: Vec<(RawFd, BorrowedFd<'a>)>,
    /// What it limits itself to, given the number of the descriptor that is next.
    pub limits: &'a dyn Fn(u64) -> Vec<(Resource, u64)>,
    /// How much memory its control group lets it have, besides what every process of ours has, in bytes.
    pub memory: u64,
    /// The layers that it puts on, and is born with.
    pub layers: Layers,
    /// Layers that may be missing.
    pub missing: &'a [Layer],
    /// Who it is on the host.
    pub identity: Identity,
}

/// A companion that is sealed, and waits for the go. Killed and reaped when this goes.
#[derive(Debug)]
pub struct Ready {
    name: &'static str,
    process: Watched,
    go: OwnedFd,
    cgroup: Option<Cgroup>,
}

/// The jail stopped a companion when it made this call.
#[derive(Debug, thiserror::Error)]
#[error("the jail stopped the {name} process: it tried {call}")]
pub struct Stopped {
    /// Which one it was.
    pub name: &'static str,
    /// What it tried.
    pub call: Call,
}

/// What a companion was doing is not wanted any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Cut {
    /// The run's time is up.
    #[error("the time was up (--timeout)")]
    Time,
    /// A signal ends the run.
    #[error("ended by signal {0}")]
    Signal(u8),
}

/// How long a companion may take to take back what it did.
const TAKING_BACK: Duration = Duration::from_secs(10);

impl Companion<'_> {
    /// Starts it, and waits until it is sealed and its layers are read back.
    pub fn start(self) -> Result<Ready> {
        let name = self.name;
        let (mut ready, given) =
            self.spawn().with_context(|| format!("cannot start the {name} process"))?;
        match ready.process.next_event::<RECORD>(Reply::Hold, None) {
            Event::Said(Said::Record(bytes)) => match Record::decode(&bytes) {
                Some(Record::Sealed(landlock, listener)) => {
                    self.check(&mut ready, &given, landlock, listener)?;
                    Ok(ready)
                }
                Some(Record::Failed(reason)) => bail!("{}", visible::line(&reason)),
                _ => bail!("the {name} process said something else than it says first"),
            },
            Event::Ended => bail!(ready.how_it_ended()),
            _ => bail!("the {name} process wrote a malformed record"),
        }
    }

    fn spawn(&self) -> Result<(Ready, Given)> {
        let file = host::companion(self.program)?;
        let null = host::null()?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let ((status, status_in), (go_out, go)) = (pipe()?, pipe()?);
        let mut table = self.table.clone();
        table.extend([(fds::STATUS, status_in.as_fd()), (fds::GO, go_out.as_fd())]);
        table.extend([0, 1, 2].map(|number| (number, null.as_fd())));
        let cgroup = Cgroup::behind(self.layers, Limits::of(self.memory, 0, 1));
        let given = Given {
            layers: self.layers,
            cgroup: cgroup.as_ref().map(Cgroup::read_back).map_err(Clone::clone),
            core_sched: Err("not asked for".to_owned()),
            uid: self.identity.uid,
            gid: self.identity.gid,
        };
        let program = Program { file: file.as_fd(), args: self.args.clone(), table };
        let entrance = cgroup.as_ref().ok().map(Cgroup::entrance).transpose()?;
        let child = spawn(program, self.layers, &self.identity, entrance.as_ref())?;
        let process = Watched::new(child, status);
        Ok((Ready { name: self.name, process, go, cgroup: cgroup.ok() }, given))
    }

    /// Takes the listener, reads back every layer, and refuses what is below the floor.
    fn check(
        &self,
        ready: &mut Ready,
        given: &Given,
        landlock: u8,
        listener: Option<RawFd>,
    ) -> Result<()> {
        if !ready.process.take_listener(listener)? {
            bail!(ready.how_it_ended());
        }
        let own = self.table.iter().map(|(number, _)| (*number, On::Anything));
        let subject = Subject {
            name: self.name.to_owned(),
            descriptors: own.chain([(fds::STATUS, On::Pipe), (fds::GO, On::Pipe)]).collect(),
            cpus: 0,
            limits: (self.limits)(layers::next(listener)),
            pid: ready.process.pid(),
            landlock,
            listener,
        };
        Floor::new(&[], self.missing).check(&layers::read_back(&subject, given)?)
    }
}

impl Ready {
    /// Lets it begin and hears it out. `hear` is told every record, and says when it was the last.
    /// A forbidden call is a [`Stopped`].
    pub fn until_end<const LENGTH: usize, T>(
        mut self,
        hear: impl FnMut([u8; LENGTH]) -> Option<Result<T>>,
    ) -> Result<T> {
        self.go();
        self.hear_out(None, hear, || None)
    }

    /// The same, with an end: it has to be done by `deadline`, and before a signal comes. Otherwise it is
    /// asked to take back what it did, has [`TAKING_BACK`] for that, and the error is a [`Cut`].
    pub fn until_end_or_cut<const LENGTH: usize, T>(
        mut self,
        deadline: Option<Instant>,
        signals: &Signals,
        mut hear: impl FnMut([u8; LENGTH]) -> Option<Result<T>>,
    ) -> Result<T> {
        self.go();
        let until = Until { time: deadline, readable: Some(signals.fd()) };
        let cut = || {
            let signal = std::iter::from_fn(|| signals.next()).find(|signal| *signal != RESIZED);
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            signal.map(Cut::Signal).or(late.then_some(Cut::Time))
        };
        let heard = self.hear_out(until, &mut hear, cut);
        if heard.as_ref().is_err_and(|error| error.is::<Cut>()) {
            // As it is asked to begin, so to end: with a byte.
            self.go();
            let ended = self.hear_out(Some(Instant::now() + TAKING_BACK), hear, || Some(Cut::Time));
            if let Err(error) = ended
                && error.is::<Stopped>()
            {
                return Err(error);
            }
        }
        heard
    }

    /// Says go. If it is gone, its end says so.
    fn go(&self) {
        let _ = rustix::io::write(&self.go, &[1]);
    }

    /// Hears every record, until `hear` has heard the last, or there is none and `cut` is something.
    fn hear_out<'a, const LENGTH: usize, T>(
        &mut self,
        until: impl Into<Until<'a>>,
        mut hear: impl FnMut([u8; LENGTH]) -> Option<Result<T>>,
        cut: impl Fn() -> Option<Cut>,
    ) -> Result<T> {
        let (name, until) = (self.name, until.into());
        loop {
            match self.process.next_event(Reply::Hold, until) {
                Event::Said(Said::Record(bytes)) => {
                    if let Some(end) = hear(bytes) {
                        return end;
                    }
                }
                Event::Said(Said::Malformed) => {
                    bail!("the {name} process wrote a malformed record")
                }
                Event::Called(call) => bail!(Stopped { name, call }),
                Event::Ended => bail!(self.how_it_ended()),
                Event::Nothing => {
                    if let Some(cut) = cut() {
                        bail!(cut)
                    }
                }
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        format!("the {} process {}, without an answer", self.name, self.process.await_end())
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.process.kill();
        self.process.await_end();
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove();
        }
    }
}
