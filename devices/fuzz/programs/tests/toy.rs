//! How a device is added to the harness: a third one, which adds up the bytes it is given.
//!
//! A device needs a worker loop with turns (`Adder`), a model of what a request does (`sum`),
//! [`Device`], which joins the two, and a [`Driver`]. Registers, control messages, kicks, resets, rings in any state
//! of repair and the comparison of all memory come with [`Transport`] and [`play`].
#![cfg(test)]

use devices::Memory;
use devices::link::{Event, Link};
use devices::mmio::{Identity, VERSION_1};
use devices::serve::Turn;
use devices::testing::Machine;
use devices::violation::Fault;
use programs::bytes::Bytes;
use programs::control::Outcome;
use programs::model::ring::{len, walk};
use programs::rig::{Guest, Part, Queue, Store, WRITE, cut, fill, place};
use programs::whole::{Device, Transport, outcome, play};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use steps::Disturbance;
use steps::driver::Driver;

const IDENTITY: Identity =
    Identity { device: 42, features: VERSION_1, queues: &[64], config: [0; 16] };

/// The device: each chain's readable bytes are added up, and the sum is written, 4 bytes.
struct Adder {
    memory: &'static Memory,
    link: Link<'static>,
    /// What is wrong with it.
    defect: Defect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    Nothing,
    /// The last byte is not added.
    Sum,
    /// A chain without room is written behind.
    Room,
    /// No interrupt is raised.
    Interrupt,
    /// The rings stay up after a reset.
    Reset,
}

impl Adder {
    fn turn(&mut self) -> Result<Turn, Fault> {
        let ready = {
            let kick = self.link.kick(0).unwrap();
            let mut fds = [
                PollFd::from_borrowed_fd(self.link.control(), PollFlags::IN),
                PollFd::from_borrowed_fd(kick, PollFlags::IN),
            ];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
            fds.map(|fd| !fd.revents().is_empty())
        };
        if ready[0] && self.link.receive()? == Event::Stop {
            self.link.stopped()?;
            if self.defect == Defect::Reset {
                return Ok(Turn::Idle);
            }
        }
        if !ready[1] {
            return Ok(if ready[0] { Turn::Worked } else { Turn::Idle });
        }
        self.link.take_kick(0)?;
        let Some(ring) = self.link.ring(0) else { return Ok(Turn::Worked) };
        let mut used = false;
        while let Some(chain) = ring.pop(self.memory)? {
            let mut bytes = vec![0; chain.readable.len()];
            chain.readable.read(0, &mut bytes);
            if self.defect == Defect::Sum {
                bytes.pop();
            }
            let sum = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            let at = if self.defect == Defect::Room { 1 } else { 0 };
            let written = chain.writable.write(at, &sum.to_le_bytes());
            ring.push(self.memory, chain.head, written)?;
            used = true;
        }
        if used && self.defect != Defect::Interrupt {
            self.link.interrupt(0)?;
        }
        Ok(Turn::Worked)
    }
}

/// The device and its model.
struct Toy {
    transport: Transport,
    served: Adder,
}

impl Toy {
    fn new(guest: &Guest, defect: Defect) -> Self {
        let (machine, _) = Machine::new(guest.memory, IDENTITY);
        let mut transport = Transport::new(machine, IDENTITY);
        let link = transport.again();
        Self { transport, served: Adder { memory: guest.memory, link, defect } }
    }

    /// What a turn should come to.
    fn expect(&mut self, guest: &mut Guest) -> Result<Turn, Outcome> {
        let told = self.transport.hear(guest);
        if let Some(fault @ (Outcome::Violation(_) | Outcome::Control)) = told {
            return Err(fault);
        }
        if !std::mem::take(&mut self.transport.kicked) {
            return Ok(if told.is_some() { Turn::Worked } else { Turn::Idle });
        }
        let Some(ring) = &mut self.transport.state.rings[0] else { return Ok(Turn::Worked) };
        let mut used = false;
        while let Some(chain) = ring.pop(&guest.ram).map_err(Outcome::Violation)? {
            let mut sum = 0u32;
            walk(&chain.readable, 0, u64::MAX, |at, len| {
                let bytes = &guest.ram.0[guest.ram.place(at, len).unwrap()];
                sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            });
            let count = len(&chain.writable).min(4);
            let mut bytes = sum.to_le_bytes().into_iter();
            walk(&chain.writable, 0, count, |at, len| {
                for at in at..at + len {
                    guest.ram.write(at, &[bytes.next().unwrap()]);
                }
            });
            ring.push(&mut guest.ram, chain.head, count);
            used = true;
        }
        if used {
            self.transport.used(guest, 0);
        }
        Ok(Turn::Worked)
    }
}

impl Device for Toy {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn settle(&mut self, guest: &mut Guest) {
        for _ in 0..10 {
            if self.transport.dead {
                return;
            }
            let stops = self.transport.next_is_stop();
            let expected = self.expect(guest);
            match (self.served.turn(), expected) {
                (Ok(turn), Ok(expected)) => assert_eq!(turn, expected),
                (result, expected) => {
                    assert_eq!(outcome(result), expected.unwrap_err());
                    self.transport.dead = true;
                    return;
                }
            }
            if stops {
                self.transport.stopped();
            }
        }
        guest.check("toy");
        self.transport.check();
    }

    fn disturb(&mut self, _: &Disturbance) {}

    fn calm(&mut self) {}

    fn prove(&mut self, guest: &mut Guest, _: &[Queue; 2]) {
        assert_eq!(guest.ram.read::<4>(0x7100), 6u32.to_le_bytes());
    }

    fn end(&mut self, _: &mut Guest) {}
}

/// What a driver asks of the device.
struct Asks;

impl Driver for Asks {
    fn identity(&self) -> Identity {
        IDENTITY
    }

    fn places(&self) -> [u64; 2] {
        [0x200, 0x200]
    }

    fn offer(&self, program: &mut Bytes<'_>, queues: &mut [Queue; 2], memory: &mut impl Store) {
        let at = place(program);
        fill(memory, at, 64, program.byte());
        let mut parts = Vec::new();
        cut(&mut parts, program, at, 64, 0);
        let len = u32::from(program.byte() & 7);
        parts.push(Part { address: place(program), len, flags: WRITE });
        queues[0].add(memory, &parts);
    }

    fn disturb(&self, _: &mut Bytes<'_>) -> Option<Disturbance> {
        None
    }

    fn prove(&self, queues: &mut [Queue; 2], memory: &mut impl Store) -> usize {
        memory.write(0x7000, &[1, 2, 3]);
        let parts = [
            Part { address: 0x7000, len: 3, flags: 0 },
            Part { address: 0x7100, len: 4, flags: WRITE },
        ];
        queues[0].add(memory, &parts);
        0
    }
}

/// Runs random programs until one is a finding; true if there was one.
fn finds(defect: Defect) -> bool {
    let mut number = 0x5eed_u64;
    let mut next = || {
        number ^= number >> 12;
        number ^= number << 25;
        number ^= number >> 27;
        number.to_le_bytes()[5]
    };
    let mut guest = Guest::default();
    for _ in 0..300 {
        let len = next();
        let program: Vec<u8> = (0..len).map(|_| next()).collect();
        guest.clear();
        let mut toy = Toy::new(&guest, defect);
        let run = || play(&mut toy, Asks, &mut Bytes::new(&program), &mut guest);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            return true;
        }
    }
    false
}

#[test]
fn a_third_device_is_tried_like_the_others() {
    assert!(!finds(Defect::Nothing));
}

#[test]
fn what_is_wrong_with_it_is_found() {
    for defect in [Defect::Sum, Defect::Room, Defect::Interrupt, Defect::Reset] {
        assert!(finds(defect), "{defect:?}");
    }
}
