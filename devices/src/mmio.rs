//! virtio-mmio: the registers of one device.
//!
//! virtio 1.2 §4.2.2, version 2. A pure state machine: it reads no guest memory, holds no
//! descriptor and does no I/O. What has to happen outside comes back as an [`Action`].
//!
//! | offset | register | driver may write |
//! |---|---|---|
//! | 0x000 | MagicValue, Version, DeviceID, VendorID | |
//! | 0x010 | DeviceFeatures, DeviceFeaturesSel | Sel |
//! | 0x020 | DriverFeatures, DriverFeaturesSel | between DRIVER and FEATURES_OK |
//! | 0x030 | QueueSel, QueueNumMax, QueueNum, QueueReady | between FEATURES_OK and DRIVER_OK |
//! | 0x050 | QueueNotify | after DRIVER_OK |
//! | 0x060 | InterruptStatus, InterruptACK | ACK |
//! | 0x070 | Status | see [`Registers::write`] |
//! | 0x080 | queue addresses | between FEATURES_OK and DRIVER_OK, queue not ready |
//! | 0x0b0 | SHMLen, SHMBase: −1, there is no shared memory | |
//! | 0x0fc | ConfigGeneration: 0, the configuration never changes | |
//! | 0x100 | configuration space | |
//!
//! Registers below 0x100 take aligned accesses of 32 bits; whatever else the driver tries reads as
//! zero and writes nothing. A queue's geometry is frozen at DRIVER_OK: it leaves here once, by value.
//! A driver that takes a queue back after that, by writing 0 to its QueueReady, stops the whole
//! device (§4.2.2.2 has it wait until the register reads 0): drivers do so before a reset only.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::{Geometry, MAX_QUEUES, Start};

/// Size of a device's register block in bytes.
pub const SIZE: u64 = 0x1000;
/// Offset of QueueReady.
pub const QUEUE_READY: u64 = 0x044;
/// Offset of QueueNotify, which the virtual machine answers without this state machine.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Feature VERSION_1: no legacy driver.
pub const VERSION_1: u64 = 1 << 32;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
const VENDOR: u32 = 0x4d53_4143;
const CONFIG: u64 = 0x100;

/// Device status bits (§2.1).
pub mod status {
    /// The guest noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The guest has a driver for it.
    pub const DRIVER: u32 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u32 = 8;
    /// The driver gave up.
    pub const FAILED: u32 = 128;
}

/// What a device is, as the transport presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device type (§5).
    pub device: u32,
    /// Features offered.
    pub features: u64,
    /// The largest size of each queue.
    pub queues: &'static [u16],
    /// Configuration space; beyond it reads as zero.
    pub config: [u8; 16],
}

/// What the state machine cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The driver is ready: start the device.
    Start(Start),
    /// The driver reset a started device, or took a queue back from it: stop the device, then call
    /// [`Registers::reset`].
    Stop,
    /// The driver made buffers of this queue available.
    Kick(u16),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Queue {
    ready: bool,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

impl Queue {
    fn geometry(&self) -> Geometry {
        let Self { size, descriptors, available, used, .. } = *self;
        Geometry { size, descriptors, available, used }
    }
}

/// The registers of one device.
#[derive(Debug)]
pub struct Registers<'a> {
    identity: Identity,
    interrupt: &'a AtomicU32,
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    queues: [Queue; MAX_QUEUES],
}

impl<'a> Registers<'a> {
    /// A device after reset. `interrupt` is its InterruptStatus, which the device sets bits in.
    pub fn new(identity: Identity, interrupt: &'a AtomicU32) -> Self {
        Self {
            identity,
            interrupt,
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            queues: [Queue::default(); MAX_QUEUES],
        }
    }

    /// Back to the state after power-on (§2.4), once the device has stopped.
    pub fn reset(&mut self) {
        self.interrupt.store(0, Ordering::Release);
        *self = Self::new(self.identity, self.interrupt);
    }

    /// The device status register.
    pub fn status(&self) -> u32 {
        self.status
    }

    /// The queue that is selected, and where the driver has placed it so far; none if there is no such queue.
    pub fn placed(&self) -> Option<(usize, Geometry)> {
        let queue = self.selected()?;
        Some((usize::try_from(self.queue_sel).ok()?, queue.geometry()))
    }

    /// Reads `data.len()` bytes at `offset`.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset >= CONFIG {
            let from = usize::try_from(offset - CONFIG).unwrap_or(usize::MAX);
            let config = self.identity.config.get(from..).unwrap_or_default();
            data.iter_mut().zip(config).for_each(|(to, from)| *to = *from);
        } else if data.len() == 4 && offset.is_multiple_of(4) {
            data.copy_from_slice(&self.register(offset).to_le_bytes());
        }
    }

    fn register(&self, offset: u64) -> u32 {
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => self.identity.device,
            0x00c => VENDOR,
            0x010 => half(self.identity.features, self.device_features_sel),
            0x034 => self.selected_max().map_or(0, u32::from),
            0x044 => self.selected().map_or(0, |queue| u32::from(queue.ready)),
            0x060 => self.interrupt.load(Ordering::Acquire),
            0x070 => self.status,
            0x0b0 | 0x0b4 | 0x0b8 | 0x0bc => u32::MAX,
            _ => 0,
        }
    }

    /// Writes `data` at `offset`. The configuration space is read-only.
    ///
    /// Status (§2.1.1, §3.1.1): writing 0 resets. Any other write has to keep the bits that are set
    /// and add the next ones in the order ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK; FAILED may
    /// come at any time. FEATURES_OK stays clear when the driver's features are not acceptable.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Action> {
        let value = u32::from_le_bytes(data.try_into().ok()?);
        match offset {
            0x014 => self.device_features_sel = value,
            0x020 if self.negotiating() => {
                set_half(&mut self.driver_features, self.driver_features_sel, value);
            }
            0x024 => self.driver_features_sel = value,
            0x030 => self.queue_sel = value,
            QUEUE_NOTIFY => return self.kick(value),
            0x064 => {
                self.interrupt.fetch_and(!value, Ordering::AcqRel);
            }
            0x070 => return self.set_status(value),
            0x044 if self.is_started() => {
                let taken_back = value & 1 == 0 && self.selected().is_some_and(|queue| queue.ready);
                return taken_back.then_some(Action::Stop);
            }
            0x038 | 0x044 | 0x080..=0x0a4 => self.set_queue(offset, value),
            _ => {}
        }
        None
    }

    fn is_started(&self) -> bool {
        self.status & status::DRIVER_OK != 0
    }

    fn negotiating(&self) -> bool {
        self.status & (status::DRIVER | status::FEATURES_OK) == status::DRIVER
    }

    fn configuring(&self) -> bool {
        let bits = status::FEATURES_OK | status::DRIVER_OK | status::FAILED;
        self.status & bits == status::FEATURES_OK
    }

    fn kick(&self, index: u32) -> Option<Action> {
        let queue = usize::try_from(index).ok().and_then(|index| self.queues.get(index))?;
        (self.is_started() && queue.ready).then_some(Action::Kick(u16::try_from(index).ok()?))
    }

    fn set_status(&mut self, value: u32) -> Option<Action> {
        const ORDER: [u32; 4] =
            [status::ACKNOWLEDGE, status::DRIVER, status::FEATURES_OK, status::DRIVER_OK];
        if value == 0 {
            if self.is_started() {
                return Some(Action::Stop);
            }
            self.reset();
            return None;
        }
        let known = ORDER.iter().fold(status::FAILED, |bits, bit| bits | bit);
        let in_order = ORDER.windows(2).all(|pair| value & pair[1] == 0 || value & pair[0] != 0);
        let dead = self.status & status::FAILED != 0;
        if value & !known != 0 || value & self.status != self.status || !in_order || dead {
            return None;
        }
        let mut added = value & !self.status;
        if added & status::FEATURES_OK != 0 && !self.features_acceptable() {
            added &= !(status::FEATURES_OK | status::DRIVER_OK);
        }
        self.status |= added;
        if added & status::DRIVER_OK == 0 || self.status & status::FAILED != 0 {
            return None;
        }
        Some(Action::Start(self.start()))
    }

    fn features_acceptable(&self) -> bool {
        self.driver_features & !self.identity.features == 0 && self.driver_features & VERSION_1 != 0
    }

    fn start(&self) -> Start {
        let geometry = |queue: &Queue| queue.ready.then(|| queue.geometry());
        Start {
            features: self.driver_features,
            queues: std::array::from_fn(|index| self.queues.get(index).and_then(geometry)),
        }
    }

    fn selected_max(&self) -> Option<u16> {
        let index = usize::try_from(self.queue_sel).ok()?;
        self.identity.queues.get(index).copied()
    }

    fn selected(&self) -> Option<&Queue> {
        self.selected_max()?;
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    fn set_queue(&mut self, offset: u64, value: u32) {
        let Some(max) = self.selected_max() else { return };
        let Ok(index) = usize::try_from(self.queue_sel) else { return };
        let configuring = self.configuring();
        let Some(queue) = self.queues.get_mut(index).filter(|_| configuring) else { return };
        match offset {
            0x044 => queue.ready = value & 1 == 1 && queue.size != 0,
            _ if queue.ready => {}
            0x038 => {
                if let Ok(size) = u16::try_from(value)
                    && size.is_power_of_two()
                    && size <= max
                {
                    queue.size = size;
                }
            }
            0x080 => set_half(&mut queue.descriptors, 0, value),
            0x084 => set_half(&mut queue.descriptors, 1, value),
            0x090 => set_half(&mut queue.available, 0, value),
            0x094 => set_half(&mut queue.available, 1, value),
            0x0a0 => set_half(&mut queue.used, 0, value),
            0x0a4 => set_half(&mut queue.used, 1, value),
            _ => {}
        }
    }
}

/// Bits 0–31 of `word` for `select` 0, bits 32–63 for 1, nothing for any other.
fn half(word: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

fn set_half(word: &mut u64, select: u32, value: u32) {
    match select {
        0 => *word = (u64::from(half(*word, 1)) << 32) | u64::from(value),
        1 => *word = (u64::from(value) << 32) | u64::from(half(*word, 0)),
        // A driver may write the words that do not exist: whatever it says there was not offered.
        _ => {}
    }
}
