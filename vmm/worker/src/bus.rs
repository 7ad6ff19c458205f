//! What a guest's accesses reach: the register state machines of its devices, and the early console.
//!
//! Registers are answered here, in the vcpu worker; what they bring about goes to the device's
//! worker as one control message. An access outside every device reads as ones and writes nothing.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use devices::control::{MESSAGE, Message};
use devices::mmio::{Action, QUEUE_NOTIFY, Registers, SIZE};
use rustix::io::{Errno, retry_on_intr};

use crate::earlycon::Early;
use crate::layout::VIRTIO_START;
use crate::recorder::Recorder;

/// A device worker does not answer: it has ended, and the launcher knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of device {0} is gone")]
pub struct Gone(usize);

/// One device: its registers, and the socket to its worker.
#[derive(Debug)]
struct Slot {
    registers: Registers<'static>,
    control: OwnedFd,
    /// The queues' events, if the kicks come here; otherwise KVM has them.
    kicks: Vec<OwnedFd>,
    /// The guest has set DRIVER_OK at least once.
    started: bool,
}

/// All devices of the virtual machine.
#[derive(Debug, Default)]
pub struct Bus {
    slots: Vec<Mutex<Slot>>,
    /// The early console, if it was asked for.
    early: Option<Early>,
    /// The record of the accesses, if it was asked for.
    recorder: Option<Mutex<Recorder>>,
}

impl Bus {
    /// Adds the next device. `kicks`: the events of its queues, if KVM does not have them.
    pub fn add(&mut self, registers: Registers<'static>, control: OwnedFd, kicks: Vec<OwnedFd>) {
        self.slots.push(Mutex::new(Slot { registers, control, kicks, started: false }));
    }

    /// Adds an early console.
    pub fn add_early(&mut self, early: Early) {
        self.early = Some(early);
    }

    /// Has every access recorded.
    pub fn add_recorder(&mut self, recorder: Recorder) {
        self.recorder = Some(Mutex::new(recorder));
    }

    /// What a byte of a read from a port is that is not the power port's; none: nobody's.
    pub fn port_in(&self, port: u16) -> Option<u8> {
        self.early.as_ref().and_then(|_| Early::read(port))
    }

    /// Takes a write to a port that is not the power port's.
    pub fn port_out(&self, port: u16, data: &[u8]) {
        if let Some(early) = &self.early {
            early.write(port, data);
        }
    }

    fn find(&self, address: u64) -> Option<(usize, u64)> {
        let offset = address.checked_sub(u64::from(VIRTIO_START))?;
        let index = usize::try_from(offset / SIZE).ok()?;
        (index < self.slots.len()).then_some((index, offset % SIZE))
    }

    /// Reads `data.len()` bytes at guest-physical `address`.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match self.find(address) {
            Some((index, offset)) => self.lock(index).registers.read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes `data` at guest-physical `address`.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), Gone> {
        let Some((index, offset)) = self.find(address) else { return Ok(()) };
        let mut slot = self.lock(index);
        let action = slot.registers.write(offset, data);
        if let Some(recorder) = &self.recorder {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.note(index, (offset, data), &slot.registers, action.as_ref());
        }
        slot.pass_on(offset, data);
        match action {
            Some(Action::Start(start)) => {
                slot.started = true;
                slot.send(&Message::Start(start)).map_err(|_| Gone(index))
            }
            Some(Action::Stop) => {
                slot.stop().map_err(|_| Gone(index))?;
                slot.registers.reset();
                Ok(())
            }
            // Every kick of a queue that exists is passed on, by KVM if it does not come here.
            Some(Action::Kick(_)) | None => Ok(()),
        }
    }

    /// Bit n: the guest has started device n at least once.
    pub fn started(&self) -> u32 {
        let bits = (0..self.slots.len()).filter(|&index| self.lock(index).started);
        bits.fold(0, |bits, index| bits | 1 << index)
    }

    fn lock(&self, index: usize) -> std::sync::MutexGuard<'_, Slot> {
        self.slots[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Turns the kick of a queue into its event, as KVM would if it had it. A full event is one already.
    fn pass_on(&self, offset: u64, data: &[u8]) {
        let value = <[u8; 4]>::try_from(data).ok().filter(|_| offset == QUEUE_NOTIFY);
        let queue = value.and_then(|value| usize::try_from(u32::from_le_bytes(value)).ok());
        if let Some(kick) = queue.and_then(|queue| self.kicks.get(queue)) {
            let _ = retry_on_intr(|| rustix::io::write(kick, &1u64.to_ne_bytes()));
        }
    }

    fn send(&self, message: &Message) -> Result<(), Errno> {
        retry_on_intr(|| rustix::io::write(&self.control, &message.encode())).map(|_| ())
    }

    /// Stops the device and waits until its worker will touch nothing more.
    fn stop(&self) -> Result<(), Errno> {
        self.send(&Message::Stop)?;
        let mut bytes = [0; MESSAGE];
        let len = retry_on_intr(|| rustix::io::read(&self.control, &mut bytes))?;
        match Message::decode(bytes.get(..len).unwrap_or_default()) {
            Some(Message::Stopped) => Ok(()),
            _ => Err(Errno::PIPE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use devices::console;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    fn register(bus: &Bus, offset: u64) -> u32 {
        let mut data = [0; 4];
        bus.read(u64::from(VIRTIO_START) + offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn start(bus: &Bus) {
        let steps = [(0x70, 1u32), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x70, 15)];
        for (offset, value) in steps {
            bus.write(u64::from(VIRTIO_START) + offset, &value.to_le_bytes()).unwrap();
        }
    }

    #[test]
    fn driver_ok_sends_start_and_a_reset_waits_for_stopped() {
        static INTERRUPT: AtomicU32 = AtomicU32::new(0);
        let (ours, theirs) = pair();
        let mut bus = Bus::default();
        bus.add(Registers::new(console::IDENTITY, &INTERRUPT), ours, Vec::new());
        assert_eq!(bus.started(), 0);
        start(&bus);
        assert_eq!(bus.started(), 1);
        let mut bytes = [0; MESSAGE];
        let len = rustix::io::read(&theirs, &mut bytes).unwrap();
        assert!(matches!(Message::decode(&bytes[..len]), Some(Message::Start(_))));

        rustix::io::write(&theirs, &Message::Stopped.encode()).unwrap();
        bus.write(u64::from(VIRTIO_START) + 0x70, &[0; 4]).unwrap();
        let len = rustix::io::read(&theirs, &mut bytes).unwrap();
        assert_eq!(Message::decode(&bytes[..len]), Some(Message::Stop));
        assert_eq!(register(&bus, 0x70), 0);
        assert_eq!(bus.started(), 1);

        start(&bus);
        drop(theirs);
        assert_eq!(bus.write(u64::from(VIRTIO_START) + 0x70, &[0; 4]), Err(Gone(0)));
    }

    #[test]
    fn outside_every_device_there_is_nothing() {
        let bus = Bus::default();
        assert_eq!(register(&bus, 0), u32::MAX);
        assert_eq!(bus.write(0, &[1]), Ok(()));
        assert_eq!(bus.write(u64::MAX, &[1; 8]), Ok(()));
    }
}
