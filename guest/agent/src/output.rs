//! The command's stdout or stderr, as far as the host has granted.

use protocol::frame::{FromGuest, MAX_PAYLOAD, Stream, WINDOW};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read};

use crate::channel::Channel;

/// A stream of output. Nothing is buffered here: what the host has not granted stays in the pipe,
/// and a full pipe holds the command.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
    pipe: Option<OwnedFd>,
    credit: u32,
}

/// The host granted more than a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Output {
    /// Output out of this pipe or terminal, whose reads do not block.
    pub fn new(stream: Stream, pipe: Option<OwnedFd>) -> Self {
        Self { stream, pipe, credit: 0 }
    }

    /// The host takes so many more bytes.
    pub fn grant(&mut self, bytes: u32) -> Result<(), TooMuch> {
        let credit = self.credit.checked_add(bytes).filter(|&sum| sum <= WINDOW);
        self.credit = credit.ok_or(TooMuch)?;
        Ok(())
    }

    /// Nobody reads this stream: the command's next write finds a broken pipe.
    pub fn close(&mut self) {
        self.pipe = None;
    }

    /// Whether there is nothing more to carry, given that no process is left to write.
    pub fn is_drained(&self) -> bool {
        self.pipe.as_ref().is_none_or(|pipe| {
            // Not FIONREAD: of a terminal it does not count what is on its way between the two ends, for
            // which poll waits.
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().contains(PollFlags::IN)
        })
    }

    /// What to poll for. Nothing without credit: the end of the pipe would be reported over and over.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        let pipe = self.pipe.as_ref().filter(|_| self.credit > 0);
        pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN))
    }

    /// Carries one frame's worth after a poll that reported something.
    pub fn advance(&mut self, channel: &mut Channel) -> Result<(), Errno> {
        let mut buffer = [0; MAX_PAYLOAD];
        let Some(data) = self.next(&mut buffer) else { return Ok(()) };
        channel.send(&FromGuest::Data(self.stream, data))
    }

    fn next<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let most = buffer.len().min(self.credit as usize);
        let room = buffer.get_mut(..most).filter(|room| !room.is_empty())?;
        match read(self.pipe.as_ref()?, &mut *room) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(0) | Err(_) => {
                self.pipe = None;
                None
            }
            Ok(count) => {
                self.credit = self.credit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                room.get(..count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::write;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn no_byte_leaves_the_pipe_without_credit() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut output = Output::new(Stream::Stdout, Some(reader));
        let mut buffer = [0; MAX_PAYLOAD];
        write(&writer, b"abcdef").unwrap();
        assert!(output.interest().is_none());
        assert_eq!(output.next(&mut buffer), None);
        output.grant(4).unwrap();
        assert_eq!(output.next(&mut buffer), Some(&b"abcd"[..]));
        assert_eq!(output.next(&mut buffer), None);
        assert!(!output.is_drained());
        output.grant(WINDOW).unwrap();
        assert_eq!(output.grant(1), Err(TooMuch));
        assert_eq!(output.next(&mut buffer), Some(&b"ef"[..]));
        assert!(output.is_drained());
        drop(writer);
        assert!(output.interest().is_some());
        assert_eq!(output.next(&mut buffer), None);
        assert!(output.interest().is_none());
    }

    #[test]
    fn a_closed_stream_breaks_the_pipe() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut output = Output::new(Stream::Stderr, Some(reader));
        output.close();
        assert_eq!(write(&writer, b"x"), Err(Errno::PIPE));
        assert!(output.is_drained());
        assert_eq!(output.grant(1), Ok(()));
    }
}
