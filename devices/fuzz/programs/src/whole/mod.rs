//! Target `whole`: a virtual machine without its processor.
//!
//! A program writes registers and memory, kicks, resets, makes backends fail and, as a vcpu worker
//! that was taken over, writes to the control sockets. Behind it are the real register state
//! machines and the real loops of both device workers. After each step the models say what guest
//! memory, image, console and registers have to be; both devices share the memory, so that one
//! that reaches into the other's rings shows. At the end every device that is alive has to serve a
//! plain request after a reset; in a few programs, the virtual machine ends instead.
//!
//! | file | is |
//! |---|---|
//! | `transport` | one device's registers, control socket, kicks and interrupt, and their models |
//! | `disk` | the blk worker's loop |
//! | `terminal` | the console worker's loop |
//! | `wires` | what joins both ends without descriptors; one program in 16 goes through those |

use std::cell::RefCell;

use devices::mmio::{Action, SIZE, status};

use crate::bytes::Bytes;
use crate::registers::{OFFSETS, value};
use crate::rig::Guest;
use crate::{blk, console, control};

mod disk;
mod terminal;
mod transport;
mod wires;

use disk::Disk;
use terminal::Terminal;
pub use transport::{Transport, outcome};

/// A device with its worker, and the model of both.
pub trait Device {
    /// The transport.
    fn transport(&mut self) -> &mut Transport;
    /// Lets the worker come to rest and compares. Sets [`Transport::dead`] when the worker has
    /// ended, as the model says it should.
    fn settle(&mut self, guest: &mut Guest);
    /// Makes something reasonable available.
    fn offer(&mut self, program: &mut Bytes<'_>, guest: &mut Guest);
    /// Something happens on the host's side.
    fn disturb(&mut self, program: &mut Bytes<'_>);
    /// The host's side is as good as new, as far as it can be.
    fn calm(&mut self);
    /// Serves one plain request on a device that was just started, and checks it.
    fn prove(&mut self, guest: &mut Guest);
}

/// What lives longer than a program.
struct Rig {
    guest: Guest,
    disk: disk::Lasting,
    terminal: terminal::Lasting,
}

thread_local! {
    static RIG: RefCell<Rig> = {
        let guest = Guest::default();
        let (disk, terminal) = (disk::Lasting::new(&guest), terminal::Lasting::new(&guest));
        RefCell::new(Rig { guest, disk, terminal })
    };
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    RIG.with_borrow_mut(|Rig { guest, disk, terminal }| {
        guest.clear_touched();
        let mut program = Bytes::new(bytes);
        let knobs = program.byte();
        let by_descriptors = knobs & 0x3c == 0x3c;
        let mut disk = Disk::new(disk, guest, knobs & 1 != 0, by_descriptors);
        let mut terminal = Terminal::new(terminal, knobs & 2 != 0, by_descriptors);
        // Most programs begin with devices that are up.
        if knobs & 0x30 != 0 {
            let size = u32::from(knobs >> 6);
            bring_up(&mut disk, guest, !0, 4 + size);
            bring_up(&mut terminal, guest, !0, 4 + size);
        }
        while !program.is_empty() {
            let choice = program.byte();
            if choice & 1 == 0 {
                step(&mut disk, choice >> 1, &mut program, guest);
            } else {
                step(&mut terminal, choice >> 1, &mut program, guest);
            }
        }
        if knobs & 0xfc == 0xfc {
            disk.end(guest);
            terminal.end(guest);
        } else {
            prove(&mut disk, guest);
            prove(&mut terminal, guest);
        }
    });
}

/// Runs a program with one device alone: brings it up, takes its steps, and has it prove itself.
/// How a device is tried that is not one of the two.
pub fn play(device: &mut impl Device, program: &mut Bytes<'_>, guest: &mut Guest) {
    bring_up(device, guest, !0, 4);
    while !program.is_empty() {
        let choice = program.byte();
        step(device, choice, program, guest);
    }
    prove(device, guest);
}

/// One step of a program with one device.
fn step(device: &mut impl Device, choice: u8, program: &mut Bytes<'_>, guest: &mut Guest) {
    if device.transport().dead {
        return;
    }
    match choice & 31 {
        0..=13 => device.offer(program, guest),
        14..=17 => device.disturb(program),
        18 => {
            let queue = program.below(2);
            device.transport().queue(queue).break_it(guest, program);
        }
        19 | 20 => {
            let offset = if program.rarely() { program.edge() } else { program.one_of(&OFFSETS) };
            write(device, guest, offset % SIZE, value(program));
        }
        21 => {
            let wanted = program.byte() & 1 == 0;
            device.transport().queue(program.below(2)).want_interrupts(guest, wanted);
        }
        22 => {
            let features = if program.rarely() { program.edge() } else { !0 };
            let size = u32::from(program.byte()) % 9;
            write(device, guest, 0x070, 0);
            bring_up(device, guest, features, size);
        }
        23 => device.transport().kick(program.below(2)),
        24 if program.rarely() => {
            let message = control::message(program);
            if !message.is_empty() {
                device.transport().say(&message);
            }
        }
        25 => device.transport().acknowledge(program.word()),
        26 => {
            let at = u64::from(program.half());
            guest.write(at, &program.long().to_le_bytes());
        }
        _ => {}
    }
    // Most steps are heard of at once.
    if choice & 0x60 != 0x60 {
        let queues = device.transport().identity.queues.len();
        device.transport().kick(usize::from(choice) % queues);
        device.settle(guest);
    }
}

/// Writes a register and does what comes of it. A device that has to stop is reset then.
fn write(device: &mut impl Device, guest: &mut Guest, offset: u64, value: u32) {
    match device.transport().write(offset, value) {
        Some(Action::Start(start)) => {
            let message = devices::control::Message::Start(start).encode();
            device.transport().say(&message);
        }
        Some(Action::Stop) => {
            device.transport().say(&devices::control::Message::Stop.encode());
            device.settle(guest);
            device.transport().reset();
        }
        Some(Action::Kick(queue)) => device.transport().kick(queue.into()),
        None => {}
    }
}

/// Takes a device after reset to DRIVER_OK, in the order of a driver; queues have `1 << size`
/// descriptors, if they can.
fn bring_up(device: &mut impl Device, guest: &mut Guest, features: u64, size: u32) {
    let offered = device.transport().identity.features;
    write(device, guest, 0x070, status::ACKNOWLEDGE);
    write(device, guest, 0x070, status::ACKNOWLEDGE | status::DRIVER);
    let accepted = offered & features | devices::mmio::VERSION_1;
    for (select, half) in [(0, accepted & 0xffff_ffff), (1, accepted >> 32)] {
        write(device, guest, 0x024, select);
        write(device, guest, 0x020, u32::try_from(half).unwrap());
    }
    let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    write(device, guest, 0x070, ready);
    for index in 0..device.transport().identity.queues.len() {
        let queue = device.transport().place(guest, index, size);
        write(device, guest, 0x030, u32::try_from(index).unwrap());
        write(device, guest, 0x038, queue.size.into());
        for (offset, address) in
            [(0x080, queue.descriptors), (0x090, queue.available), (0x0a0, queue.used)]
        {
            write(device, guest, offset, u32::try_from(address).unwrap());
            write(device, guest, offset + 4, 0);
        }
        write(device, guest, 0x044, 1);
    }
    write(device, guest, 0x070, ready | status::DRIVER_OK);
}

/// After a reset the device works, if it has not ended.
fn prove(device: &mut impl Device, guest: &mut Guest) {
    device.settle(guest);
    if device.transport().dead {
        return;
    }
    write(device, guest, 0x070, 0);
    if device.transport().dead {
        return;
    }
    device.calm();
    bring_up(device, guest, !0, 4);
    device.settle(guest);
    // A worker that was started behind its registers' back takes no second start.
    if !device.transport().dead {
        device.prove(guest);
    }
}
