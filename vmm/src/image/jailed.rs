//! The process that parses, as the launcher has it: started as a worker is, heard through records of a
//! fixed size, killed at the first forbidden call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use image::order::{Order, RESULT, SOURCE};
use image::word::{WORD, Word};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use worker::fds;
use worker::jail::layers::Layer;
use worker::status::{RECORD, Record};

use crate::breach::{self, Call, Heard, Reply};
use crate::host;
use crate::identity::Identity;
use crate::spawn::{Child, Ended, Program, reap, spawn, take_descriptor};

/// More words than a process of ours ever writes.
const MOST_WORDS: u32 = 4096;

/// What is to be done, and with what.
pub struct Job<'a> {
    /// What is to be done.
    pub order: Order,
    /// The source.
    pub source: BorrowedFd<'a>,
    /// Where the result goes.
    pub result: BorrowedFd<'a>,
    /// Layers that may be missing.
    pub missing: &'a [Layer],
}

/// How the process ended.
#[derive(Debug)]
pub enum End {
    /// It did what it should, and says this of it.
    Done(Word),
    /// It could not, for this reason.
    Failed(String),
    /// The jail stopped it when it made this call.
    Breach(Call),
}

/// The process, killed and reaped when this goes.
struct Process {
    child: Child,
    status: OwnedFd,
    listener: Option<OwnedFd>,
    ended: Option<Ended>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Gone already is as good.
            let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
            reap(&self.child);
        }
    }
}

impl Job<'_> {
    /// Has it done. `tell` hears how many bytes of how many are copied.
    pub fn run(&self, tell: impl FnMut(u64, u64)) -> Result<End> {
        let mut process = self.start()?;
        let end = self.listen(&mut process, tell)?;
        match end {
            Some(end) => Ok(end),
            None => Ok(End::Failed(match process.reap() {
                Ended::Killed(signal) => format!("signal {signal} ended the process that parses"),
                Ended::Exited(status) => {
                    format!("the process that parses exited with status {status} and no answer")
                }
            })),
        }
    }

    fn start(&self) -> Result<Process> {
        let file = host::companion("casemate-image")?;
        let null = host::null()?;
        let (status, status_in) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let mut table =
            vec![(fds::STATUS, status_in.as_fd()), (SOURCE, self.source), (RESULT, self.result)];
        table.extend([0, 1, 2].map(|number| (number, null.as_fd())));
        let program = Program { file: file.as_fd(), args: self.order.to_args(), table };
        let identity = Identity::of_sandbox()?;
        let admit = |pid| match self.order.layers.has(Layer::UserNs) {
            true => identity.map(pid),
            false => Ok(()),
        };
        let child =
            spawn(program, self.order.layers, admit).context("cannot start the image process")?;
        Ok(Process { child, status, listener: None, ended: None })
    }

    /// Hears the process out; `None` when it ended without an answer.
    fn listen(&self, process: &mut Process, mut tell: impl FnMut(u64, u64)) -> Result<Option<End>> {
        let mut sealed = false;
        let mut words = 0;
        loop {
            let (said, caught) = process.wait();
            if let Some(call) = caught.then(|| process.breach()).flatten() {
                return Ok(Some(End::Breach(call)));
            }
            if !said {
                continue;
            }
            if !sealed {
                match process.first_record()? {
                    Some(Record::Sealed(landlock, listener)) => {
                        self.check(landlock)?;
                        process.take_listener(listener)?;
                        sealed = true;
                    }
                    Some(Record::Failed(reason)) => bail!("{}", harmless(&reason)),
                    Some(_) => bail!("the image process said something else than it says first"),
                    None => return Ok(None),
                }
                continue;
            }
            words += 1;
            match process.word()? {
                _ if words > MOST_WORDS => bail!("the image process does not stop talking"),
                Some(Word::Progress(done, all)) => tell(done, all),
                Some(Word::Failed(reason)) => return Ok(Some(End::Failed(harmless(&reason)))),
                Some(word) => return Ok(Some(End::Done(word))),
                None => return Ok(None),
            }
        }
    }

    fn check(&self, landlock: u8) -> Result<()> {
        if landlock == 0 && !self.missing.contains(&Layer::Landlock) {
            bail!(
                "layer landlock of the image process is missing (boot with lsm=landlock,…; \
                 --insecure-allow-missing landlock goes without it)"
            );
        }
        Ok(())
    }
}

impl Process {
    /// Waits for something to hear: from the process itself, and from its filter.
    fn wait(&self) -> (bool, bool) {
        let mut fds = vec![PollFd::new(&self.status, PollFlags::IN)];
        fds.extend(self.listener.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        // Interrupted: nothing is ready, and whoever waits waits again.
        let _ = poll(&mut fds, None);
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        (ready(0), ready(1))
    }

    /// The forbidden call that was caught, if there was one.
    fn breach(&mut self) -> Option<Call> {
        match breach::receive(self.listener.as_ref()?, Reply::Hold) {
            Heard::Call(call) => Some(call),
            Heard::Nothing => None,
            Heard::End => {
                self.listener = None;
                None
            }
        }
    }

    fn first_record(&self) -> Result<Option<Record>> {
        self.read::<RECORD>()?.map(|bytes| Record::decode(&bytes).context(MALFORMED)).transpose()
    }

    fn word(&self) -> Result<Option<Word>> {
        self.read::<WORD>()?.map(|bytes| Word::decode(&bytes).context(MALFORMED)).transpose()
    }

    /// One record, which is written at once; `None` at the end.
    fn read<const LENGTH: usize>(&self) -> Result<Option<[u8; LENGTH]>> {
        let mut bytes = [0; LENGTH];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.status, &mut bytes));
        match read.context("cannot hear the image process")? {
            0 => Ok(None),
            read if read == LENGTH => Ok(Some(bytes)),
            _ => bail!(MALFORMED),
        }
    }

    /// Takes the filter's listener, unless the process is through with its work already.
    fn take_listener(&mut self, number: Option<i32>) -> Result<()> {
        let Some(number) = number else { return Ok(()) };
        match take_descriptor(&self.child, number) {
            Ok(listener) => self.listener = Some(listener),
            Err(_) if self.is_ending() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        let mut fds = [PollFd::new(&self.child.pidfd, PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&limit)), Ok(1))
    }

    fn reap(&mut self) -> Ended {
        let (ended, _) = reap(&self.child);
        self.ended = Some(ended);
        ended
    }
}

const MALFORMED: &str = "the image process wrote a malformed record";

/// Text that a process wrote which may have been taken over: nothing in it does anything to a terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
