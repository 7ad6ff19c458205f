//! The command's stdin: what the host sent and the pipe has not taken yet.

use std::collections::VecDeque;

use protocol::frame::WINDOW;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, write};

/// So much must have gone into the pipe before more is granted, so that grants stay few.
const BATCH: u32 = WINDOW / 4;

/// Stdin on its way. Buffered, granted and freed bytes together are never more than [`WINDOW`].
#[derive(Debug)]
pub struct Input {
    pipe: Option<OwnedFd>,
    buffer: VecDeque<u8>,
    /// Bytes that the host may still send.
    granted: u32,
    /// Bytes that have left the buffer and are not granted anew yet.
    freed: u32,
    ended: bool,
}

/// The host sent more than it was granted, or went on after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unasked;

/// What the host has to be told after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// It can send so many more bytes.
    Credit(u32),
    /// The command takes no more.
    Closed,
}

impl Input {
    /// Stdin into this pipe or terminal, whose writes do not block. The host may send [`WINDOW`] bytes at first.
    pub fn new(pipe: OwnedFd) -> Self {
        let buffer = VecDeque::with_capacity(WINDOW as usize);
        Self { pipe: Some(pipe), buffer, granted: WINDOW, freed: 0, ended: false }
    }

    /// Takes data from the host. Once the command has closed its stdin, what is still under way is dropped.
    pub fn take(&mut self, data: &[u8]) -> Result<(), Unasked> {
        let count = u32::try_from(data.len()).map_err(|_| Unasked)?;
        if self.ended {
            return Err(Unasked);
        }
        self.granted = self.granted.checked_sub(count).ok_or(Unasked)?;
        if self.pipe.is_some() {
            self.buffer.extend(data);
        }
        Ok(())
    }

    /// The host sends no more: the pipe ends after what is buffered.
    pub fn end(&mut self) {
        self.ended = true;
        self.close_when_done();
    }

    /// Ends the pipe and drops the buffer.
    pub fn close(&mut self) {
        self.pipe = None;
        self.buffer.clear();
    }

    /// What to poll for: room when there is data; otherwise only whether the reader is gone.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        let events = if self.buffer.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        self.pipe.as_ref().map(|pipe| PollFd::new(pipe, events))
    }

    /// Moves on after a poll that reported something.
    pub fn advance(&mut self, ready: PollFlags) -> Told {
        let Some(pipe) = &self.pipe else { return Told::Nothing };
        if ready.contains(PollFlags::ERR) {
            self.close();
            return Told::Closed;
        }
        let (front, _) = self.buffer.as_slices();
        match write(pipe, front) {
            Ok(count) => {
                self.buffer.drain(..count);
                self.freed += u32::try_from(count).unwrap_or_default();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.close();
                return Told::Closed;
            }
        }
        self.close_when_done();
        self.grant()
    }

    fn grant(&mut self) -> Told {
        if self.freed < BATCH || self.ended {
            return Told::Nothing;
        }
        let credit = std::mem::take(&mut self.freed);
        self.granted += credit;
        Told::Credit(credit)
    }

    fn close_when_done(&mut self) {
        if self.ended && self.buffer.is_empty() {
            self.pipe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pair() -> (OwnedFd, Input) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        (reader, Input::new(writer))
    }

    fn read(pipe: &OwnedFd) -> Result<usize, Errno> {
        rustix::io::read(pipe, &mut [0u8; WINDOW as usize])
    }

    #[test]
    fn grants_come_in_batches_and_never_exceed_the_window() {
        let (reader, mut input) = pair();
        for turn in 0..40u32 {
            input.take(&[7; 4000]).unwrap();
            let told = input.advance(PollFlags::OUT);
            assert_eq!(read(&reader), Ok(4000));
            // Every fifth write has freed a quarter of the window.
            let expected = if turn % 5 == 4 { Told::Credit(20_000) } else { Told::Nothing };
            assert_eq!(told, expected, "turn {turn}");
        }
        assert_eq!(input.granted + input.freed, WINDOW);
    }

    #[test]
    fn more_than_was_granted_is_refused() {
        let (_reader, mut input) = pair();
        input.take(&[0; WINDOW as usize]).unwrap();
        assert_eq!(input.take(&[0]), Err(Unasked));
        assert_eq!(input.take(&[]), Ok(()));
        input.end();
        assert_eq!(input.take(&[]), Err(Unasked));
    }

    #[test]
    fn the_pipe_ends_after_what_is_buffered() {
        let (reader, mut input) = pair();
        input.take(b"last").unwrap();
        input.end();
        assert_eq!(read(&reader), Err(Errno::AGAIN));
        assert_eq!(input.advance(PollFlags::OUT), Told::Nothing);
        assert_eq!((read(&reader), read(&reader)), (Ok(4), Ok(0)));
        assert!(input.interest().is_none());
    }

    #[test]
    fn a_command_that_reads_no_more_is_told_about_once() {
        let (reader, mut input) = pair();
        input.take(b"lost").unwrap();
        drop(reader);
        assert_eq!(input.advance(PollFlags::ERR), Told::Closed);
        assert_eq!(input.advance(PollFlags::ERR), Told::Nothing);
        assert_eq!(input.take(b"under way"), Ok(()));
        assert!(input.buffer.is_empty());
    }
}
