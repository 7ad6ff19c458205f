//! What the process that parses is to do, and what it says of it.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, anyhow};
use devices::visible;
use image::life;
use image::order::{Order, RESULT, SOURCE, Task};
use image::word::{WORD, Word};
use rustix::fs::{MemfdFlags, fstatfs, memfd_create};
use rustix::process::Resource;
use worker::jail::layers::{Layer, Layers};

use crate::companion::Companion;
use crate::identity::Identity;
use crate::spawn;

/// Type of a file system that keeps files in memory (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// What is to be done, and with what.
pub struct Job<'a> {
    /// What is to be done.
    pub task: Task,
    /// The source.
    pub source: &'a File,
    /// Layers that may be missing.
    pub missing: &'a [Layer],
}

impl Job<'_> {
    /// Has it done, with the result in `result`. `tell` hears how many bytes of how many are copied.
    pub fn write_to(&self, result: &File, mut tell: impl FnMut(u64, u64)) -> Result<Word> {
        let order =
            Order { task: self.task, layers: spawn::without_missing(Layers::ALL, self.missing) };
        let limits = |next| life::limits(self.task, next);
        let companion = Companion {
            name: "image",
            program: "casemate-image",
            args: order.to_args(),
            table: vec![(SOURCE, self.source.as_fd()), (RESULT, result.as_fd())],
            limits: &limits,
            memory: life::MEMORY.saturating_add(in_memory(result.as_fd(), &limits(0))?),
            layers: order.layers,
            missing: self.missing,
            identity: Identity::of_sandbox()?,
        };
        companion.start()?.until_end(|bytes: [u8; WORD]| match Word::decode(&bytes) {
            Some(Word::Progress(done, all)) => {
                tell(done, all);
                None
            }
            Some(Word::Failed(reason)) => Some(Err(anyhow!(visible::line(&reason)))),
            Some(word) => Some(Ok(word)),
            None => Some(Err(anyhow!("the image process wrote a malformed record"))),
        })
    }

    /// Has it done, and returns what it said and what it found.
    pub fn find(&self) -> Result<(Word, Vec<u8>)> {
        let found = memfd_create("found", MemfdFlags::CLOEXEC).context("cannot make a memfd")?;
        let mut found = File::from(found);
        let word = self.write_to(&found, |_, _| {})?;
        let mut bytes = Vec::new();
        found.rewind().context("cannot read what was found")?;
        let read = found.take(life::FOUND_MAX).read_to_end(&mut bytes);
        read.context("cannot read what was found")?;
        Ok((word, bytes))
    }
}

/// How much memory what is written takes: none, unless it is kept in memory.
pub fn in_memory(result: BorrowedFd<'_>, limits: &[(Resource, u64)]) -> Result<u64> {
    if fstatfs(result).context("cannot look at the file system")?.f_type != TMPFS {
        return Ok(0);
    }
    let longest = limits.iter().find(|(resource, _)| *resource == Resource::Fsize);
    Ok(longest.map_or(0, |(_, bytes)| *bytes))
}
