//! Target `whole`: a virtual machine without its processor.
//!
//! A program writes registers and memory, kicks, resets, makes backends fail and, as a vcpu worker
//! that was taken over, writes to the control sockets. Behind it are the real register state
//! machines and the real loops of both device workers. After each step the models say what guest
//! memory, image, console and registers have to be; both devices share the memory, so that one
//! that reaches into the other's rings shows. At the end of one program in four every device that is
//! alive has to serve a plain request after a reset; of others, the virtual machine just ends.
//!
//! | file | is |
//! |---|---|
//! | `transport` | one device's registers, control socket, kicks and interrupt, and their models |
//! | `disk` | the blk worker's loop |
//! | `terminal` | the console worker's loop |

use std::cell::RefCell;

use devices::mmio::Action;
use steps::driver::Driver;
use steps::play::{Knobs, play_alone};
use steps::{DISK, Disturbance, Machine, Store};

use crate::blk;
use crate::bytes::Bytes;
use crate::rig::{Guest, Queue};

mod disk;
mod terminal;
mod transport;

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
    /// Something happens on the host's side.
    fn disturb(&mut self, what: &Disturbance);
    /// The host's side is as good as new, as far as it can be.
    fn calm(&mut self);
    /// Checks that the plain request that was made on these queues was served.
    fn prove(&mut self, guest: &mut Guest, queues: &[Queue; 2]);
    /// The virtual machine ends.
    fn end(&mut self, guest: &mut Guest);
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
    play_whole(bytes, |_| ());
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The device whose worker was the first to end.
    pub first: Option<usize>,
    /// The console's two queues got so entangled that the model gave up.
    pub entangled: bool,
    /// The image.
    pub image: Vec<u8>,
    /// What came from the console.
    pub output: Vec<u8>,
}

/// Runs one program, and says how it ended.
pub fn look(bytes: &[u8]) -> Ended {
    play_whole(bytes, |whole| Ended {
        first: whole.first,
        entangled: whole.terminal.is_entangled(),
        image: whole.disk.image(),
        output: whole.terminal.seen().to_vec(),
    })
}

fn play_whole<T>(bytes: &[u8], last: impl FnOnce(&mut Whole<'_>) -> T) -> T {
    RIG.with_borrow_mut(|Rig { guest, disk, terminal }| {
        guest.clear();
        let knobs = Knobs::of(bytes);
        let disk = Disk::new(disk, guest, knobs.read_only);
        let terminal = Terminal::new(terminal, knobs.log);
        let mut whole = Whole { guest, disk, terminal, first: None };
        steps::play::play(bytes, &mut whole);
        last(&mut whole)
    })
}

/// Runs a program with one device alone. How a device is tried that is not one of the two.
pub fn play(
    device: &mut impl Device,
    driver: impl Driver,
    program: &mut Bytes<'_>,
    guest: &mut Guest,
) {
    play_alone(driver, program, &mut Alone { guest, device });
}

/// The virtual machine of both devices.
struct Whole<'a> {
    guest: &'a mut Guest,
    disk: Disk<'a>,
    terminal: Terminal<'a>,
    /// The device whose worker was the first to end.
    first: Option<usize>,
}

/// Does the same with whichever device a step is about; true if its worker has ended.
macro_rules! with {
    ($whole:expr, $device:expr, $seat:ident => $what:expr) => {{
        let guest = &mut *$whole.guest;
        if $device == DISK {
            let mut $seat = Alone { guest, device: &mut $whole.disk };
            $what;
            $seat.device.transport().dead
        } else {
            let mut $seat = Alone { guest, device: &mut $whole.terminal };
            $what;
            $seat.device.transport().dead
        }
    }};
}

impl Store for Whole<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.guest.write(at, bytes);
    }
}

impl Whole<'_> {
    fn note(&mut self, device: usize, ended: bool) {
        if ended && self.first.is_none() {
            self.first = Some(device);
        }
    }
}

impl Machine for Whole<'_> {
    fn set(&mut self, device: usize, offset: u64, value: u32) {
        let ended = with!(self, device, seat => seat.set(device, offset, value));
        self.note(device, ended);
    }

    fn kick(&mut self, device: usize, queue: usize) {
        with!(self, device, seat => seat.kick(device, queue));
    }

    fn settle(&mut self, device: usize) {
        let ended = with!(self, device, seat => seat.settle(device));
        self.note(device, ended);
    }

    fn say(&mut self, device: usize, message: &[u8]) {
        with!(self, device, seat => seat.say(device, message));
    }

    fn disturb(&mut self, device: usize, what: Disturbance) {
        with!(self, device, seat => seat.disturb(device, what));
    }

    fn calm(&mut self, device: usize) {
        with!(self, device, seat => seat.calm(device));
    }

    fn prove(&mut self, device: usize, queues: &[Queue; 2]) {
        with!(self, device, seat => seat.prove(device, queues));
    }

    fn end(&mut self, device: usize) {
        with!(self, device, seat => seat.end(device));
    }
}

/// A virtual machine of one device. What a worker that has ended would have to do, is not done.
struct Alone<'a, D> {
    guest: &'a mut Guest,
    device: &'a mut D,
}

impl<D> Store for Alone<'_, D> {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.guest.write(at, bytes);
    }
}

impl<D: Device> Machine for Alone<'_, D> {
    /// Writes a register and does what comes of it. A device that has to stop is reset then.
    fn set(&mut self, _: usize, offset: u64, value: u32) {
        let transport = self.device.transport();
        if transport.dead {
            return;
        }
        match transport.write(offset, value) {
            Some(Action::Start(start)) => {
                transport.say(&devices::control::Message::Start(start).encode());
            }
            Some(Action::Stop) => {
                transport.say(&devices::control::Message::Stop.encode());
                self.device.settle(self.guest);
                self.device.transport().reset();
            }
            Some(Action::Kick(queue)) => transport.kick(queue.into()),
            None => {}
        }
    }

    fn kick(&mut self, _: usize, queue: usize) {
        self.device.transport().kick(queue);
    }

    fn settle(&mut self, _: usize) {
        self.device.settle(self.guest);
    }

    fn say(&mut self, _: usize, message: &[u8]) {
        self.device.transport().say(message);
    }

    fn disturb(&mut self, _: usize, what: Disturbance) {
        self.device.disturb(&what);
    }

    fn calm(&mut self, _: usize) {
        self.device.calm();
    }

    fn prove(&mut self, _: usize, queues: &[Queue; 2]) {
        if !self.device.transport().dead {
            self.device.prove(self.guest, queues);
        }
    }

    fn end(&mut self, _: usize) {
        self.device.end(self.guest);
    }
}
