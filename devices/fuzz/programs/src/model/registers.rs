//! The registers by the standard (virtio 1.2 §2.1, §3.1.1, §4.2.2), as tables.

use devices::control::{Geometry, Start};
use devices::mmio::{Action, Identity, VERSION_1};

/// Statuses a driver can be in, and the bits that it may add next. FAILED (128) may always come.
const STEPS: [(u32, &[u32]); 5] =
    [(0, &[1, 3, 11, 15]), (1, &[3, 11, 15]), (3, &[11, 15]), (11, &[15]), (15, &[])];

/// A queue as the driver has it so far.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    ready: bool,
    size: u16,
    /// Table, available ring, used ring.
    parts: [u64; 3],
}

/// The registers.
#[derive(Clone, Debug)]
pub struct Registers {
    identity: Identity,
    /// Device status.
    pub status: u32,
    features: u64,
    selected: [u32; 3],
    queues: [Queue; 2],
}

impl Registers {
    /// After power-on.
    pub fn new(identity: Identity) -> Self {
        let queues = [Queue::default(); 2];
        Self { identity, status: 0, features: 0, selected: [0; 3], queues }
    }

    /// What a read of the register at `offset` gives, if it is one that the standard lets a driver
    /// read and that only the driver changes.
    pub fn read(&self, offset: u64) -> Option<u32> {
        let [features, _, queue] = self.selected;
        let max = usize::try_from(queue).ok().and_then(|queue| self.identity.queues.get(queue));
        Some(match offset {
            0x000 => 0x7472_6976,
            0x004 => 2,
            0x008 => self.identity.device,
            0x010 if features < 2 => low(self.identity.features >> (32 * features)),
            0x010 => 0,
            0x034 => max.copied().map_or(0, u32::from),
            0x044 => {
                let queue = max.and(usize::try_from(queue).ok());
                queue.map_or(0, |queue| u32::from(self.queues[queue].ready))
            }
            0x070 => self.status,
            0x0fc => 0,
            _ => return None,
        })
    }

    /// The queue that is selected, and where it has been placed.
    pub fn placed(&self) -> Option<(usize, Geometry)> {
        let queue = usize::try_from(self.selected[2]).ok()?;
        self.identity.queues.get(queue)?;
        let Queue { size, parts: [descriptors, available, used], .. } = self.queues[queue];
        Some((queue, Geometry { size, descriptors, available, used }))
    }

    /// What a write of `value` to the register at `offset` does.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Action> {
        match offset {
            0x014 => self.selected[0] = value,
            0x024 => self.selected[1] = value,
            0x030 => self.selected[2] = value,
            0x020 if self.status & 0b1010 == 0b0010 && self.selected[1] < 2 => {
                let shift = 32 * self.selected[1];
                self.features &= !(0xffff_ffff << shift);
                self.features |= u64::from(value) << shift;
            }
            0x050 => {
                let index = u16::try_from(value).ok().filter(|index| *index < 2)?;
                let up = self.status & 4 != 0 && self.queues[usize::from(index)].ready;
                return up.then_some(Action::Kick(index));
            }
            0x070 => return self.set_status(value),
            0x044 if self.status & 4 != 0 => {
                let ready = self.read(0x044) == Some(1);
                return (ready && value & 1 == 0).then_some(Action::Stop);
            }
            _ if self.status == 11 => self.place(offset, value),
            _ => {}
        }
        None
    }

    /// Queue registers between FEATURES_OK and DRIVER_OK.
    fn place(&mut self, offset: u64, value: u32) {
        let Ok(index) = usize::try_from(self.selected[2]) else { return };
        let Some(&max) = self.identity.queues.get(index) else { return };
        let queue = &mut self.queues[index];
        let part = match offset {
            0x044 => {
                queue.ready = value & 1 != 0 && queue.size > 0;
                return;
            }
            _ if queue.ready => return,
            0x038 => {
                if value.is_power_of_two() && value <= u32::from(max) {
                    queue.size = u16::try_from(value).unwrap();
                }
                return;
            }
            0x080 | 0x084 => &mut queue.parts[0],
            0x090 | 0x094 => &mut queue.parts[1],
            0x0a0 | 0x0a4 => &mut queue.parts[2],
            _ => return,
        };
        let shift = if offset.is_multiple_of(8) { 0 } else { 32 };
        *part = *part & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    fn set_status(&mut self, value: u32) -> Option<Action> {
        let started = self.status & 4 != 0;
        if value == 0 {
            if !started {
                *self = Self::new(self.identity);
            }
            return started.then_some(Action::Stop);
        }
        let (_, next) = STEPS.iter().find(|step| step.0 == self.status)?;
        let steps = value & !128;
        if steps != self.status && !next.contains(&steps) {
            return None;
        }
        let unknown = self.features & !self.identity.features;
        let acceptable = unknown == 0 && self.features & VERSION_1 != 0;
        let steps = if steps & 8 != 0 && self.status & 8 == 0 && !acceptable { 3 } else { steps };
        self.status = steps | value & 128;
        (self.status == 15 && !started).then(|| Action::Start(self.start()))
    }

    fn start(&self) -> Start {
        let queues = self.queues.map(|queue| {
            let [descriptors, available, used] = queue.parts;
            queue.ready.then_some(Geometry { size: queue.size, descriptors, available, used })
        });
        Start { features: self.features, queues }
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap()
}
