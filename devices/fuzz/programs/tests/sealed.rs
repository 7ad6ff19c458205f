//! The corpus of `whole`, served by workers that have nothing but a worker's system calls.
//!
//! Each program gets two processes of its own: a disk's and a console's production loop, on
//! descriptors with a worker's numbers, under the filter of the worker's own table. Any other call,
//! be it for a descriptor, a thread or memory, ends the process by SIGSYS, and the test. Without
//! the test harness, whose threads would have heaps that grow by other calls than a worker's does.
#![expect(unsafe_code, reason = "processes, and descriptors with numbers of their own")]
#![expect(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use devices::blk::{Blk, ID_LEN, Shape};
use devices::bounds::Bounds;
use devices::control::{MESSAGE, Message};
use devices::interrupt::Interrupt;
use devices::link::Link;
use devices::mmio::{Action, Registers};
use devices::raw::Raw;
use devices::serve::{BlkLoop, ConsoleLoop, Inputs, Joined, Line};
use devices::throttle::Rates;
use devices::violation::Fault;
use devices::wires::Descriptors;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;
use steps::driver::SECTORS;
use steps::play::{Knobs, play};
use steps::queue::{END, Queue};
use steps::{CONSOLE, DISK, Disturbance, Machine, Store};
use vm_memory::{Bytes, GuestAddress};
use worker::jail::layers::Layers;
use worker::jail::seccomp::{enforce, fatal_program, rules::rules};
use worker::plan::{Backing, Device, Plan, Role};
use worker::{fds, memory};

/// Descriptors are kept up there until a process puts them where it needs them.
const ASIDE: RawFd = 100;
const OUTPUT: Bounds = Bounds { bytes: 1 << 20, ..Bounds::NONE };

/// One device: its registers, the near ends of its wires, and its worker.
struct Seat {
    registers: Registers<'static>,
    control: OwnedFd,
    kicks: Vec<OwnedFd>,
    process: libc::pid_t,
    dead: bool,
}

/// A virtual machine whose workers are sealed processes.
struct Sealed {
    memory: devices::Memory,
    seats: Vec<Seat>,
    typed: Option<OwnedFd>,
}

fn aside(fd: impl Into<OwnedFd>) -> OwnedFd {
    fcntl_dupfd_cloexec(fd.into(), ASIDE).unwrap()
}

fn file(name: &str, len: u64) -> OwnedFd {
    let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    aside(file)
}

impl Sealed {
    fn new(knobs: Knobs) -> Self {
        let ram = file("ram", END);
        let memory = memory::ram(&ram, END, false).unwrap();
        let (stdin, typed) = pipe().unwrap();
        let (stdin, typed) = (aside(stdin), aside(typed));
        let shape = Shape { sectors: SECTORS, read_only: knobs.read_only };
        let devices = vec![Device::Blk(shape), Device::Console];
        let roles = [
            Role::Blk { device: 0, backing: Backing::Image, rates: Rates::NONE },
            Role::Console {
                agent: false,
                log: false,
                output: OUTPUT,
                forms: [devices::visible::Form::Exact; 3],
                file_size: u64::MAX,
            },
        ];
        let inherited = [
            vec![(file("image", SECTORS * 512), fds::IMAGE)],
            vec![(stdin, 0), (file("output", 0), 1)],
        ];
        let seats = (0..).zip(roles).zip(inherited).map(|((index, role), inherited)| {
            let plan = Plan {
                role,
                memory: END,
                transparent: false,
                devices: devices.clone(),
                layers: Layers::ALL,
            };
            seat(&plan, index, inherited, &memory)
        });
        let seats = seats.collect();
        Self { memory, seats, typed: Some(typed) }
    }

    /// Ends the virtual machine; returns how the two processes ended.
    fn end(self) -> [libc::c_int; 2] {
        let processes = [self.seats[DISK].process, self.seats[CONSOLE].process];
        drop(self);
        processes.map(|process| {
            let mut status = 0;
            // SAFETY: `status` is a place for the child's status.
            assert_eq!(unsafe { libc::waitpid(process, &raw mut status, 0) }, process);
            status
        })
    }
}

/// A device after power-on, and a process for it.
fn seat(
    plan: &Plan,
    index: u8,
    mut inherited: Vec<(OwnedFd, RawFd)>,
    memory: &devices::Memory,
) -> Seat {
    let identity = plan.devices[usize::from(index)].identity();
    let flags = SocketFlags::CLOEXEC;
    let (control, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let control = aside(control);
    let event = || aside(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
    let kicks: Vec<_> = identity.queues.iter().map(|_| event()).collect();
    inherited.push((aside(theirs), fds::control(index)));
    inherited.push((event(), fds::interrupt(index)));
    for (queue, kick) in (0..).zip(&kicks) {
        inherited.push((aside(kick.try_clone().unwrap()), fds::kick(index, queue)));
    }
    // SAFETY: this process has one thread, so that the child is as whole as its parent.
    let process = unsafe { libc::fork() };
    assert!(process >= 0);
    if process == 0 {
        live(plan, index, &inherited, memory);
    }
    let status: &'static AtomicU32 = Box::leak(Box::default());
    let registers = Registers::new(identity, status);
    Seat { registers, control, kicks, process, dead: false }
}

/// A worker's life. Returns 0, or 1 if the guest or the vcpu worker broke the contract.
fn live(plan: &Plan, index: u8, inherited: &[(OwnedFd, RawFd)], memory: &devices::Memory) -> i32 {
    for (fd, number) in inherited {
        // SAFETY: nobody in this process knows what had the number before.
        assert!(unsafe { libc::dup2(fd.as_raw_fd(), *number) } == *number);
    }
    // SAFETY: what is up there belongs to the parent; without this no end of a socket would show.
    assert!(unsafe { libc::close_range(u32::try_from(ASIDE).unwrap(), u32::MAX, 0) } == 0);
    // SAFETY: was just put there, and has no other owner.
    let take = |number| unsafe { OwnedFd::from_raw_fd(number) };
    let device = plan.devices[usize::from(index)];
    let status = AtomicU32::new(0);
    let wires = Descriptors {
        control: take(fds::control(index)),
        kicks: device.queues().map(|queue| take(fds::kick(index, queue))).collect(),
        line: take(fds::interrupt(index)),
    };
    let link = Link::new(memory, device.identity(), wires, Interrupt::new(&status));
    if let Device::Blk(shape) = device {
        let image = File::from(take(fds::IMAGE));
        let mut served = BlkLoop::new(link, Blk::new(image, shape, [b'i'; ID_LEN]));
        enforce(&fatal_program(&rules(plan, &[])).unwrap()).unwrap();
        leave(served.run())
    } else {
        let joined = Joined::Raw(Raw::new(take(1)).within(OUTPUT));
        let inputs = Inputs { stdin: Some(take(0)), orders: None };
        let mut served = ConsoleLoop::new(vec![Line::new(link, joined)], inputs, |_| Ok(()));
        enforce(&fatal_program(&rules(plan, &[])).unwrap()).unwrap();
        leave(served.run())
    }
}

/// Ends the process before anything is put in order, which takes calls: 0, 1 if the guest or the vcpu
/// worker broke the contract.
fn leave(result: Result<(), Fault>) -> ! {
    let status = match result {
        Ok(()) => 0,
        Err(Fault::Violation(_) | Fault::Control) => 1,
        Err(_) => 2,
    };
    // SAFETY: ends the process, by the one call that a worker has for it.
    unsafe { libc::_exit(status) }
}

impl Store for Sealed {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        // What is no memory is not written.
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }
}

impl Machine for Sealed {
    fn set(&mut self, device: usize, offset: u64, value: u32) {
        let seat = &mut self.seats[device];
        match seat.registers.write(offset, &value.to_le_bytes()) {
            Some(Action::Start(start)) => self.say(device, &Message::Start(start).encode()),
            Some(Action::Stop) => {
                self.say(device, &Message::Stop.encode());
                let seat = &mut self.seats[device];
                // Stopped, or nothing from a worker that has ended.
                let count = rustix::io::read(&seat.control, &mut [0; MESSAGE]);
                seat.dead |= !matches!(count, Ok(1..));
                seat.registers.reset();
            }
            Some(Action::Kick(queue)) => self.kick(device, queue.into()),
            None => {}
        }
    }

    fn kick(&mut self, device: usize, queue: usize) {
        if let Some(kick) = self.seats[device].kicks.get(queue) {
            rustix::io::write(kick, &1u64.to_ne_bytes()).unwrap();
        }
    }

    fn settle(&mut self, _: usize) {
        // Long enough, mostly; nothing is compared.
        std::thread::sleep(Duration::from_micros(100));
    }

    fn say(&mut self, device: usize, message: &[u8]) {
        let seat = &mut self.seats[device];
        seat.dead |= rustix::io::write(&seat.control, message).is_err();
    }

    fn disturb(&mut self, _: usize, what: Disturbance) {
        match (what, &self.typed) {
            (Disturbance::Typed(bytes), Some(typed)) => {
                // A worker that has ended reads no more.
                let _ = rustix::io::write(typed, &bytes);
            }
            (Disturbance::InputEnds, _) => self.typed = None,
            _ => {}
        }
    }

    fn calm(&mut self, _: usize) {}

    fn prove(&mut self, _: usize, _: &[Queue; 2]) {}

    fn end(&mut self, _: usize) {}
}

fn main() {
    // SAFETY: only sets a number in the allocator, as the jail does; there is no second thread.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30) };
    // SAFETY: a worker that hangs ends the test.
    unsafe { libc::alarm(120) };
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/whole");
    let mut ends = [0; 2];
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let program = fs::read(&path).unwrap();
        let mut machine = Sealed::new(Knobs::of(&program));
        play(&program, &mut machine);
        for status in machine.end() {
            let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            let Some(code @ (0 | 1)) = code else {
                panic!("{}: a worker ended with status {status:#x}", path.display());
            };
            ends[usize::try_from(code).unwrap()] += 1;
        }
    }
    let [well, broken] = ends;
    assert!(well > 20 && broken > 5, "{well} workers ended well, {broken} by a breach");
    println!("{well} workers ended well, {broken} for a breach of the contract, none for a call");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
}
