//! Devices with their workers' loops and a driver, all in one thread: what is measured of the device core.

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

use super::{Machine, Part, SplitRing, memory};
use crate::blk::{self, Blk, FLUSH, ID_LEN, SECTOR, Shape};
use crate::console;
use crate::raw::Raw;
use crate::serve::{BlkLoop, ConsoleLoop, Inputs, Joined, Line, News};
use crate::violation::Fault;

/// Bytes of guest memory.
const MEMORY: usize = 1 << 20;
/// Where the drivers have their rings, a request's header and status, and data.
const RING: u64 = 0x1000;
const SECOND_RING: u64 = 0x4000;
const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x8010;
const DATA: u64 = 0x1_0000;

/// A disk of 1 MiB over a memfd.
const SHAPE: Shape = Shape { sectors: (1 << 20) / SECTOR, read_only: false };

/// What a request asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To read so many bytes from its beginning.
    Read(u32),
    /// To write so many bytes there.
    Write(u32),
    /// To make what was written durable.
    Flush,
}

/// A disk that is asked for the same again and again.
#[derive(Debug)]
pub struct ServedDisk {
    machine: Machine,
    ring: SplitRing,
    worker: BlkLoop<'static, File>,
    parts: Vec<Part>,
}

impl ServedDisk {
    /// A started disk.
    pub fn new(request: Request) -> Self {
        let memory = memory(&[(0, MEMORY)]);
        let image = File::from(memfd_create("image", MemfdFlags::CLOEXEC).unwrap());
        image.set_len(SHAPE.sectors * SECTOR).unwrap();
        let (mut machine, link) = Machine::new(memory, SHAPE.identity());
        let ring = SplitRing::new(memory, RING, blk::QUEUE_SIZE);
        let mut worker = BlkLoop::new(link, Blk::new(image, SHAPE, [0; ID_LEN]));
        machine.start(FLUSH, &[&ring]);
        worker.turn(true).unwrap();
        let (kind, data) = match request {
            Request::Read(len) => (0_u32, Some(Part::In(DATA, len))),
            Request::Write(len) => (1, Some(Part::Out(DATA, len))),
            Request::Flush => (4, None),
        };
        memory.write_obj(kind.to_le(), GuestAddress(HEADER)).unwrap();
        let header = [Part::Out(HEADER, 16)].into_iter();
        let parts = header.chain(data).chain([Part::In(STATUS, 1)]).collect();
        Self { machine, ring, worker, parts }
    }

    /// One request: kick, the worker's turn, used ring and interrupt.
    pub fn serve(&mut self) {
        self.ring.add(&self.parts);
        self.machine.kick(0);
        self.worker.turn(true).unwrap();
        self.ring.take_used().unwrap();
    }
}

/// A console whose output goes to /dev/null.
#[derive(Debug)]
pub struct ServedConsole {
    machine: Machine,
    ring: SplitRing,
    worker: ConsoleLoop<'static, fn(News<'_>) -> Result<(), Fault>>,
    len: u32,
}

impl ServedConsole {
    /// A started console that is given chains of `len` bytes.
    pub fn new(len: u32) -> Self {
        let memory = memory(&[(0, MEMORY)]);
        let null = File::options().write(true).open("/dev/null").unwrap();
        let (mut machine, link) = Machine::new(memory, console::IDENTITY);
        let receive = SplitRing::new(memory, SECOND_RING, console::QUEUE_SIZE);
        let ring = SplitRing::new(memory, RING, console::QUEUE_SIZE);
        let line = Line::new(link, Joined::Raw(Raw::new(null.into())));
        let inputs = Inputs { stdin: None, orders: None };
        let tell: fn(News<'_>) -> Result<(), Fault> = |_| Ok(());
        let mut worker = ConsoleLoop::new(vec![line], inputs, tell);
        machine.start(0, &[&receive, &ring]);
        worker.turn(true).unwrap();
        Self { machine, ring, worker, len }
    }

    /// One chain out: kick, the worker's two turns, used ring and interrupt.
    pub fn serve(&mut self) {
        self.ring.add(&[Part::Out(DATA, self.len)]);
        self.machine.kick(console::TRANSMIT);
        // One turn takes the chain, the next writes what it held.
        self.worker.turn(true).unwrap();
        self.worker.turn(true).unwrap();
        self.ring.take_used().unwrap();
    }
}
