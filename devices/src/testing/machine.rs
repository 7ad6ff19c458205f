//! A device as the rest of its virtual machine sees it: what the vcpu worker and KVM do, by hand.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use super::{Driver, SplitRing};
use crate::Memory;
use crate::control::{MESSAGE, Message};
use crate::interrupt::Interrupt;
use crate::link::Link;
use crate::mmio::{Action, Identity, Registers, status};
use crate::wires::{Descriptors, Wires};

/// How long a worker that is alive may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device's registers, and the far ends of its worker's descriptors.
#[derive(Debug)]
pub struct Machine {
    /// The registers.
    pub driver: Driver<'static>,
    memory: &'static Memory,
    identity: Identity,
    status: &'static AtomicU32,
    control: OwnedFd,
    /// The worker's end of the socket, of which every transport gets a copy.
    theirs: OwnedFd,
    kicks: Vec<OwnedFd>,
    line: OwnedFd,
}

impl Machine {
    /// A device after power-on, and its transport for a worker's loop. Dropping the machine ends it.
    pub fn new(memory: &'static Memory, identity: Identity) -> (Self, Link<'static>) {
        let status: &'static AtomicU32 = Box::leak(Box::default());
        let (control, theirs) = socket();
        let kicks = identity.queues.iter().map(|_| event()).collect();
        let driver = Driver { registers: Registers::new(identity, status) };
        let line = event();
        let machine = Self { driver, memory, identity, status, control, theirs, kicks, line };
        let link = machine.link();
        (machine, link)
    }

    /// The same device after another power-on, with a new transport: what a new machine would be,
    /// without the cost of new sockets. Nothing may be left unheard; [`Machine::drain`] sees to it.
    pub fn again(&mut self) -> Link<'static> {
        self.driver.registers.reset();
        self.link()
    }

    /// Forgets every message, kick and interrupt that was not heard.
    pub fn drain(&self) {
        for end in [&self.control, &self.theirs] {
            while recv(end, &mut [0; MESSAGE + 1][..], RecvFlags::DONTWAIT).is_ok() {}
        }
        for event in self.kicks.iter().chain([&self.line]) {
            rustix::io::read(event, &mut [0; 8]).ok();
        }
    }

    /// The virtual machine ends, as its worker sees it. [`Machine::again`] begins another.
    pub fn end(&mut self) {
        (self.control, self.theirs) = socket();
    }

    fn link(&self) -> Link<'static> {
        self.join(Descriptors {
            control: self.theirs.try_clone().unwrap(),
            kicks: self.kicks.iter().map(|kick| kick.try_clone().unwrap()).collect(),
            line: self.line.try_clone().unwrap(),
        })
    }

    /// The device with other wires than the machine's own descriptors.
    pub fn join<W: Wires>(&self, wires: W) -> Link<'static, W> {
        Link::new(self.memory, self.identity, wires, Interrupt::new(self.status))
    }

    /// Brings the device up with `features`, as far as they are offered, and these queues.
    pub fn start(&mut self, features: u64, rings: &[&SplitRing]) {
        self.driver.negotiate(features);
        for (index, ring) in (0..).zip(rings) {
            self.driver.place(index, &ring.geometry);
        }
        match self.driver.add_status(status::DRIVER_OK) {
            Some(Action::Start(start)) => self.send(&Message::Start(start).encode()),
            other => panic!("DRIVER_OK led to {other:?}"),
        }
    }

    /// Begins a reset. The worker has to answer before [`Machine::finish_reset`].
    pub fn begin_reset(&mut self) {
        assert_eq!(self.driver.write(0x070, 0), Some(Action::Stop));
        self.send(&Message::Stop.encode());
    }

    /// Waits until the worker has let go of the device, and completes its reset.
    pub fn finish_reset(&mut self) {
        assert_eq!(self.receive(), Some(Message::Stopped));
        self.driver.registers.reset();
    }

    /// Sends bytes to the worker, as a vcpu worker that was taken over can.
    pub fn send(&self, bytes: &[u8]) {
        rustix::io::write(&self.control, bytes).unwrap();
    }

    /// Waits for a message from the worker.
    pub fn receive(&self) -> Option<Message> {
        let mut bytes = [0; MESSAGE + 1];
        // A worker that has its turns in this thread has answered already.
        let (len, _) = recv(&self.control, &mut bytes[..], RecvFlags::DONTWAIT)
            .or_else(|_| {
                assert!(readable(&self.control, PATIENCE), "the worker does not answer");
                recv(&self.control, &mut bytes[..], RecvFlags::empty())
            })
            .unwrap();
        Message::decode(&bytes[..len])
    }

    /// True when the worker has sent a message that was not received.
    pub fn has_message(&self) -> bool {
        readable(&self.control, Duration::ZERO)
    }

    /// Kicks queue `index`.
    pub fn kick(&self, index: usize) {
        rustix::io::write(&self.kicks[index], &1u64.to_ne_bytes()).unwrap();
    }

    /// True when the interrupt was raised since the last call. Acknowledges it.
    pub fn take_interrupt(&mut self) -> bool {
        self.interrupted(Duration::ZERO)
    }

    /// True when the line was raised since the last call. InterruptStatus is left as it is.
    pub fn is_raised(&self) -> bool {
        rustix::io::read(&self.line, &mut [0; 8]).is_ok()
    }

    /// Waits for the interrupt, and acknowledges it.
    pub fn await_interrupt(&mut self) {
        assert!(self.interrupted(PATIENCE), "the worker raises no interrupt");
    }

    fn interrupted(&mut self, patience: Duration) -> bool {
        if !readable(&self.line, patience) {
            return false;
        }
        rustix::io::read(&self.line, &mut [0; 8]).unwrap();
        let pending = self.driver.read(0x060);
        self.driver.write(0x064, pending);
        true
    }
}

fn socket() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn readable(fd: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}
