//! The device's side of its transport: rings that come and go, kicks, and the interrupt.
//!
//! Everything here comes from outside: the control socket from the vcpu worker, which may have been
//! taken over, and the rings from the guest. Both are checked here, once, for every device.

use rustix::io::Errno;

use crate::Memory;
use crate::control::{MAX_QUEUES, MESSAGE, Message, Start};
use crate::interrupt::Interrupt;
use crate::mmio::Identity;
use crate::ring::Ring;
use crate::violation::Fault;
use crate::wires::{Descriptors, Wires};

/// What the control socket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Nothing,
    /// The rings are up; these are the negotiated features.
    Start(u64),
    /// The rings are gone. Forget what was taken from them, then call [`Link::stopped`].
    Stop,
    /// The virtual machine has ended. The rings stay up for a last look.
    End,
}

/// One device's connection to the rest of the virtual machine.
#[derive(Debug)]
pub struct Link<'m, W = Descriptors> {
    memory: &'m Memory,
    identity: Identity,
    wires: W,
    interrupt: Interrupt<'m>,
    rings: [Option<Ring>; MAX_QUEUES],
}

impl<'m, W: Wires> Link<'m, W> {
    /// A stopped device.
    pub fn new(memory: &'m Memory, identity: Identity, wires: W, interrupt: Interrupt<'m>) -> Self {
        Self { memory, identity, wires, interrupt, rings: [const { None }; MAX_QUEUES] }
    }

    /// Guest RAM.
    pub fn memory(&self) -> &'m Memory {
        self.memory
    }

    /// The ring of queue `index`, while the device is started and the driver enabled it.
    pub fn ring(&mut self, index: usize) -> Option<&mut Ring> {
        self.rings.get_mut(index)?.as_mut()
    }

    /// What joins it to its virtual machine, to wait for.
    pub fn wires(&self) -> &W {
        &self.wires
    }

    /// Clears the kick of queue `index`.
    pub fn take_kick(&self, index: usize) -> Result<(), Fault> {
        match self.wires.take_kick(index) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::System("cannot read a kick", errno)),
        }
    }

    /// Raises the interrupt after used buffers went to queue `index`, if the driver wants it.
    pub fn interrupt(&mut self, index: usize) -> Result<(), Fault> {
        let memory = self.memory;
        match self.ring(index) {
            Some(ring) if ring.wants_interrupt(memory) => self.interrupt.used_buffer(&self.wires),
            _ => Ok(()),
        }
    }

    /// Takes one message from the control socket, which must be readable.
    pub fn receive(&mut self) -> Result<Event, Fault> {
        let mut bytes = [0; MESSAGE + 1];
        let len = match self.wires.receive(&mut bytes) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(Event::End),
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Event::Nothing),
            Err(errno) => return Err(Fault::System("cannot read the control socket", errno)),
        };
        match Message::decode(bytes.get(..len).unwrap_or_default()) {
            Some(Message::Start(start)) => self.start(&start),
            Some(Message::Stop) => {
                self.rings = [const { None }; MAX_QUEUES];
                Ok(Event::Stop)
            }
            Some(Message::Stopped) | None => Err(Fault::Control),
        }
    }

    fn start(&mut self, start: &Start) -> Result<Event, Fault> {
        if start.features & !self.identity.features != 0 || self.rings.iter().any(Option::is_some) {
            return Err(Fault::Control);
        }
        for (index, geometry) in start.queues.iter().enumerate() {
            let Some(geometry) = geometry else { continue };
            let max = self.identity.queues.get(index).ok_or(Fault::Control)?;
            self.rings[index] = Some(Ring::start(self.memory, *geometry, *max)?);
        }
        Ok(Event::Start(start.features))
    }

    /// Tells the vcpu worker that nothing of the guest will be touched any more.
    pub fn stopped(&self) -> Result<(), Fault> {
        match self.wires.send(&Message::Stopped.encode()) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Fault::System("cannot write the control socket", errno)),
        }
    }
}
