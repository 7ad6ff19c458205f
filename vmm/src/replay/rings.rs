//! Where a guest has its rings, by what it wrote to the registers: for knowing what to wait for, and which
//! addresses are past the end of memory.

use steps::DISK;
use steps::queue::END;

/// One queue as far as the driver has told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// The driver says it is in use.
    pub ready: bool,
    /// Number of descriptors.
    pub size: u32,
    /// Table, available ring, used ring.
    pub parts: [u64; 3],
}

impl Ring {
    /// Bytes of each part.
    pub fn lengths(&self) -> [u64; 3] {
        let size = u64::from(self.size);
        [16 * size, 6 + 2 * size, 6 + 8 * size]
    }

    /// Addresses of the available and of the used index, if both are in a program's memory.
    pub fn indices(&self) -> Option<[u64; 2]> {
        let [_, available, used] = self.parts;
        let inside = |at: &u64| *at <= END - 4 && at.is_multiple_of(2);
        (self.ready && self.size > 0 && inside(&available) && inside(&used))
            .then_some([available + 2, used + 2])
    }
}

/// The queues of one device.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    /// The queue that the next registers are about.
    pub selected: usize,
    /// The queues.
    pub rings: [Ring; 2],
    /// The driver says that it is ready.
    pub started: bool,
}

impl Rings {
    /// The queue that is selected, if there is one.
    pub fn selected(&mut self) -> Option<&mut Ring> {
        self.rings.get_mut(self.selected)
    }

    /// The driver writes a register.
    pub fn set(&mut self, offset: u64, value: u32) {
        match offset {
            0x070 if value == 0 => *self = Self::default(),
            0x070 => self.started |= value & 4 != 0,
            0x030 => self.selected = usize::try_from(value).unwrap_or(usize::MAX),
            // Taking a queue back from a device that runs resets it.
            0x044 if self.started && value & 1 == 0 => *self = Self::default(),
            _ if self.started => {}
            _ => self.place(offset, value),
        }
    }

    fn place(&mut self, offset: u64, value: u32) {
        let Some(ring) = self.selected() else { return };
        let part = match offset {
            0x038 => {
                ring.size = if value.is_power_of_two() && value <= 256 { value } else { ring.size };
                return;
            }
            0x044 => {
                ring.ready = value & 1 != 0;
                return;
            }
            0x080..0x088 => &mut ring.parts[0],
            0x090..0x098 => &mut ring.parts[1],
            0x0a0..0x0a8 => &mut ring.parts[2],
            _ => return,
        };
        match offset % 8 {
            0 => *part = *part & !0xffff_ffff | u64::from(value),
            4 => *part = *part & 0xffff_ffff | u64::from(value) << 32,
            _ => {}
        }
    }

    /// The queues whose requests are all used sooner or later: not a console's room for input.
    pub fn served(&self, device: usize) -> &[Ring] {
        if device == DISK { &self.rings[..1] } else { &self.rings[1..] }
    }
}
