//! From the steps of a program to the accesses of a bare guest.
//!
//! A program's memory is the guest's first 32 KiB, byte by byte at the same addresses. What a program has
//! past the end of its memory is past the end of the guest's, as far.

use bare::virtio::{register, set};
use bare::{Op, Width};
use serde::Serialize;
use steps::queue::{END, Queue};
use steps::{CONSOLE, DISK, Disturbance, Machine, Store};

use super::rings::Rings;

/// The guest's memory in bytes.
pub const MEMORY: u64 = 64 << 20;
/// The most bytes that a guest's program may have: the rest of its memory is for them.
pub const LONGEST: usize = 48 << 20;
/// How far an address past the end of a program's memory is moved.
const SHIFT: u64 = MEMORY - END;
/// Exit code of a guest whose device did not serve a plain request after a reset.
pub const NOT_SERVED: u8 = 1;

/// Reads while a device may have work to do: some hundred milliseconds.
const PATIENT: u64 = 1 << 20;
/// Reads while nothing says that a device has work to do.
const BRIEF: u64 = 1 << 12;

/// What a program does that a guest can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Writes of registers, kicks not among them.
    pub register_writes: usize,
    /// Writes of memory.
    pub memory_writes: usize,
    /// Kicks.
    pub kicks: usize,
    /// Addresses past the end of memory, moved to be past the end of the guest's.
    pub moved: usize,
    /// Bytes that are typed: all of them before the guest begins.
    pub typed: usize,
}

/// What a program does that no guest can do; none of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Messages of a vcpu worker that was taken over.
    pub control_messages: usize,
    /// Images that fail or are short.
    pub failing_images: usize,
    /// Memory that another vCPU changes while the image is used.
    pub racing_writes: usize,
    /// Readers of the console that go away.
    pub gone_readers: usize,
    /// Bytes that are typed after the end of the input, or on the kernel's log.
    pub typed: usize,
}

/// A guest in the making.
#[derive(Debug)]
pub struct Script {
    /// What it does.
    pub ops: Vec<Op>,
    /// What is typed.
    pub typed: Vec<u8>,
    /// What is done.
    pub done: Done,
    /// What is left out.
    pub left_out: LeftOut,
    listens: bool,
    memory: Vec<u8>,
    rings: [Rings; 2],
    /// The device was started, and the program has not let it come to rest since.
    fresh: [bool; 2],
}

impl Script {
    /// A guest that clears the memory of its program. `log`: nothing can be typed.
    pub fn new(log: bool) -> Self {
        let memory = vec![0; usize::try_from(END).unwrap_or(0)];
        Self {
            ops: vec![Op::Bytes { addr: 0, data: memory.clone() }],
            typed: Vec::new(),
            done: Done::default(),
            left_out: LeftOut::default(),
            listens: !log,
            memory,
            rings: [Rings::default(), Rings::default()],
            fresh: [false; 2],
        }
    }

    /// The program's end: what the devices still have to do is waited for.
    pub fn finish(&mut self) {
        self.settle(DISK);
        self.settle(CONSOLE);
        self.ops.push(wait([0, 2], PATIENT / 8));
    }

    fn push_set(&mut self, device: usize, offset: u64, value: u64) {
        self.ops.push(set(number(device), offset, value));
    }

    /// A device looks at its rings when it is started: in a program, when it comes to rest for the first
    /// time after that; a guest's does at once. So the guest has it look again.
    fn look_again(&mut self, device: usize) {
        if std::mem::take(&mut self.fresh[device]) {
            self.move_buffers(device);
            self.push_set(device, register::QUEUE_NOTIFY, 0);
            self.push_set(device, register::QUEUE_NOTIFY, 1);
        }
    }

    /// Rings that do not lie in a program's memory must not lie in the guest's.
    fn move_ring(&mut self, device: usize) {
        let Some(ring) = self.rings[device].selected().copied() else { return };
        let parts = ring.parts.into_iter().zip(ring.lengths());
        for ((at, len), offset) in parts.zip([0x080, 0x090, 0x0a0]) {
            if let Some(moved) = moved(at, len) {
                self.push_set(device, offset, moved);
                self.done.moved += 1;
            }
        }
    }

    /// Nor may buffers.
    fn move_buffers(&mut self, device: usize) {
        for ring in self.rings[device].rings.into_iter().filter(|ring| ring.ready) {
            for index in 0..u64::from(ring.size) {
                let at = ring.parts[0].wrapping_add(16 * index);
                let Some([address, len]) = self.descriptor(at) else { break };
                if let Some(moved) = moved(address, len) {
                    self.ops.push(Op::Write { width: Width::Quad, addr: at, value: moved });
                    self.done.moved += 1;
                }
            }
        }
    }

    /// Address and length of the descriptor at an address.
    fn descriptor(&self, at: u64) -> Option<[u64; 2]> {
        let at = usize::try_from(at).ok()?;
        let (address, rest) = self.memory.get(at..at.checked_add(12)?)?.split_first_chunk()?;
        Some([u64::from_le_bytes(*address), u32::from_le_bytes(*rest.first_chunk()?).into()])
    }
}

/// Where something has to be that is past the end of memory, and would not be past the guest's.
fn moved(at: u64, len: u64) -> Option<u64> {
    let end = at.checked_add(len)?;
    (len > 0 && end > END && at < MEMORY).then(|| at + SHIFT)
}

fn wait([a, b]: [u64; 2], bound: u64) -> Op {
    Op::Await { width: Width::Word, a, b, bound }
}

/// The number of a device in the guest: the console is first.
fn number(device: usize) -> u8 {
    u8::from(device == DISK)
}

impl Store for Script {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let Ok(start) = usize::try_from(at) else { return };
        let place = start.checked_add(bytes.len()).and_then(|end| self.memory.get_mut(start..end));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
            self.ops.push(Op::Bytes { addr: at, data: bytes.to_vec() });
            self.done.memory_writes += 1;
        }
    }
}

impl Machine for Script {
    fn set(&mut self, device: usize, offset: u64, value: u32) {
        if offset == register::QUEUE_READY && value & 1 != 0 {
            self.move_ring(device);
        }
        let was_started = self.rings[device].started;
        let stops = offset == register::STATUS && value == 0
            || offset == register::QUEUE_READY && value & 1 == 0;
        if was_started && stops {
            self.settle(device);
        }
        self.rings[device].set(offset, value);
        self.fresh[device] = self.rings[device].started && (self.fresh[device] || !was_started);
        self.push_set(device, offset, value.into());
        self.done.register_writes += 1;
    }

    fn kick(&mut self, device: usize, queue: usize) {
        self.move_buffers(device);
        self.push_set(device, register::QUEUE_NOTIFY, if queue == 0 { 0 } else { 1 });
        self.done.kicks += 1;
    }

    fn settle(&mut self, device: usize) {
        self.look_again(device);
        let rings = &self.rings[device];
        if !rings.started {
            return;
        }
        for ring in &rings.rings {
            let bound = if rings.served(device).contains(ring) { PATIENT } else { BRIEF };
            self.ops.extend(ring.indices().map(|indices| wait(indices, bound)));
        }
    }

    fn say(&mut self, _: usize, _: &[u8]) {
        self.left_out.control_messages += 1;
    }

    fn disturb(&mut self, _: usize, what: Disturbance) {
        match what {
            Disturbance::Short(_) | Disturbance::Fails(..) => self.left_out.failing_images += 1,
            Disturbance::Meanwhile(..) => self.left_out.racing_writes += 1,
            Disturbance::ReaderGone => self.left_out.gone_readers += 1,
            Disturbance::InputEnds => self.listens = false,
            Disturbance::Typed(bytes) if self.listens => {
                self.done.typed += bytes.len();
                self.typed.extend(bytes);
            }
            Disturbance::Typed(bytes) => self.left_out.typed += bytes.len(),
        }
    }

    fn calm(&mut self, _: usize) {}

    fn prove(&mut self, device: usize, queues: &[Queue; 2]) {
        let addr = queues[usize::from(device != DISK)].geometry.used + 2;
        let (width, mask, value) = (Width::Word, 0xffff, 1);
        let (bound, code) = (PATIENT, NOT_SERVED);
        self.ops.push(Op::Poll { width, addr, mask, value, bound, code });
    }

    fn end(&mut self, _: usize) {}
}
