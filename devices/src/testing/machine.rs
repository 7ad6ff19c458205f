//! A device as the rest of its virtual machine sees it: what the vcpu worker and KVM do, by hand.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Driver, SplitRing};
use crate::Memory;
use crate::control::{MESSAGE, Message};
use crate::interrupt::Interrupt;
use crate::link::Link;
use crate::mmio::{Action, Identity, Registers, status};

/// How long a worker that is alive may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device's registers, and the far ends of its worker's descriptors.
#[derive(Debug)]
pub struct Machine {
    /// The registers.
    pub driver: Driver<'static>,
    control: OwnedFd,
    kicks: Vec<OwnedFd>,
    line: OwnedFd,
}

impl Machine {
    /// A device after power-on, and its transport for a worker's loop. Dropping the machine ends it.
    pub fn new(memory: &'static Memory, identity: Identity) -> (Self, Link<'static>) {
        Self::over(memory, identity, Box::leak(Box::default()))
    }

    /// The same with this InterruptStatus, for who makes so many that none may be left behind.
    pub fn over(
        memory: &'static Memory,
        identity: Identity,
        status: &'static AtomicU32,
    ) -> (Self, Link<'static>) {
        status.store(0, Ordering::Release);
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let kicks: Vec<_> = identity.queues.iter().map(|_| event()).collect();
        let line = event();
        let interrupt = Interrupt::new(status, line.try_clone().unwrap());
        let copies = kicks.iter().map(|kick| kick.try_clone().unwrap()).collect();
        let link = Link::new(memory, identity, theirs, copies, interrupt);
        let driver = Driver { registers: Registers::new(identity, status) };
        (Self { driver, control, kicks, line }, link)
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
        assert!(readable(&self.control, PATIENCE), "the worker does not answer");
        let mut bytes = [0; MESSAGE + 1];
        let len = rustix::io::read(&self.control, &mut bytes).unwrap();
        Message::decode(&bytes[..len])
    }

    /// Kicks queue `index`.
    pub fn kick(&self, index: usize) {
        rustix::io::write(&self.kicks[index], &1u64.to_ne_bytes()).unwrap();
    }

    /// True when the interrupt was raised since the last call. Acknowledges it.
    pub fn take_interrupt(&mut self) -> bool {
        self.interrupted(Duration::ZERO)
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

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn readable(fd: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}
