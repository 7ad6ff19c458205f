//! Serves the command until it has ended and all of its output has been carried.
//!
//! When the main process ends, every other process is killed at once: what their pipes hold then is
//! carried to the last byte, however slowly the host grants, and nothing can be added.

use std::fmt;

use protocol::frame::{Decoder, FromGuest, FromHost, MAX_FRAME, Malformed, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::channel::Channel;
use crate::command::Running;
use crate::failure::cause;
use crate::input::{Input, Told, Unasked};
use crate::output::{Output, TooMuch};
use crate::reaper::{End, News, Reaper};
use crate::streams::Terminal;
use crate::{shutdown, sys};

/// Why the channel is of no more use.
#[derive(Debug)]
pub enum Breach {
    /// The host sent no frame.
    Frame(Malformed),
    /// The host sent more stdin than it was granted, or some after its end.
    Input,
    /// The host granted more output than a window.
    Credit,
    /// The channel's device failed or was taken away.
    Lost(Errno),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(malformed) => write!(f, "the host broke the protocol: {malformed}"),
            Self::Input => write!(f, "the host broke the protocol: stdin beyond what was granted"),
            Self::Credit => write!(f, "the host broke the protocol: credit beyond a window"),
            Self::Lost(errno) => write!(f, "the channel to the host failed: {}", cause(*errno)),
        }
    }
}

impl From<Malformed> for Breach {
    fn from(malformed: Malformed) -> Self {
        Self::Frame(malformed)
    }
}

impl From<Unasked> for Breach {
    fn from(Unasked: Unasked) -> Self {
        Self::Input
    }
}

impl From<TooMuch> for Breach {
    fn from(TooMuch: TooMuch) -> Self {
        Self::Credit
    }
}

impl From<Errno> for Breach {
    fn from(errno: Errno) -> Self {
        Self::Lost(errno)
    }
}

struct Session {
    command: Pid,
    input: Input,
    stdout: Output,
    stderr: Output,
    terminal: Option<Terminal>,
    end: Option<End>,
    all_gone: bool,
}

/// Carries streams and signals until the command's end.
pub fn serve(channel: &mut Channel, command: Running, reaper: Reaper) -> Result<End, Breach> {
    let mut decoder = Decoder::default();
    let Running { pid, ends } = command;
    let mut session = Session {
        command: pid,
        input: Input::new(ends.stdin),
        stdout: Output::new(Stream::Stdout, Some(ends.stdout)),
        stderr: Output::new(Stream::Stderr, ends.stderr),
        terminal: ends.terminal,
        end: None,
        all_gone: false,
    };
    channel.send(&FromGuest::Started)?;
    channel.send(&FromGuest::Credit(protocol::frame::WINDOW))?;
    loop {
        if let Some(end) = session.finished() {
            return Ok(end);
        }
        let [host, news, input, stdout, stderr] = wait([
            Some(PollFd::new(&*channel, PollFlags::IN)),
            (!session.all_gone).then(|| PollFd::new(&reaper, PollFlags::IN)),
            session.input.interest(),
            session.stdout.interest(),
            session.stderr.interest(),
        ])?;
        if !host.is_empty() {
            session.hear(channel, &mut decoder)?;
        }
        if !news.is_empty() {
            session.note(reaper.news()?);
        }
        if !input.is_empty() {
            session.feed(input, channel)?;
        }
        if !stdout.is_empty() {
            session.stdout.advance(channel)?;
        }
        if !stderr.is_empty() {
            session.stderr.advance(channel)?;
        }
    }
}

/// Waits until something can be done; an absent descriptor is never ready.
fn wait<const N: usize>(wanted: [Option<PollFd<'_>>; N]) -> Result<[PollFlags; N], Errno> {
    let mut ready = [PollFlags::empty(); N];
    let places: Vec<usize> = (0..N).filter(|&place| wanted[place].is_some()).collect();
    let mut polled: Vec<PollFd<'_>> = wanted.into_iter().flatten().collect();
    match poll(&mut polled, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(ready),
        Err(errno) => return Err(errno),
    }
    for (place, fd) in places.into_iter().zip(&polled) {
        ready[place] = fd.revents();
    }
    Ok(ready)
}

impl Session {
    fn finished(&self) -> Option<End> {
        let drained = self.all_gone && self.stdout.is_drained() && self.stderr.is_drained();
        self.end.filter(|_| drained)
    }

    fn hear(&mut self, channel: &Channel, decoder: &mut Decoder) -> Result<(), Breach> {
        let mut buffer = [0; MAX_FRAME];
        let count = channel.receive(&mut buffer)?;
        let mut rest = buffer.get(..count).filter(|got| !got.is_empty()).ok_or(Errno::IO)?;
        while decoder.fill(&mut rest)? {
            self.obey(decoder.from_host()?)?;
        }
        Ok(())
    }

    fn obey(&mut self, frame: FromHost<'_>) -> Result<(), Breach> {
        match frame {
            FromHost::Data(data) => self.input.take(data)?,
            FromHost::End | FromHost::Closed(_) if self.terminal.is_some() => self.hang_up(),
            FromHost::End => self.input.end(),
            FromHost::Credit(stream, bytes) => self.output(stream).grant(bytes)?,
            FromHost::Closed(stream) => self.output(stream).close(),
            FromHost::Signal(number) => self.signal(number),
            FromHost::Resize(rows, columns) => {
                // Without a terminal there is nothing to resize, and one that hung up has no size.
                let _ = self.terminal.as_ref().map(|terminal| terminal.resize(rows, columns));
            }
        }
        Ok(())
    }

    /// The user's terminal is gone, so the command's is: with the agent's last end of it, the kernel sends
    /// SIGHUP to the session, and whoever reads or writes it gets to know.
    fn hang_up(&mut self) {
        self.input.close();
        self.stdout.close();
    }

    fn output(&mut self, stream: Stream) -> &mut Output {
        // The decoder lets no other stream through than these two.
        if stream == Stream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn signal(&self, number: u8) {
        if self.end.is_none() {
            // It may have ended this moment, or refuse: neither is the host's fault.
            let _ = sys::signal_group(self.command, number);
        }
    }

    fn note(&mut self, news: News) {
        match news {
            News::Ended(end) => {
                self.end = Some(end);
                self.input.close();
                shutdown::kill_all();
            }
            News::AllGone => self.all_gone = true,
        }
    }

    fn feed(&mut self, ready: PollFlags, channel: &mut Channel) -> Result<(), Errno> {
        match self.input.advance(ready) {
            Told::Nothing => Ok(()),
            Told::Credit(bytes) => channel.send(&FromGuest::Credit(bytes)),
            Told::Closed => channel.send(&FromGuest::Closed),
        }
    }
}
