//! The blk worker: each of its turns is compared with the model's.

use devices::link::Event;
use devices::serve::{BlkLoop, Turn};
use devices::testing::Machine;
use steps::Disturbance;
use steps::driver::PROOF;

use super::transport::{Transport, outcome};
use super::{Device, blk};
use crate::control::Outcome;
use crate::model;
use crate::rig::{Guest, Queue};

/// Turns of one settling. A guest whose requests make themselves available again is busy for ever;
/// its worker answers all the same.
const TURNS: usize = 40;

/// What lives longer than a program: descriptors, of a disk and of a read-only one.
pub struct Lasting([Transport; 2]);

impl Lasting {
    /// For machines with this memory.
    pub fn new(guest: &Guest) -> Self {
        Self([false, true].map(|read_only| {
            let identity = blk::shape(read_only).identity();
            let (machine, _) = Machine::new(guest.memory, identity);
            Transport::new(machine, identity)
        }))
    }
}

/// A block device.
pub struct Disk<'a> {
    transport: &'a mut Transport,
    served: BlkLoop<'static, blk::Fickle>,
    model: model::blk::Blk,
    busy: bool,
}

impl<'a> Disk<'a> {
    /// A device after power-on.
    pub fn new(lasting: &'a mut Lasting, guest: &Guest, read_only: bool) -> Self {
        let (device, model) = blk::device(guest.memory, read_only);
        let transport = &mut lasting.0[usize::from(read_only)];
        let served = BlkLoop::new(transport.again(), device);
        Self { transport, served, model, busy: false }
    }

    /// The image as it is.
    pub fn image(&mut self) -> Vec<u8> {
        self.served.device().disk().bytes()
    }

    /// The model's turn: what the worker's has to come to.
    fn turn(&mut self, guest: &mut Guest) -> Result<Turn, Outcome> {
        let told = self.transport.hear(guest);
        match told {
            Some(Outcome::Event(Event::Start(features))) => {
                self.model.start(features);
                self.busy = true;
            }
            Some(Outcome::Event(_)) => self.model.stop(),
            Some(fault) => return Err(fault),
            None => {}
        }
        if !std::mem::take(&mut self.transport.kicked) && !self.busy {
            return Ok(if told.is_some() { Turn::Worked } else { Turn::Idle });
        }
        self.busy = false;
        if let Some(ring) = &mut self.transport.state.rings[0] {
            let served = self.model.serve(&mut guest.ram, ring).map_err(Outcome::Violation)?;
            self.busy = served.more;
            if served.used {
                self.transport.used(guest, 0);
            }
        }
        Ok(Turn::Worked)
    }
}

impl Device for Disk<'_> {
    fn transport(&mut self) -> &mut Transport {
        self.transport
    }

    fn settle(&mut self, guest: &mut Guest) {
        if self.transport.dead {
            return;
        }
        for _ in 0..TURNS {
            let stops = self.transport.next_is_stop();
            let expected = self.turn(guest);
            match (self.served.turn(false), expected) {
                (Ok(turn), Ok(expected)) if turn == expected => {
                    if stops {
                        self.transport.stopped();
                    }
                    if turn == Turn::Idle {
                        break;
                    }
                }
                (result, expected) => {
                    let expected = expected.expect_err("the worker's turn is not the model's");
                    assert_eq!(outcome(result), expected);
                    self.transport.dead = true;
                    break;
                }
            }
        }
        guest.check("disk");
        blk::check(self.served.device().disk(), &self.model);
        if !self.transport.dead {
            self.transport.check();
        }
    }

    fn disturb(&mut self, what: &Disturbance) {
        blk::disturb(what, self.served.device().disk(), &mut self.model);
    }

    fn calm(&mut self) {
        let disk = self.served.device().disk();
        (disk.meanwhile, disk.image.most) = (None, usize::MAX);
        disk.image.errors.clear();
        (self.model.meanwhile, self.model.most) = (None, u64::MAX);
        self.model.errors.clear();
    }

    fn prove(&mut self, guest: &mut Guest, [queue, _]: &[Queue; 2]) {
        let status = usize::try_from(PROOF + 16 + 512).unwrap();
        let served = (guest.ram.half(queue.geometry.used + 2), guest.ram.0[status]);
        assert_eq!(served, (1, 0), "a plain read");
    }

    /// What is in the ring is served once more.
    fn end(&mut self, guest: &mut Guest) {
        self.transport.kick(0);
        self.settle(guest);
        if self.transport.dead || self.busy {
            return;
        }
        self.transport.end();
        self.served.run().unwrap();
        guest.check("the end of the disk");
    }
}
