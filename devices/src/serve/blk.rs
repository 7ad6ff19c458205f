//! The blk worker's loop.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::{LAST_TURNS, Turn, poll_for, ready};
use crate::blk::{Blk, Limited};
use crate::disk::Disk;
use crate::link::{Event, Link};
use crate::violation::Fault;

/// A block device and its transport.
#[derive(Debug)]
pub struct BlkLoop<'m, D> {
    link: Link<'m>,
    device: Blk<'m, D>,
    busy: bool,
    /// What was told of the disk's limits.
    told: Limited,
}

impl<'m, D: Disk> BlkLoop<'m, D> {
    /// A loop that has not begun.
    pub fn new(link: Link<'m>, device: Blk<'m, D>) -> Self {
        Self { link, device, busy: false, told: Limited::default() }
    }

    /// The device.
    pub fn device(&mut self) -> &mut Blk<'m, D> {
        &mut self.device
    }

    /// Serves until the virtual machine ends, and what the guest left then.
    pub fn run(&mut self) -> Result<(), Fault> {
        self.run_and_tell(|_| {})
    }

    /// The same, and tells what the disk's limits cost it: when they begin to, each time that has
    /// doubled, and at the end.
    pub fn run_and_tell(&mut self, mut tell: impl FnMut(Limited)) -> Result<(), Fault> {
        let served = loop {
            match self.turn(true) {
                Ok(Turn::Ended) => break self.last_look(),
                Ok(Turn::Idle | Turn::Worked) => {}
                Err(fault) => break Err(fault),
            }
            self.tell(&mut tell, Limited::has_doubled_since);
        };
        self.tell(&mut tell, Limited::ne);
        served
    }

    fn tell(&mut self, tell: &mut impl FnMut(Limited), due: fn(&Limited, &Limited) -> bool) {
        let limited = self.device.limited();
        if due(&limited, &self.told) {
            self.told = limited;
            tell(limited);
        }
    }

    /// One turn. With `wait`, it begins when there is something to do.
    pub fn turn(&mut self, wait: bool) -> Result<Turn, Fault> {
        let (message, kicked) = {
            let kick = self.link.kick(0).ok_or(Fault::Control)?;
            let mut fds = [
                PollFd::from_borrowed_fd(self.link.control(), PollFlags::IN),
                PollFd::from_borrowed_fd(kick, PollFlags::IN),
            ];
            let now = (!wait || self.busy).then_some(Duration::ZERO);
            let pause = self.device.pause().filter(|_| wait);
            poll_for(&mut fds, pause.or(now))?;
            (ready(&fds[0]), ready(&fds[1]))
        };
        if message && self.control()? {
            return Ok(Turn::Ended);
        }
        if kicked {
            self.link.take_kick(0)?;
        }
        if kicked || self.busy {
            self.serve()?;
            return Ok(Turn::Worked);
        }
        Ok(if message { Turn::Worked } else { Turn::Idle })
    }

    /// Handles one control message. True at the end of the virtual machine.
    fn control(&mut self) -> Result<bool, Fault> {
        match self.link.receive()? {
            Event::Nothing => {}
            Event::Start(features) => {
                self.device.start(features);
                self.busy = true;
            }
            Event::Stop => {
                self.device.stop();
                self.link.stopped()?;
            }
            Event::End => return Ok(true),
        }
        Ok(false)
    }

    /// Serves the ring within one turn's budget.
    fn serve(&mut self) -> Result<(), Fault> {
        self.busy = false;
        let memory = self.link.memory();
        let Some(ring) = self.link.ring(0) else { return Ok(()) };
        let progress = self.device.serve(memory, ring)?;
        self.busy = progress.more;
        if progress.used { self.link.interrupt(0) } else { Ok(()) }
    }

    /// Serves what the guest left, as far as it does not have to wait.
    fn last_look(&mut self) -> Result<(), Fault> {
        self.busy = true;
        for _ in 0..LAST_TURNS {
            if self.busy && self.device.pause().is_none() {
                self.serve()?;
            }
        }
        Ok(())
    }
}

impl Limited {
    fn has_doubled_since(&self, before: &Self) -> bool {
        let doubled = |now: u64, before: u64| now > 0 && now / 2 >= before;
        doubled(self.held, before.held) || doubled(self.full, before.full)
    }
}
