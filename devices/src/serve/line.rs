//! One console: its transport, its device, and what it is joined to on the host's side.

use rustix::event::{PollFd, PollFlags};

use super::poll_for;
use crate::channel::Channel;
use crate::console::{Console, Port, RECEIVE, TRANSMIT};
use crate::kernel_log::KernelLog;
use crate::link::{Event, Link};
use crate::raw::Raw;
use crate::sink::Sink;
use crate::violation::Fault;
use crate::wires::{Descriptors, Wires};

/// What a console is joined to.
#[derive(Debug)]
pub enum Joined {
    /// The kernel's messages.
    KernelLog(KernelLog),
    /// The agent.
    Channel(Box<Channel>),
    /// Standard input and output as they are.
    Raw(Raw),
}

impl Joined {
    pub(super) fn port(&self) -> &dyn Port {
        match self {
            Self::KernelLog(port) => port,
            Self::Channel(port) => &**port,
            Self::Raw(port) => port,
        }
    }

    pub(super) fn port_mut(&mut self) -> &mut dyn Port {
        match self {
            Self::KernelLog(port) => port,
            Self::Channel(port) => &mut **port,
            Self::Raw(port) => port,
        }
    }
}

/// A console device, its transport and its host side.
#[derive(Debug)]
pub struct Line<'m, W = Descriptors> {
    pub(super) link: Link<'m, W>,
    console: Console<'m>,
    pub(super) joined: Joined,
    /// There may be more to serve than the last turn did.
    pub(super) busy: bool,
}

impl<'m, W: Wires> Line<'m, W> {
    /// A console that has not been started.
    pub fn new(link: Link<'m, W>, joined: Joined) -> Self {
        Self { link, console: Console::default(), joined, busy: false }
    }

    /// Handles one control message. True at the end of the virtual machine.
    pub(super) fn control(&mut self) -> Result<bool, Fault> {
        match self.link.receive()? {
            Event::Nothing | Event::Start(_) => {}
            Event::Stop => {
                self.console.stop();
                self.link.stopped()?;
            }
            Event::End => return Ok(true),
        }
        Ok(false)
    }

    /// Moves what can be moved, both ways, within one turn's budget.
    ///
    /// A chain that stays half sent stays so because its sink is full, and a full sink is waited
    /// for: whatever makes room there brings the next turn.
    pub(super) fn serve(&mut self) -> Result<(), Fault> {
        let Self { link, console, joined, busy } = self;
        let (memory, port) = (link.memory(), joined.port_mut());
        *busy = false;
        if let Some(ring) = link.ring(TRANSMIT) {
            let progress = console.transmit(memory, ring, port)?;
            *busy = progress.more;
            if progress.used {
                link.interrupt(TRANSMIT)?;
            }
        }
        if let Some(ring) = link.ring(RECEIVE)
            && Console::receive(memory, ring, port)?
        {
            link.interrupt(RECEIVE)?;
        }
        Ok(())
    }

    /// The sinks, to be written.
    pub(super) fn sinks(&mut self) -> impl Iterator<Item = &mut Sink> {
        self.joined.port_mut().sinks_mut().into_iter().flatten()
    }

    /// Writes all that the sinks hold, however long its readers take and whatever their pace. True if
    /// there was something.
    pub(super) fn flush(&mut self) -> Result<bool, Fault> {
        let mut flushed = false;
        for sink in self.sinks() {
            sink.hurry();
            while let Some(fd) = sink.waiting() {
                poll_for(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
                flushed |= sink.write();
            }
        }
        Ok(flushed)
    }
}
