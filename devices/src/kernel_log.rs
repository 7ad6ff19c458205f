//! The kernel's console: kept for the report, and for a file if the user asked for one.
//!
//! The last [`TAIL`] bytes are kept in memory. The file gets at most [`MAX_FILE`] bytes, so that a
//! guest cannot fill the host's disk; what comes after is dropped, and counted in a last line.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use crate::bounds::Bounds;
use crate::console::Port;
use crate::sink::Sink;
use crate::violation::Violation;
use crate::visible::Form;

/// Bytes of the end that are kept.
pub const TAIL: usize = 8 * 1024;
/// The most bytes written to the file.
pub const MAX_FILE: usize = 16 * 1024 * 1024;

const FILE_BUFFER: usize = 16 * 1024;
const PANIC: &[u8] = b"Kernel panic - not syncing";

/// A console port that only listens.
#[derive(Debug)]
pub struct KernelLog {
    tail: VecDeque<u8>,
    file: Option<Sink>,
}

impl KernelLog {
    /// A log that also goes to `file`, if there is one.
    pub fn new(file: Option<OwnedFd>) -> Self {
        // A file takes what it may at once: there is nothing that a pace would protect.
        let bounds = Bounds { bytes: MAX_FILE as u64, ..Bounds::NONE };
        let file = file.map(|fd| Sink::new(fd, FILE_BUFFER).within(bounds));
        Self { tail: VecDeque::with_capacity(TAIL), file }
    }

    /// The log, with its file, which may be a terminal, in this form.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        Self { file: self.file.map(|file| file.in_form(form)), ..self }
    }

    /// The last bytes, in order.
    pub fn tail(&mut self) -> &[u8] {
        self.tail.make_contiguous()
    }

    /// True when the kernel said, among its last words, that it panicked. It is the guest's own
    /// word, and good enough to tell its user apart a panic from a reset.
    pub fn panicked(&mut self) -> bool {
        self.tail().windows(PANIC.len()).any(|window| window == PANIC)
    }

    /// Says in the file how much of the console is not in it.
    pub fn close(&mut self) {
        if let Some(file) = self.file.as_mut().filter(|file| file.loss().beyond > 0) {
            let beyond = file.loss().beyond;
            let text = format!("\ncasemate: the next {beyond} bytes were dropped\n");
            while file.write() {}
            file.keep(text.as_bytes());
        }
    }
}

impl Port for KernelLog {
    fn output(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let taken = self.file.as_mut().map_or(bytes.len(), |file| file.push(bytes));
        let kept = bytes.get(..taken).unwrap_or_default();
        let kept = kept.get(kept.len().saturating_sub(TAIL)..).unwrap_or_default();
        let excess = (self.tail.len() + kept.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(kept);
        Ok(taken)
    }

    fn sinks(&self) -> [Option<&Sink>; 2] {
        [self.file.as_ref(), None]
    }

    fn sinks_mut(&mut self) -> [Option<&mut Sink>; 2] {
        [self.file.as_mut(), None]
    }
}
