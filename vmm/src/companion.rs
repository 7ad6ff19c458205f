//! A companion program that does one thing in a jail of its own and ends, as the image builder does:
//! started as a worker is, heard through records of a fixed size, killed at the first forbidden call.
//!
//! It begins with nothing before the launcher says go, which it does once it has the filter's listener.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use rustix::pipe::{PipeFlags, pipe_with};
use worker::fds;
use worker::jail::layers::{Layer, Layers};
use worker::status::{RECORD, Record};

use crate::breach::{Call, Reply};
use crate::host;
use crate::identity::Identity;
use crate::spawn::{Ended, Program, spawn};
use crate::watched::{Event, Said, Watched};

/// What is started, and with what.
#[derive(Debug)]
pub struct Companion<'a> {
    /// Who it is in messages: `image`.
    pub name: &'static str,
    /// Its file's name: `casemate-image`.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its descriptors, besides the status pipe and the go.
    pub table: Vec<(RawFd, BorrowedFd<'a>)>,
    /// The layers that it puts on, and is born with.
    pub layers: Layers,
    /// Layers that may be missing.
    pub missing: &'a [Layer],
}

/// A companion that is sealed, and waits for the go. Killed and reaped when this goes.
#[derive(Debug)]
pub struct Ready {
    name: &'static str,
    process: Watched,
    go: OwnedFd,
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

impl Companion<'_> {
    /// Starts it, and waits until it is sealed.
    pub fn start(self) -> Result<Ready> {
        let Self { name, missing, .. } = self;
        let mut ready = self.spawn().with_context(|| format!("cannot start the {name} process"))?;
        match ready.process.next_event::<RECORD>(Reply::Hold, None) {
            Event::Said(Said::Record(bytes)) => match Record::decode(&bytes) {
                Some(Record::Sealed(landlock, listener)) => {
                    ready.process.take_listener(listener)?;
                    check(name, landlock, missing)?;
                    Ok(ready)
                }
                Some(Record::Failed(reason)) => bail!("{}", harmless(&reason)),
                _ => bail!("the {name} process said something else than it says first"),
            },
            Event::Ended => bail!(ready.how_it_ended()),
            _ => bail!("the {name} process wrote a malformed record"),
        }
    }

    fn spawn(self) -> Result<Ready> {
        let file = host::companion(self.program)?;
        let null = host::null()?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let ((status, status_in), (go_out, go)) = (pipe()?, pipe()?);
        let mut table = self.table;
        table.extend([(fds::STATUS, status_in.as_fd()), (fds::GO, go_out.as_fd())]);
        table.extend([0, 1, 2].map(|number| (number, null.as_fd())));
        let program = Program { file: file.as_fd(), args: self.args, table };
        let identity = Identity::of_sandbox()?;
        let admit = |pid| match self.layers.has(Layer::UserNs) {
            true => identity.map(pid),
            false => Ok(()),
        };
        let child = spawn(program, self.layers, admit)?;
        Ok(Ready { name: self.name, process: Watched::new(child, status), go })
    }
}

impl Ready {
    /// Lets it begin and hears it out. `hear` is told every record, and says when it was the last.
    /// A forbidden call is a [`Stopped`].
    pub fn until_end<const LENGTH: usize, T>(
        mut self,
        mut hear: impl FnMut([u8; LENGTH]) -> Option<Result<T>>,
    ) -> Result<T> {
        let name = self.name;
        // If it is gone, its end says so.
        let _ = rustix::io::write(&self.go, &[1]);
        loop {
            match self.process.next_event(Reply::Hold, None) {
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
                // There is no limit to the time.
                Event::Nothing => {}
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        let name = self.name;
        match self.process.await_end() {
            Ended::Killed(signal) => format!("signal {signal} ended the {name} process"),
            Ended::Exited(status) => {
                format!("the {name} process exited with status {status} and no answer")
            }
        }
    }
}

fn check(name: &str, landlock: u8, missing: &[Layer]) -> Result<()> {
    if landlock == 0 && !missing.contains(&Layer::Landlock) {
        bail!(
            "layer landlock of the {name} process is missing (boot with lsm=landlock,…; \
             --insecure-allow-missing landlock goes without it)"
        );
    }
    Ok(())
}

/// Text that a process wrote which may have been taken over: nothing in it does anything to a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
