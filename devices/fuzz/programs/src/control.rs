//! Target `control`: what a vcpu worker that was taken over may say, and what the worker does then.

use std::cell::RefCell;

use devices::control::{MESSAGE, Message, Start};
use devices::link::{Event, Link};
use devices::mmio::{Identity, VERSION_1};
use devices::testing::Machine;
use devices::violation::{Fault, Violation};

use steps::message::message;

use crate::bytes::Bytes;
use crate::model::{self, Ram};
use crate::rig::Guest;

const IDENTITY: Identity =
    Identity { device: 3, features: VERSION_1 | 2, queues: &[64, 256], config: [0; 16] };

/// A worker's state by what it was told.
#[derive(Clone, Debug)]
pub struct State {
    identity: Identity,
    /// Its rings, between start and stop.
    pub rings: [Option<model::ring::Ring>; 2],
}

/// What a worker makes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An event.
    Event(Event),
    /// The guest broke the contract.
    Violation(Violation),
    /// The vcpu worker did.
    Control,
}

/// A worker's result as something to be compared.
pub fn outcome(result: Result<Event, Fault>) -> Outcome {
    match result {
        Ok(event) => Outcome::Event(event),
        Err(Fault::Violation(violation)) => Outcome::Violation(violation),
        Err(Fault::Control) => Outcome::Control,
        Err(other) => panic!("{other}"),
    }
}

impl State {
    /// A worker that has not been told anything.
    pub fn new(identity: Identity) -> Self {
        Self { identity, rings: [None, None] }
    }

    /// What the worker has to make of a message.
    pub fn hear(&mut self, ram: &Ram, message: &[u8]) -> Outcome {
        match Message::decode(message) {
            Some(Message::Start(start)) => self.start(ram, &start),
            Some(Message::Stop) => {
                self.rings = [None, None];
                Outcome::Event(Event::Stop)
            }
            _ => Outcome::Control,
        }
    }

    fn start(&mut self, ram: &Ram, start: &Start) -> Outcome {
        let known = start.features & !self.identity.features == 0;
        if !known || self.rings.iter().any(Option::is_some) {
            return Outcome::Control;
        }
        for (index, geometry) in start.queues.into_iter().enumerate() {
            let Some(geometry) = geometry else { continue };
            let Some(&max) = self.identity.queues.get(index) else { return Outcome::Control };
            match model::ring::Ring::start(ram, geometry, max) {
                Ok(ring) => self.rings[index] = Some(ring),
                Err(violation) => return Outcome::Violation(violation),
            }
        }
        Outcome::Event(Event::Start(start.features))
    }
}

thread_local! {
    static RIG: RefCell<(Guest, Machine)> = {
        let guest = Guest::default();
        let (machine, _) = Machine::new(guest.memory, IDENTITY);
        RefCell::new((guest, machine))
    };
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    // The bytes as they are: whatever is taken for a message is one, to the bit.
    let whole = bytes.get(..MESSAGE).unwrap_or(bytes);
    if let Some(message) = Message::decode(whole) {
        assert_eq!(message.encode(), whole);
    }
    // What workers tell of a violation is a number, which leads back to it or to nothing.
    for number in bytes.iter().take(1) {
        let violation = Violation::from_number(*number);
        assert!(violation.is_none_or(|violation| violation as u8 == *number));
    }
    RIG.with_borrow_mut(|(guest, machine)| {
        machine.drain();
        let link = machine.again();
        drive(guest, machine, link, Bytes::new(bytes));
    });
}

fn drive(guest: &Guest, machine: &Machine, mut link: Link<'_>, mut program: Bytes<'_>) {
    let mut state = State::new(IDENTITY);
    while !program.is_empty() {
        let bytes = message(&mut program);
        if bytes.is_empty() {
            continue;
        }
        let expected = state.hear(&guest.ram, &bytes);
        machine.send(&bytes);
        assert_eq!(outcome(link.receive()), expected);
        if !matches!(expected, Outcome::Event(_)) {
            return;
        }
        for (index, queue) in state.rings.iter().enumerate() {
            let size = link.ring(index).map(|ring| ring.size());
            assert_eq!(size, queue.as_ref().map(|queue| queue.geometry.size));
        }
        if expected == Outcome::Event(Event::Stop) {
            link.stopped().unwrap();
            assert_eq!(machine.receive(), Some(Message::Stopped));
        }
    }
}
