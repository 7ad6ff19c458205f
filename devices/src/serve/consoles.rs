//! The console worker's loop.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::line::{Joined, Line};
use super::{LAST_TURNS, Turn, poll_for, ready};
use crate::channel::Life;
use crate::console::{Port, RECEIVE, TRANSMIT};
use crate::orders::{ORDER, Order};
use crate::sink::{Loss, Sink};
use crate::violation::Fault;
use crate::wires::{Descriptors, Wires};

/// The most bytes of standard input read at once.
const INPUT: usize = 4096;
/// The most writes to one sink in a turn.
const WRITES: usize = 16;

/// What the outside hears of the consoles.
#[derive(Debug)]
pub enum News<'a> {
    /// The command came further. `Ended` comes when all of its output has been written.
    Life(&'a Life),
    /// Output that was not written, up to now. Told when it begins, each time it has doubled,
    /// and exactly before `Ended` and at the end.
    Dropped(Dropped),
    /// The end, with the kernel's last words and whether they were a panic.
    KernelLog(&'a [u8], bool),
}

/// What was not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of standard output.
    pub stdout: Loss,
    /// Of standard error.
    pub stderr: Loss,
    /// Of the kernel's console, for its file.
    pub console: Loss,
}

impl Dropped {
    fn has_doubled_since(&self, before: &Self) -> bool {
        let doubled =
            |now: Loss, before: Loss| now.bytes() > 0 && now.bytes() / 2 >= before.bytes();
        doubled(self.stdout, before.stdout)
            || doubled(self.stderr, before.stderr)
            || doubled(self.console, before.console)
    }
}

/// The console worker's descriptors besides the devices' own.
#[derive(Debug)]
pub struct Inputs {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// What the launcher wants the command to get, as [`Order`]s.
    pub orders: Option<OwnedFd>,
}

/// All consoles of one virtual machine.
#[derive(Debug)]
pub struct ConsoleLoop<'m, F, W = Descriptors> {
    lines: Vec<Line<'m, W>>,
    inputs: Inputs,
    /// How many steps of the command's life have been told.
    told: usize,
    /// What was told of dropped output.
    told_dropped: Dropped,
    tell: F,
}

/// What a turn waits for, or was woken by: two consoles' need no memory of their own.
pub type Sources = SmallVec<[Source; 16]>;

/// What wakes the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A control message for this console.
    Control(usize),
    /// A kick: console, queue.
    Kick(usize, usize),
    /// Room for output: console, sink.
    Sink(usize, usize),
    /// Standard input, for this console.
    Stdin(usize),
    /// Orders of the launcher.
    Orders,
}

impl<F: FnMut(News<'_>) -> Result<(), Fault>> ConsoleLoop<'_, F> {
    /// Serves until the virtual machine ends. Whatever ends it, the last words of its kernel are
    /// told.
    pub fn run(&mut self) -> Result<(), Fault> {
        let result = self.serve();
        result.and(self.goodbye())
    }

    fn serve(&mut self) -> Result<(), Fault> {
        while self.turn(true)? != Turn::Ended {}
        self.last_look()
    }

    /// One turn. With `wait`, it begins when there is something to do.
    pub fn turn(&mut self, wait: bool) -> Result<Turn, Fault> {
        let woken = self.woken(wait && !self.is_busy())?;
        self.act(&woken)
    }

    fn woken(&self, wait: bool) -> Result<Sources, Fault> {
        let (mut sources, mut fds) = (self.sources(), SmallVec::<[PollFd<'_>; 16]>::new());
        sources.retain(|source| {
            let fd = self.descriptor(*source);
            fds.extend(fd.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            fd.is_some()
        });
        poll_for(&mut fds, if wait { self.pause() } else { Some(Duration::ZERO) })?;
        let mut fds = fds.iter();
        sources.retain(|_| fds.next().is_some_and(ready));
        Ok(sources)
    }

    /// What shows that a source has something, and how.
    fn descriptor(&self, source: Source) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match source {
            Source::Control(index) => {
                Some((self.lines[index].link.wires().control(), PollFlags::IN))
            }
            Source::Kick(index, queue) => {
                Some((self.lines[index].link.wires().kick(queue)?, PollFlags::IN))
            }
            Source::Sink(index, number) => {
                let sink =
                    self.lines[index].joined.port().sinks().into_iter().flatten().nth(number);
                Some((sink?.waiting()?, PollFlags::OUT))
            }
            Source::Stdin(_) => Some((self.inputs.stdin.as_ref()?.as_fd(), PollFlags::IN)),
            Source::Orders => Some((self.inputs.orders.as_ref()?.as_fd(), PollFlags::IN)),
        }
    }
}

impl<'m, F: FnMut(News<'_>) -> Result<(), Fault>, W: Wires> ConsoleLoop<'m, F, W> {
    /// A loop that has not begun.
    pub fn new(lines: Vec<Line<'m, W>>, inputs: Inputs, tell: F) -> Self {
        Self { lines, inputs, told: 1, told_dropped: Dropped::default(), tell }
    }

    fn is_busy(&self) -> bool {
        self.lines.iter().any(|line| line.busy)
    }

    /// All that the loop waits for now.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::new();
        for (index, line) in self.lines.iter().enumerate() {
            let port = line.joined.port();
            sources.push(Source::Control(index));
            sources.extend([RECEIVE, TRANSMIT].map(|queue| Source::Kick(index, queue)));
            for (number, sink) in port.sinks().into_iter().flatten().enumerate() {
                sources.extend(sink.waiting().map(|_| Source::Sink(index, number)));
            }
            if self.inputs.stdin.is_some() && port.input_room() > 0 {
                sources.push(Source::Stdin(index));
            }
        }
        sources.extend(self.inputs.orders.as_ref().map(|_| Source::Orders));
        sources
    }

    /// When a sink's pace allows more, however ready its reader is by then.
    fn pause(&self) -> Option<Duration> {
        let sinks = self.lines.iter().flat_map(|line| line.joined.port().sinks()).flatten();
        sinks.filter_map(Sink::pause).min()
    }

    /// What one turn does, once it is known what woke it.
    pub fn act(&mut self, woken: &[Source]) -> Result<Turn, Fault> {
        if woken.is_empty() && !self.is_busy() {
            return Ok(Turn::Idle);
        }
        let mut ended = false;
        for &source in woken {
            match source {
                Source::Control(index) => ended |= self.lines[index].control()?,
                Source::Kick(index, queue) => self.lines[index].link.take_kick(queue)?,
                Source::Sink(index, number) => self.write(index, number),
                Source::Stdin(index) => self.read_stdin(index),
                Source::Orders => self.read_orders()?,
            }
        }
        // All of them, and after the sinks were written: what those made room for moves now.
        for line in &mut self.lines {
            line.serve()?;
        }
        self.tell_dropped(Dropped::has_doubled_since)?;
        self.tell_life()?;
        Ok(if ended { Turn::Ended } else { Turn::Worked })
    }

    /// Writes what a sink takes without waiting, within one turn's budget: what that makes room for moves
    /// in one go, with one interrupt.
    fn write(&mut self, index: usize, number: usize) {
        let Some(sink) = self.lines[index].sinks().nth(number) else { return };
        for _ in 0..WRITES {
            if !sink.write() {
                break;
            }
        }
    }

    fn read_stdin(&mut self, index: usize) {
        let port = self.lines[index].joined.port_mut();
        let mut buffer = [0; INPUT];
        let room = port.input_room().min(INPUT);
        let Some(fd) = self.inputs.stdin.as_ref().filter(|_| room > 0) else { return };
        match rustix::io::read(fd, buffer.get_mut(..room).unwrap_or_default()) {
            Ok(count) => port.offer_input(buffer.get(..count).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal that hung up, a directory: whatever it is, no more will come of it.
            Err(_) => port.offer_input(&[]),
        }
    }

    fn read_orders(&mut self) -> Result<(), Fault> {
        let mut buffer = [0; 16 * ORDER];
        let Some(fd) = &self.inputs.orders else { return Ok(()) };
        let count = match rustix::io::read(fd, &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(Fault::System("cannot read the launcher's orders", errno)),
        };
        if count == 0 {
            // Left open: a sealed worker has no call to close it with.
            self.inputs.orders.take().map(IntoRawFd::into_raw_fd);
        }
        let (orders, _) = buffer.get(..count).unwrap_or_default().as_chunks();
        for line in &mut self.lines {
            if let Joined::Channel(channel) = &mut line.joined {
                let orders = orders.iter().copied().filter_map(Order::decode);
                orders.for_each(|order| channel.order(order));
            }
        }
        Ok(())
    }

    /// Tells what was dropped, if `due` compares it so with what was told before.
    fn tell_dropped(&mut self, due: impl Fn(&Dropped, &Dropped) -> bool) -> Result<(), Fault> {
        let mut dropped = Dropped::default();
        for line in &self.lines {
            let [first, second] =
                line.joined.port().sinks().map(|sink| sink.map(Sink::loss).unwrap_or_default());
            match line.joined {
                Joined::KernelLog(_) => dropped.console = first,
                Joined::Channel(_) | Joined::Raw(_) => {
                    (dropped.stdout, dropped.stderr) = (first, second);
                }
            }
        }
        if due(&dropped, &self.told_dropped) {
            (self.tell)(News::Dropped(dropped))?;
            self.told_dropped = dropped;
        }
        Ok(())
    }

    /// Tells of every step of the command's life; of its end only once its output is out, and how
    /// much of it was dropped is told.
    fn tell_life(&mut self) -> Result<(), Fault> {
        let mut due = Vec::new();
        for line in &self.lines {
            let Joined::Channel(channel) = &line.joined else { continue };
            let unwritten = channel.sinks().into_iter().flatten().any(|sink| sink.held() > 0);
            let lives = channel.lives().iter().skip(self.told);
            due.extend(
                lives.take_while(|life| !unwritten || !matches!(life, Life::Ended(_))).cloned(),
            );
        }
        for life in due {
            if matches!(life, Life::Ended(_)) {
                self.tell_dropped(Dropped::ne)?;
            }
            (self.tell)(News::Life(&life))?;
            self.told += 1;
        }
        Ok(())
    }

    /// Serves what the guest left, and writes all output however long its readers take.
    fn last_look(&mut self) -> Result<(), Fault> {
        for line in &mut self.lines {
            for _ in 0..LAST_TURNS {
                line.serve()?;
                // What was held may have kept a chain from being sent to its end.
                let held = line.flush()?;
                if !held && !line.busy {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes what the sinks take without waiting, and tells what is still to be told.
    fn goodbye(&mut self) -> Result<(), Fault> {
        for line in &mut self.lines {
            if let Joined::KernelLog(log) = &mut line.joined {
                log.close();
            }
            line.sinks().for_each(|sink| {
                sink.hurry();
                sink.end();
                while sink.write() {}
            });
        }
        self.tell_dropped(Dropped::ne)?;
        self.tell_life()?;
        for line in &mut self.lines {
            if let Joined::KernelLog(log) = &mut line.joined {
                let panicked = log.panicked();
                (self.tell)(News::KernelLog(log.tail(), panicked))?;
            }
        }
        Ok(())
    }
}
