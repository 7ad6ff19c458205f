//! A guest's accesses to its first disk and its first console, as a program of the fuzz target `whole`.
//!
//! For `--record`, and not there without it. Runs in the vcpu worker, where the registers are, and sees
//! what the guest sees: whatever it finds in the guest's memory it takes for untrue. It writes to one file that
//! the launcher has opened, at most [`MOST`] bytes, before the device hears of the access, so that the
//! access that ended a worker is in the file. [`copy`] has what is taken out of rings and buffers.

mod copy;

use std::os::fd::OwnedFd;

use devices::Memory;
use devices::control::{Geometry, MAX_QUEUES, Start};
use devices::mmio::{Action, QUEUE_READY, Registers};
use rustix::io::{Errno, retry_on_intr};
use steps::record::{Program, place};
use steps::{CONSOLE, DISK};

use crate::plan::{Device, Plan};
use crate::status::{Record, Recorded, Stopped};
use copy::Queue;

/// The most that a record may be long, in bytes.
pub const MOST: u64 = 4 << 20;

/// What one access adds at most, in bytes: two queues with all of their descriptors, and all buffers. It is
/// there from the start, so that nothing is allocated later.
const ONE: usize = 64 << 10;

/// A record in the making.
#[derive(Debug)]
pub struct Recorder {
    memory: Memory,
    file: OwnedFd,
    written: u64,
    /// What is not written yet of one access.
    program: Program,
    lost: Recorded,
    /// Where it is told what was lost, and how much that was the last time.
    tell: fn(&Record),
    told: u64,
    /// The devices by their indices: the program's device, if it has one for it, and the sizes of its queues.
    devices: Vec<Option<(usize, &'static [u16])>>,
    /// The queues of the program's two devices, once those are started.
    queues: [[Option<Queue>; MAX_QUEUES]; 2],
}

impl Recorder {
    /// A record of `plan`'s virtual machine with this memory. `tell`: to the launcher, seldom.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(
        plan: &Plan,
        memory: Memory,
        file: OwnedFd,
        tell: fn(&Record),
    ) -> Result<Self, Errno> {
        let disk = plan.devices.iter().position(|device| matches!(device, Device::Blk(_)));
        let console = plan.devices.iter().position(|device| *device == Device::Console);
        let devices = plan.devices.iter().enumerate().map(|(index, device)| {
            let number = match Some(index) {
                first if first == disk => DISK,
                first if first == console => CONSOLE,
                _ => return None,
            };
            Some((number, device.identity().queues))
        });
        let read_only = disk.and_then(|index| plan.devices.get(index));
        let read_only = matches!(read_only, Some(Device::Blk(shape)) if shape.read_only);
        let mut recorder = Self {
            memory,
            file,
            written: 0,
            program: Program::begin(read_only),
            lost: Recorded::default(),
            tell,
            told: 0,
            devices: devices.collect(),
            queues: [[None, None], [None, None]],
        };
        recorder.program.bytes.reserve(ONE);
        recorder.write()?;
        Ok(recorder)
    }

    /// Device `index`'s registers have taken a write of `data` at `offset`; nothing has come of it yet.
    pub fn note(
        &mut self,
        index: usize,
        (offset, data): (u64, &[u8]),
        registers: &Registers<'_>,
        action: Option<&Action>,
    ) {
        if self.lost.stopped != Stopped::No {
            return;
        }
        let device = self.devices.get(index).copied().flatten();
        match (device, <[u8; 4]>::try_from(data)) {
            (None, _) => self.lost.other_devices += 1,
            (Some(_), Err(_)) => self.lost.odd_widths += 1,
            (Some((device, sizes)), Ok(value)) => {
                let value = u32::from_le_bytes(value);
                match action {
                    Some(Action::Kick(queue)) => self.kick(device, usize::from(*queue)),
                    _ => self.set(device, sizes, (offset, value), registers, action),
                }
                self.flush();
            }
        }
        self.tell();
    }

    fn set(
        &mut self,
        device: usize,
        sizes: &[u16],
        (offset, value): (u64, u32),
        registers: &Registers<'_>,
        action: Option<&Action>,
    ) {
        if offset == QUEUE_READY
            && value & 1 == 1
            && let Some((queue, geometry)) = registers.placed()
        {
            self.move_queue(device, queue, geometry, sizes);
        }
        self.program.set(device, offset, value);
        match action {
            Some(Action::Start(start)) => self.start(device, start, sizes),
            Some(Action::Stop) => self.queues[device] = [None, None],
            _ => {}
        }
    }

    /// Moves a queue that lies in the guest's memory to its place in the program's. One that does not stays
    /// where it is, which is not in the program's either.
    fn move_queue(&mut self, device: usize, queue: usize, real: Geometry, sizes: &[u16]) {
        if Queue::new(&self.memory, device, queue, real, sizes).is_none() {
            return;
        }
        let Geometry { descriptors, available, used, .. } = place(device, queue, real.size);
        for (offset, address) in [(0x080, descriptors), (0x090, available), (0x0a0, used)] {
            // A program's memory ends far below 4 GiB.
            self.program.set(device, offset, u32::try_from(address).unwrap_or(u32::MAX));
            self.program.set(device, offset + 4, 0);
        }
        self.program.word(available, [0; 8]);
        self.program.word(used, [0; 8]);
    }

    /// A device looks at its rings as it is started.
    fn start(&mut self, device: usize, start: &Start, sizes: &[u16]) {
        for (queue, geometry) in start.queues.iter().enumerate() {
            self.queues[device][queue] =
                geometry.and_then(|real| Queue::new(&self.memory, device, queue, real, sizes));
            if self.queues[device][queue].as_ref().is_some_and(|queue| queue.has_more(&self.memory))
            {
                self.kick(device, queue);
            }
        }
    }

    fn kick(&mut self, device: usize, queue: usize) {
        let (memory, program) = (&self.memory, &mut self.program);
        if let Some(copied) = self.queues[device].get_mut(queue).and_then(Option::as_mut) {
            copied.copy(memory, program, &mut self.lost);
        }
        program.kick(device, queue);
    }

    /// Writes what has gathered, unless there is no room for it: half an access means nothing.
    fn flush(&mut self) {
        let len = u64::try_from(self.program.bytes.len()).unwrap_or(u64::MAX);
        if len > MOST.saturating_sub(self.written) {
            self.lost.stopped = Stopped::Full;
        } else if let Err(errno) = self.write() {
            self.lost.stopped = Stopped::Failed(errno.raw_os_error());
        }
    }

    fn write(&mut self) -> Result<(), Errno> {
        let mut rest = &self.program.bytes[..];
        while !rest.is_empty() {
            let len = retry_on_intr(|| rustix::io::write(&self.file, rest))?;
            if len == 0 {
                return Err(Errno::NOSPC);
            }
            self.written += u64::try_from(len).unwrap_or(u64::MAX);
            rest = rest.get(len..).unwrap_or_default();
        }
        self.program.bytes.clear();
        Ok(())
    }

    /// Tells what is lost: at the first, each time it has doubled, and when the record stops.
    fn tell(&mut self) {
        let all = self.lost.all();
        if all >= self.told.saturating_mul(2).max(1) || self.lost.stopped != Stopped::No {
            self.told = all;
            (self.tell)(&Record::Recorded(self.lost));
        }
    }
}
