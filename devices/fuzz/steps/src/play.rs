//! From a program's bytes to its steps.

use devices::control::Geometry;
use devices::mmio::{Identity, SIZE, VERSION_1, status};

use crate::bytes::Bytes;
use crate::driver::{Console, Disk, Driver};
use crate::message::message;
use crate::queue::Queue;
use crate::registers::{OFFSETS, value};
use crate::{CONSOLE, DISK, Machine, Store};

/// What a program says before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// The disk refuses writes.
    pub read_only: bool,
    /// The console is the kernel's log, which has no input and no reader that goes away.
    pub log: bool,
    /// The devices are brought up first, with queues of 16 descriptors shifted left by so much.
    pub up: Option<u32>,
    /// At the end every device has to serve a plain request after a reset.
    pub prove: bool,
    /// The end is that of the virtual machine.
    pub end: bool,
}

impl Knobs {
    /// Those of a program.
    pub fn of(program: &[u8]) -> Self {
        Self::new(program.first().copied().unwrap_or(0))
    }

    fn new(knobs: u8) -> Self {
        Self {
            read_only: knobs & 1 != 0,
            log: knobs & 2 != 0,
            // Most programs begin with devices that are up.
            up: (knobs & 0x30 != 0).then_some(u32::from(knobs >> 6)),
            prove: knobs & 0x0c == 0,
            end: knobs & 0xfc == 0xfc,
        }
    }
}

/// Takes a program's steps.
pub fn play(bytes: &[u8], machine: &mut impl Machine) {
    let mut program = Bytes::new(bytes);
    let knobs = Knobs::new(program.byte());
    let mut disk = Seat::new(DISK, Disk { read_only: knobs.read_only });
    let mut console = Seat::new(CONSOLE, Console);
    if let Some(size) = knobs.up {
        disk.bring_up(machine, !0, 4 + size);
        console.bring_up(machine, !0, 4 + size);
    }
    while !program.is_empty() {
        let choice = program.byte();
        if choice & 1 == 0 {
            disk.step(choice >> 1, &mut program, machine);
        } else {
            console.step(choice >> 1, &mut program, machine);
        }
    }
    if knobs.prove {
        disk.prove(machine);
        console.prove(machine);
    }
    if knobs.end {
        machine.end(DISK);
        machine.end(CONSOLE);
    }
}

/// Takes a program's steps with one device alone: brings it up, takes its steps, and has it prove itself.
pub fn play_alone(driver: impl Driver, program: &mut Bytes<'_>, machine: &mut impl Machine) {
    let mut seat = Seat::new(0, driver);
    seat.bring_up(machine, !0, 4);
    while !program.is_empty() {
        let choice = program.byte();
        seat.step(choice, program, machine);
    }
    seat.prove(machine);
}

/// A device's driver, and its queues as it knows them.
struct Seat<D> {
    device: usize,
    driver: D,
    identity: Identity,
    queues: [Queue; 2],
}

impl<D: Driver> Seat<D> {
    fn new(device: usize, driver: D) -> Self {
        let queues = driver.places().map(|at| Queue::new(at, 16));
        Self { device, identity: driver.identity(), driver, queues }
    }

    /// One step of a program with this device.
    fn step(&mut self, choice: u8, program: &mut Bytes<'_>, machine: &mut impl Machine) {
        let device = self.device;
        match choice & 31 {
            0..=13 => self.driver.offer(program, &mut self.queues, machine),
            14..=17 => {
                if let Some(what) = self.driver.disturb(program) {
                    machine.disturb(device, what);
                }
            }
            18 => {
                let queue = program.below(2);
                self.queues[queue].break_it(machine, program);
            }
            19 | 20 => {
                let offset =
                    if program.rarely() { program.edge() } else { program.one_of(&OFFSETS) };
                machine.set(device, offset % SIZE, value(program));
            }
            21 => {
                let wanted = program.byte() & 1 == 0;
                self.queues[program.below(2)].want_interrupts(machine, wanted);
            }
            22 => {
                let features = if program.rarely() { program.edge() } else { !0 };
                let size = u32::from(program.byte()) % 9;
                machine.set(device, 0x070, 0);
                self.bring_up(machine, features, size);
            }
            23 => machine.kick(device, program.below(2)),
            24 if program.rarely() => {
                let message = message(program);
                if !message.is_empty() {
                    machine.say(device, &message);
                }
            }
            25 => machine.set(device, 0x064, program.word()),
            26 => {
                let at = u64::from(program.half());
                machine.write(at, &program.long().to_le_bytes());
            }
            _ => {}
        }
        // Most steps are heard of at once.
        if choice & 0x60 != 0x60 {
            machine.kick(device, usize::from(choice) % self.identity.queues.len());
            machine.settle(device);
        }
    }

    /// Takes a device after reset to DRIVER_OK, in the order of a driver; queues have `1 << size`
    /// descriptors, if they can.
    fn bring_up(&mut self, machine: &mut impl Machine, features: u64, size: u32) {
        let mut set = |offset, value| machine.set(self.device, offset, value);
        set(0x070, status::ACKNOWLEDGE);
        set(0x070, status::ACKNOWLEDGE | status::DRIVER);
        let accepted = self.identity.features & features | VERSION_1;
        for (select, half) in [(0, low(accepted)), (1, low(accepted >> 32))] {
            set(0x024, select);
            set(0x020, half);
        }
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        set(0x070, ready);
        for (index, max) in (0u32..).zip(self.identity.queues) {
            let queue = self.place(machine, index, (1 << size).min(*max));
            let mut set = |offset, value| machine.set(self.device, offset, value);
            set(0x030, index);
            set(0x038, queue.size.into());
            for (offset, address) in
                [(0x080, queue.descriptors), (0x090, queue.available), (0x0a0, queue.used)]
            {
                set(offset, low(address));
                set(offset + 4, 0);
            }
            set(0x044, 1);
        }
        machine.set(self.device, 0x070, ready | status::DRIVER_OK);
    }

    /// Chooses a place for queue `index`, and clears it.
    fn place(&mut self, memory: &mut impl Store, index: u32, size: u16) -> Geometry {
        let index = usize::from(index != 0);
        self.queues[index] = Queue::new(self.driver.places()[index], size);
        self.queues[index].clear(memory);
        self.queues[index].geometry
    }

    /// After a reset the device works.
    fn prove(&mut self, machine: &mut impl Machine) {
        machine.settle(self.device);
        machine.set(self.device, 0x070, 0);
        machine.calm(self.device);
        self.bring_up(machine, !0, 4);
        machine.settle(self.device);
        let queue = self.driver.prove(&mut self.queues, machine);
        machine.kick(self.device, queue);
        machine.settle(self.device);
        machine.prove(self.device, &self.queues);
    }
}

fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
