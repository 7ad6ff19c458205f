//! What the process that parses is to do, and what it says of it.

use std::os::fd::BorrowedFd;

use anyhow::{Result, anyhow};
use image::order::{Order, RESULT, SOURCE};
use image::word::{WORD, Word};
use worker::jail::layers::Layer;

use crate::companion::{Companion, harmless};

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

impl Job<'_> {
    /// Has it done. `tell` hears how many bytes of how many are copied.
    pub fn run(&self, mut tell: impl FnMut(u64, u64)) -> Result<Word> {
        let companion = Companion {
            name: "image",
            program: "casemate-image",
            args: self.order.to_args(),
            table: vec![(SOURCE, self.source), (RESULT, self.result)],
            layers: self.order.layers,
            missing: self.missing,
        };
        companion.start()?.until_end(|bytes: [u8; WORD]| match Word::decode(&bytes) {
            Some(Word::Progress(done, all)) => {
                tell(done, all);
                None
            }
            Some(Word::Failed(reason)) => Some(Err(anyhow!(harmless(&reason)))),
            Some(word) => Some(Ok(word)),
            None => Some(Err(anyhow!("the image process wrote a malformed record"))),
        })
    }
}
