//! What comes out of a guest: a disk that the guest writes an archive to, and a process that unpacks it.
//!
//! The process is started, jailed and sealed before the guest runs, because the launcher cannot start one
//! afterwards; it waits for the go, which comes once no worker is left that could still write to the disk.
//! It can read the disk and make files below one directory, and do nothing else.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use devices::visible;
use image::life;
use image::order::{Order, RESULT, SOURCE, Task};
use image::unpack::Unpacked;
use image::word::{WORD, Word};
use serde::Serialize;
use worker::jail::layers::{Layer, Layers};

use crate::companion::{Companion, Cut, Ready, Stopped};
use crate::identity::Identity;
use crate::image::in_memory;
use crate::outcome::{Outcome, in_words};
use crate::signals::Signals;

/// A directory that something comes out to.
#[derive(Debug)]
pub struct Output {
    /// Its path, for messages.
    pub path: PathBuf,
    /// The directory, which is empty.
    pub directory: File,
    /// The disk that the guest writes to.
    pub disk: File,
    /// How much may come out, in bytes.
    pub most: u64,
}

/// The process that waits for what comes out.
#[derive(Debug)]
pub struct Collector {
    path: PathBuf,
    ready: Ready,
}

/// What ended the run, if an error says so.
fn ending(error: &anyhow::Error) -> Option<Outcome> {
    if let Some(Stopped { name, call }) = error.downcast_ref() {
        return Some(Outcome::Breach((*name).to_owned(), Some(*call)));
    }
    error.downcast_ref().map(|cut| match cut {
        Cut::Time => Outcome::Timeout,
        Cut::Signal(signal) => Outcome::Interrupted(*signal),
    })
}

/// What came out, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct Collected {
    /// The directory.
    directory: String,
    files: u64,
    bytes: u64,
    /// Why nothing came out.
    pub reason: Option<String>,
}

impl Output {
    /// Starts the process. `layers`: those that it puts on, and is born with.
    pub fn start(&self, layers: Layers) -> Result<Collector> {
        let task = Task::Unpack { most: self.most };
        let order = Order { task, layers };
        let limits = |next| life::limits(task, next);
        // Those that the run does without.
        let missing: Vec<Layer> =
            Layer::ALL.into_iter().filter(|layer| !layers.has(*layer)).collect();
        let companion = Companion {
            name: "unpack",
            program: "casemate-image",
            args: order.to_args(),
            table: vec![(SOURCE, self.disk.as_fd()), (RESULT, self.directory.as_fd())],
            limits: &limits,
            memory: life::UNPACK_MEMORY
                .saturating_add(in_memory(self.directory.as_fd(), &limits(0))?),
            layers,
            missing: &missing,
            identity: Identity::of_owner(&self.directory)?,
        };
        let ready = companion.start().with_context(|| format!("cannot use {:?}", self.path))?;
        Ok(Collector { path: self.path.clone(), ready })
    }
}

impl Collector {
    /// Lets it unpack, which has to be done by `deadline`, and before a signal comes. Also what ended
    /// the run meanwhile, if something did.
    pub fn collect(
        self,
        deadline: Option<Instant>,
        signals: &Signals,
    ) -> (Collected, Option<Outcome>) {
        let Self { path, ready } = self;
        let hear = |bytes: [u8; WORD]| match Word::decode(&bytes) {
            Some(Word::Unpacked(files, bytes)) => Some(Ok(Unpacked { files, bytes })),
            Some(Word::Failed(reason)) => Some(Err(anyhow!(visible::line(&reason)))),
            _ => Some(Err(anyhow!("the unpack process wrote a malformed record"))),
        };
        let unpacked = ready.until_end_or_cut(deadline, signals, hear);
        let directory = path.display().to_string();
        match unpacked {
            Ok(Unpacked { files, bytes }) => {
                (Collected { directory, files, bytes, reason: None }, None)
            }
            Err(error) => {
                let reason = format!("cannot collect {path:?}: {}", in_words(&error));
                let collected = Collected { directory, files: 0, bytes: 0, reason: Some(reason) };
                (collected, ending(&error))
            }
        }
    }
}
