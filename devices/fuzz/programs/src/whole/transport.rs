//! One device's transport: the real one and the models of both its ends.

use std::collections::VecDeque;

use devices::control::Message;
use devices::link::Event;
use devices::mmio::{Action, Identity};
use devices::testing::Machine;

use crate::control::{Outcome, State};
use crate::model;
use crate::rig::Guest;

/// A device's registers, control socket, kicks and interrupt.
#[derive(Debug)]
pub struct Transport {
    machine: Machine,
    /// What the device is.
    pub identity: Identity,
    registers: model::registers::Registers,
    /// The worker's side.
    pub state: State,
    /// Messages that the worker has not heard yet.
    inbox: VecDeque<Vec<u8>>,
    /// The worker has not heard of a kick yet.
    pub kicked: bool,
    /// The worker has ended.
    pub dead: bool,
    /// Interrupts that the model says were raised since the last look.
    pub raised: bool,
    /// InterruptStatus by the model.
    pending: u32,
}

impl Transport {
    /// A device after power-on.
    pub fn new(machine: Machine, identity: Identity) -> Self {
        Self {
            machine,
            identity,
            registers: model::registers::Registers::new(identity),
            state: State::new(identity),
            inbox: VecDeque::new(),
            kicked: false,
            dead: false,
            raised: false,
            pending: 0,
        }
    }

    /// Power-on: everything forgotten but the descriptors.
    pub fn again(&mut self) -> devices::link::Link<'static> {
        if self.dead || self.kicked || self.is_told() || self.raised {
            self.machine.drain();
        }
        self.registers = model::registers::Registers::new(self.identity);
        self.state = State::new(self.identity);
        self.inbox.clear();
        (self.kicked, self.dead, self.raised, self.pending) = (false, false, false, 0);
        self.machine.again()
    }

    /// Writes a register, the real one and the model's.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Action> {
        if offset == 0x064 {
            self.acknowledge(value);
            return None;
        }
        let action = self.machine.driver.write(offset, value);
        assert_eq!(action, self.registers.write(offset, value), "{offset:#x} := {value:#x}");
        if offset == 0x070 && value == 0 && action.is_none() {
            self.pending = 0;
        }
        let now = self.machine.driver.read(offset);
        assert!(self.registers.read(offset).is_none_or(|ought| ought == now), "{offset:#x}");
        action
    }

    /// Sends the worker a message.
    pub fn say(&mut self, message: &[u8]) {
        if !self.dead {
            self.machine.send(message);
            self.inbox.push_back(message.to_vec());
        }
    }

    /// True while there is a message to hear.
    pub fn is_told(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// How many of the messages are stops, each of which is answered.
    pub fn stops(&self) -> usize {
        self.inbox.iter().filter(|message| Message::decode(message) == Some(Message::Stop)).count()
    }

    /// True if the next message is a stop.
    pub fn next_is_stop(&self) -> bool {
        self.inbox.front().is_some_and(|next| Message::decode(next) == Some(Message::Stop))
    }

    /// What the worker has to make of the next message, if there is one. The answer to a stop has
    /// to be there, once the worker had its turn.
    pub fn hear(&mut self, guest: &Guest) -> Option<Outcome> {
        Some(self.state.hear(&guest.ram, &self.inbox.pop_front()?))
    }

    /// Checks that the worker answers a stop.
    pub fn stopped(&self) {
        assert_eq!(self.machine.receive(), Some(Message::Stopped));
    }

    /// The worker has let go, so the reset is complete.
    pub fn reset(&mut self) {
        self.machine.driver.registers.reset();
        self.registers = model::registers::Registers::new(self.identity);
        self.pending = 0;
    }

    /// Kicks a queue, in whatever state the device is.
    pub fn kick(&mut self, queue: usize) {
        if queue < self.identity.queues.len() && !self.dead {
            self.machine.kick(queue);
            self.kicked = true;
        }
    }

    /// Buffers of queue `index` were used: the model's interrupt.
    pub fn used(&mut self, guest: &Guest, index: usize) {
        let ring = self.state.rings[index].as_ref();
        self.raised |= ring.is_some_and(|ring| ring.wants_interrupt(&guest.ram));
    }

    /// Checks that the interrupt was raised if it should have been, and only then.
    pub fn check(&mut self) {
        assert_eq!(self.machine.is_raised(), self.raised, "the interrupt");
        self.pending |= u32::from(std::mem::take(&mut self.raised));
        assert_eq!(self.machine.driver.read(0x060), self.pending, "InterruptStatus");
    }

    /// The driver acknowledges interrupts.
    pub fn acknowledge(&mut self, bits: u32) {
        assert_eq!(self.machine.driver.write(0x064, bits), None);
        self.pending &= !bits;
    }

    /// The virtual machine ends: the worker sees its socket closed.
    pub fn end(&mut self) {
        self.machine.end();
    }
}

/// What a worker's end is, by its fault.
pub fn outcome(result: Result<devices::serve::Turn, devices::violation::Fault>) -> Outcome {
    crate::control::outcome(result.map(|_| Event::Nothing))
}
