//! Pipes that outlive a program: making one costs more than most programs do.
#![expect(unsafe_code, reason = "SIGPIPE is ignored, as the Rust runtime does it in the workers")]

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Once;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The most bytes that a pipe holds.
pub const PIPE: usize = 64 * 1024;

/// A pipe, of which either end may have been closed by a program.
#[derive(Debug, Default)]
pub struct Pipe {
    reader: Option<OwnedFd>,
    writer: Option<OwnedFd>,
    /// Something may be there to read, bytes or their end.
    fed: Cell<bool>,
}

impl Pipe {
    /// Open at both ends, and empty.
    pub fn renew(&mut self) {
        static IGNORED: Once = Once::new();
        IGNORED.call_once(|| {
            // SAFETY: SIG_IGN is always a valid disposition.
            let _ = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        });
        if self.reader.is_some() && self.writer.is_some() {
            self.drain(&mut Vec::new());
            return;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        fcntl_setpipe_size(&writer, PIPE).unwrap();
        *self = Self { reader: Some(reader), writer: Some(writer), fed: Cell::new(false) };
    }

    /// A copy of the end that is written to.
    pub fn writer(&self) -> OwnedFd {
        self.writer.as_ref().unwrap().try_clone().unwrap()
    }

    /// A copy of the end that is read.
    pub fn reader(&self) -> OwnedFd {
        self.reader.as_ref().unwrap().try_clone().unwrap()
    }

    /// Writes, if somebody could still read it. The pipe must have room.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(writer) = self.writer.as_ref().filter(|_| !bytes.is_empty()) {
            assert_eq!(rustix::io::write(writer, bytes).unwrap(), bytes.len());
            self.fed.set(true);
        }
    }

    /// Reads all that is there; true if there was something.
    pub fn drain(&self, bytes: &mut Vec<u8>) -> bool {
        let before = bytes.len();
        let mut piece = [0; 4096];
        while let Some(reader) = &self.reader
            && let Ok(count @ 1..) = rustix::io::read(reader, &mut piece)
        {
            bytes.extend_from_slice(&piece[..count]);
            if count < piece.len() {
                break;
            }
        }
        bytes.len() > before
    }

    /// True when a reader would not wait: there is something, or its end.
    pub fn has_something(&self) -> bool {
        let Some(reader) = self.reader.as_ref().filter(|_| self.fed.get()) else { return false };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.fed.set(poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&now)).unwrap() > 0);
        self.fed.get()
    }

    /// Closes the end that is read.
    pub fn close_reader(&mut self) {
        self.reader = None;
    }

    /// Closes the end that is written to.
    pub fn close_writer(&mut self) {
        self.fed.set(true);
        self.writer = None;
    }

    /// True while somebody can write.
    pub fn is_written(&self) -> bool {
        self.writer.is_some()
    }

    /// True while somebody reads.
    pub fn is_read(&self) -> bool {
        self.reader.is_some()
    }
}
