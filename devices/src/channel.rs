//! The agent's channel: the host's side of [`protocol::frame`] as a console port.
//!
//! | from the agent | does |
//! |---|---|
//! | `Hello`, `Started`, `Exited`, `Signaled`, `Failed` | moves the [`Life`] of the command forward |
//! | `Data` | goes to the sink of its stream, within what was granted |
//! | `Credit`, `Closed` | allow stdin, end it |
//!
//! The guest writes these frames, so each is checked against the state: out of turn, malformed or
//! beyond the credit is a [`Violation`]. Memory is bounded by the two sinks' windows and one frame
//! each way.

use protocol::frame::{Decoder, Encoded, Failure, FromGuest, FromHost, MAX_PAYLOAD, Stream};
use protocol::frame::{VERSION, WINDOW};

use crate::bounds::Bounds;
use crate::console::Port;
use crate::orders::Order;
use crate::sink::Sink;
use crate::violation::Violation;
use crate::visible::{self, Form};

/// The longest text kept of a `Failed` frame, in bytes.
pub const MAX_TEXT: usize = 200;

/// How the command ended, as the agent tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
    /// It could not be run.
    Failed(Failure, String),
}

/// How far the command has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// The agent has not said anything.
    #[default]
    Booting,
    /// The agent is up.
    Up,
    /// The command runs.
    Running,
    /// The command ended.
    Ended(End),
}

/// One output stream: a sink, and how much of it the agent may still send.
#[derive(Debug)]
struct Outlet {
    stream: Stream,
    sink: Sink,
    granted: u32,
    told_closed: bool,
}

impl Outlet {
    fn within(self, bounds: Bounds) -> Self {
        Self { sink: self.sink.within(bounds), ..self }
    }

    fn in_form(self, form: Form) -> Self {
        Self { sink: self.sink.in_form(form), ..self }
    }
}

/// The channel.
#[derive(Debug)]
pub struct Channel {
    decoder: Decoder,
    /// Every step of the command's life so far; never empty.
    lives: Vec<Life>,
    outlets: [Outlet; 2],
    stdin: Stdin,
    /// Signals to forward, bit n−1 for signal n.
    signals: u64,
    /// Rows and columns of the terminal, if they have changed.
    size: Option<(u16, u16)>,
    sending: Option<(Encoded, usize)>,
}

#[derive(Debug, Default)]
struct Stdin {
    credit: u32,
    /// The input has ended.
    ended: bool,
    /// `End` is still to be sent.
    end_due: bool,
    /// The command wants no more.
    closed: bool,
}

impl Channel {
    /// A channel that writes to `stdout` and `stderr`.
    pub fn new(stdout: std::os::fd::OwnedFd, stderr: std::os::fd::OwnedFd) -> Self {
        let outlet = |stream, fd| Outlet {
            stream,
            sink: Sink::new(fd, WINDOW as usize),
            granted: 0,
            told_closed: false,
        };
        Self {
            decoder: Decoder::default(),
            lives: vec![Life::Booting],
            outlets: [outlet(Stream::Stdout, stdout), outlet(Stream::Stderr, stderr)],
            stdin: Stdin::default(),
            signals: 0,
            size: None,
            sending: None,
        }
    }

    /// The channel, with each of the two outputs within these bounds.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.outlets = self.outlets.map(|outlet| outlet.within(bounds));
        self
    }

    /// The channel, with its outputs in these forms, stdout's first.
    #[must_use]
    pub fn in_forms(mut self, [stdout, stderr]: [Form; 2]) -> Self {
        let [first, second] = self.outlets;
        self.outlets = [first.in_form(stdout), second.in_form(stderr)];
        self
    }

    /// How far the command has come.
    pub fn life(&self) -> &Life {
        self.lives.last().unwrap_or(&Life::Booting)
    }

    /// Every step of the command's life so far, `Booting` first.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    fn is_live(&self) -> bool {
        matches!(self.life(), Life::Up | Life::Running)
    }

    /// Forwards what the launcher wants the agent to know.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Signal(number @ 1..=64) => self.signals |= 1 << (number - 1),
            Order::Signal(_) => {}
            // The last one counts.
            Order::Resize(rows, columns) => self.size = Some((rows, columns)),
        }
    }

    /// Obeys the frame that the decoder has.
    fn take(&mut self) -> Result<(), Violation> {
        let frame = self.decoder.from_guest().map_err(|_| Violation::Frame)?;
        let next = match (self.lives.last(), frame) {
            (Some(Life::Booting), FromGuest::Hello(VERSION)) => Life::Up,
            (Some(Life::Up), FromGuest::Started) => Life::Running,
            (Some(Life::Up | Life::Running), FromGuest::Failed(failure, text)) => {
                Life::Ended(End::Failed(failure, beginning(text)))
            }
            (Some(Life::Running), FromGuest::Exited(code)) => Life::Ended(End::Exited(code)),
            (Some(Life::Running), FromGuest::Signaled(signal)) => {
                Life::Ended(End::Signaled(signal))
            }
            (Some(Life::Up | Life::Running), FromGuest::Credit(bytes)) => {
                let credit = self.stdin.credit.checked_add(bytes).filter(|sum| *sum <= WINDOW);
                self.stdin.credit = credit.ok_or(Violation::Credit)?;
                return Ok(());
            }
            (Some(Life::Running), FromGuest::Closed) if !self.stdin.closed => {
                self.stdin.closed = true;
                return Ok(());
            }
            (Some(Life::Running), FromGuest::Data(stream, bytes)) => {
                let len = u32::try_from(bytes.len()).map_err(|_| Violation::Frame)?;
                let outlet = self.outlets.iter_mut().find(|outlet| outlet.stream == stream);
                let outlet = outlet.ok_or(Violation::Frame)?;
                outlet.granted = outlet.granted.checked_sub(len).ok_or(Violation::Credit)?;
                // There is room, if it needs any: what is held and what is granted are never more
                // than a window.
                outlet.sink.push(bytes);
                return Ok(());
            }
            _ => return Err(Violation::Frame),
        };
        if matches!(next, Life::Ended(_)) {
            self.outlets.iter_mut().for_each(|outlet| outlet.sink.end());
        }
        self.lives.push(next);
        Ok(())
    }

    /// The next frame that is due, if any.
    fn due(&mut self) -> Option<Encoded> {
        if !self.is_live() {
            return None;
        }
        if self.signals != 0 && *self.life() == Life::Running {
            let bit = self.signals.trailing_zeros();
            self.signals &= self.signals - 1;
            return Some(FromHost::Signal(u8::try_from(bit + 1).ok()?).encode());
        }
        if *self.life() == Life::Running
            && let Some((rows, columns)) = self.size.take()
        {
            return Some(FromHost::Resize(rows, columns).encode());
        }
        for outlet in &mut self.outlets {
            if outlet.sink.is_closed() && !outlet.told_closed {
                outlet.told_closed = true;
                return Some(FromHost::Closed(outlet.stream).encode());
            }
            let held = u32::try_from(outlet.sink.held()).unwrap_or(WINDOW);
            let room = WINDOW.saturating_sub(held).saturating_sub(outlet.granted);
            if room >= WINDOW / 4 {
                outlet.granted += room;
                return Some(FromHost::Credit(outlet.stream, room).encode());
            }
        }
        std::mem::take(&mut self.stdin.end_due).then(|| FromHost::End.encode())
    }
}

/// The beginning of `text` as a line that is fit for a terminal, at most [`MAX_TEXT`] bytes.
fn beginning(text: &str) -> String {
    let mut kept = String::new();
    for char in text.chars() {
        let shown = visible::line(char.encode_utf8(&mut [0; 4]));
        if kept.len() + shown.len() > MAX_TEXT {
            break;
        }
        kept.push_str(&shown);
    }
    kept
}

impl Port for Channel {
    fn output(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut rest = bytes;
        while self.decoder.fill(&mut rest).map_err(|_| Violation::Frame)? {
            self.take()?;
        }
        Ok(bytes.len())
    }

    fn sinks(&self) -> [Option<&Sink>; 2] {
        self.outlets.each_ref().map(|outlet| Some(&outlet.sink))
    }

    fn sinks_mut(&mut self) -> [Option<&mut Sink>; 2] {
        self.outlets.each_mut().map(|outlet| Some(&mut outlet.sink))
    }

    fn input_room(&self) -> usize {
        let over = self.stdin.ended || self.stdin.closed;
        if !self.is_live() || over || self.sending.is_some() {
            return 0;
        }
        usize::try_from(self.stdin.credit).map_or(0, |credit| credit.min(MAX_PAYLOAD))
    }

    fn offer_input(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.stdin.ended = true;
            self.stdin.end_due = true;
        } else {
            self.stdin.credit -= u32::try_from(bytes.len()).unwrap_or(0).min(self.stdin.credit);
            self.sending = Some((FromHost::Data(bytes).encode(), 0));
        }
    }

    fn has_input(&mut self) -> bool {
        if self.sending.is_none() {
            self.sending = self.due().map(|frame| (frame, 0));
        }
        self.sending.is_some()
    }

    fn input(&mut self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() && self.has_input() {
            let Some((frame, at)) = &mut self.sending else { break };
            let rest = frame.as_bytes().get(*at..).unwrap_or_default();
            let count = rest.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
            *at += count;
            if count == rest.len() {
                self.sending = None;
            }
        }
        done
    }
}
