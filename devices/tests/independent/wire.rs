//! The independent driver's transport: its register accesses, on our registers.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use devices::control::{Geometry, Message};
use devices::mmio::Action;
use devices::testing::Machine;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A device whose worker runs in a thread of its own. A copy is the same device: a driver keeps its
/// transport for good.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<Machine>>);

impl Wire {
    pub fn new(machine: Machine) -> Self {
        Self(Rc::new(RefCell::new(machine)))
    }

    fn machine(&self) -> Ref<'_, Machine> {
        self.0.borrow()
    }

    fn machine_mut(&self) -> RefMut<'_, Machine> {
        self.0.borrow_mut()
    }

    fn write(&self, offset: u64, value: u32) {
        let mut machine = self.machine_mut();
        match machine.driver.write(offset, value) {
            Some(Action::Start(start)) => machine.send(&Message::Start(start).encode()),
            Some(Action::Stop) => {
                machine.send(&Message::Stop.encode());
                machine.finish_reset();
            }
            Some(Action::Kick(queue)) => machine.kick(queue.into()),
            None => {}
        }
    }
}

impl Transport for Wire {
    fn device_type(&self) -> DeviceType {
        DeviceType::try_from(self.machine().driver.read(0x008)).unwrap()
    }

    fn read_device_features(&mut self) -> u64 {
        self.machine_mut().driver.offered()
    }

    fn write_driver_features(&mut self, features: u64) {
        self.machine_mut().driver.accept(features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(0x030, queue.into());
        self.machine().driver.read(0x034)
    }

    fn notify(&mut self, queue: u16) {
        self.write(0x050, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.machine().driver.read(0x070))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(0x070, status.bits());
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        available: PhysAddr,
        used: PhysAddr,
    ) {
        let size = u16::try_from(size).unwrap();
        self.machine_mut()
            .driver
            .place(queue.into(), &Geometry { size, descriptors, available, used });
        assert_eq!(self.machine().driver.read(0x044), 1, "queue {queue} is not ready");
    }

    fn queue_unset(&mut self, queue: u16) {
        self.write(0x030, queue.into());
        self.write(0x044, 0);
        assert_eq!(self.machine().driver.read(0x044), 0, "queue {queue} is ready");
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(0x030, queue.into());
        self.machine().driver.read(0x044) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let pending = self.machine().driver.read(0x060);
        self.write(0x064, pending);
        InterruptStatus::from_bits_retain(pending)
    }

    fn read_config_generation(&self) -> u32 {
        self.machine().driver.read(0x0fc)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        self.machine().driver.registers.read(0x100 + offset as u64, value.as_mut_bytes());
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<()> {
        self.machine_mut().driver.registers.write(0x100 + offset as u64, value.as_bytes());
        Ok(())
    }
}
