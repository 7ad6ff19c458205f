//! What a kick makes known: the chains behind it, moved to a program's memory.
//!
//! The descriptors keep their indices, flags and links, so a broken chain is as broken in the program. Each
//! is read once for a kick at most, so a chain that bites its tail or shares its descriptors with others costs no more.
//! A buffer in the guest's memory gets a place in the program's, and what the device would read of it is
//! copied; one that is not in memory stays where it is, which is not in the program's memory either.

use devices::Memory;
use devices::control::Geometry;
use devices::ring::Ring;
use steps::CONSOLE;
use steps::queue::END;
use steps::record::{BULK, Program, ROOM, ROOM_LEN, place};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::status::Recorded;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// The most descriptors of a queue.
const DESCRIPTORS: usize = 256;
/// What every buffer has room for, in bytes, whatever the others take: a request's header and status.
const SHARE: u64 = 16;
/// What all buffers of a kick have room for together, beyond that.
const SPARE: u64 = END - BULK - 256 * SHARE;
/// What is cut off a disk's data, when something has to be, leaves whole sectors.
const SECTOR: u64 = 512;

/// A queue of a device that is started.
#[derive(Debug)]
pub struct Queue {
    /// Where the guest has it. It is in memory.
    real: Geometry,
    /// Where the program has it.
    place: Geometry,
    /// A console's first: nothing is typed in a program, so what it makes available stays.
    is_room: bool,
    /// The available index as it was last seen.
    seen: u16,
    /// Room for input is no longer copied.
    is_full: bool,
}

/// One descriptor as the guest has it.
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// Room for the buffers of one kick.
struct Room {
    at: u64,
    spare: u64,
}

impl Queue {
    /// The queue that the guest has at `real`, if its device can serve it there. `sizes`: the most descriptors
    /// of each of the device's queues.
    pub fn new(
        memory: &Memory,
        device: usize,
        queue: usize,
        real: Geometry,
        sizes: &[u16],
    ) -> Option<Self> {
        Ring::start(memory, real, *sizes.get(queue)?).ok()?;
        let is_room = (device, queue) == (CONSOLE, 0);
        Some(Self {
            real,
            place: place(device, queue, real.size),
            is_room,
            seen: 0,
            is_full: false,
        })
    }

    /// True when more is available than was seen.
    pub fn has_more(&self, memory: &Memory) -> bool {
        half(memory, self.real.available + 2) != self.seen
    }

    /// Copies what is newly available.
    pub fn copy(&mut self, memory: &Memory, program: &mut Program, lost: &mut Recorded) {
        let index = half(memory, self.real.available + 2);
        let first = std::mem::replace(&mut self.seen, index);
        let count = index.wrapping_sub(first);
        if self.is_room && self.is_beyond(memory, first, count) {
            lost.input_room += u64::from(count);
            return;
        }
        let (mut seen, mut room) = ([false; DESCRIPTORS], Room { at: BULK, spare: SPARE });
        let mut last = None;
        for nth in 0..count.min(self.real.size) {
            let slot = u64::from(first.wrapping_add(nth) % self.real.size);
            let mut head = half(memory, self.real.available + 4 + 2 * slot);
            while let Some(new) = seen.get_mut(usize::from(head)).filter(|seen| !**seen)
                && head < self.real.size
            {
                *new = true;
                let descriptor = self.copy_one(head, memory, program, (&mut room, lost));
                if descriptor.flags & NEXT == 0 {
                    break;
                }
                head = descriptor.next;
            }
            let word = (4 + 2 * slot) / 8;
            if last.replace(word) != Some(word) && word != 0 {
                self.copy_available(word, memory, program);
            }
        }
        // Flags, index and the first two slots: what makes all of it known.
        self.copy_available(0, memory, program);
    }

    /// True for room that the program's ring does not have, since nothing in it was ever used. What a ring
    /// cannot hold here either is for the device to refuse, there too.
    fn is_beyond(&mut self, memory: &Memory, first: u16, count: u16) -> bool {
        let used = half(memory, self.real.used + 2);
        let sound = first.wrapping_add(count).wrapping_sub(used) <= self.real.size;
        self.is_full |= sound && count > self.real.size.saturating_sub(first);
        sound && self.is_full
    }

    /// Eight bytes of the available ring, of which the last word may have less.
    fn copy_available(&self, word: u64, memory: &Memory, program: &mut Program) {
        let len = (6 + 2 * u64::from(self.real.size) - 8 * word).min(8);
        let bytes = eight(memory, self.real.available + 8 * word, len);
        program.word(self.place.available + 8 * word, bytes);
    }

    /// One descriptor and its buffer.
    fn copy_one(
        &self,
        index: u16,
        memory: &Memory,
        program: &mut Program,
        (room, lost): (&mut Room, &mut Recorded),
    ) -> Descriptor {
        let at = 16 * u64::from(index);
        let [address, rest] =
            [0, 8].map(|part| eight(memory, self.real.descriptors + at + part, 8));
        let ([l0, l1, l2, l3, f0, f1, n0, n1], real) = (rest, u64::from_le_bytes(address));
        let descriptor = Descriptor {
            address: real,
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        };
        let (mut address, mut len) = (descriptor.address, descriptor.len);
        let in_memory = usize::try_from(len)
            .is_ok_and(|len| memory.check_range(GuestAddress(descriptor.address), len));
        if in_memory && len > 0 {
            let fits;
            (address, fits) = match self.is_room {
                true => (ROOM + ROOM_LEN * u64::from(index), ROOM_LEN.min(len.into())),
                false => room.take(len.into()),
            };
            len = u32::try_from(fits).unwrap_or(len);
            lost.clipped += u64::from(len < descriptor.len);
            if descriptor.flags & WRITE == 0 {
                copy_buffer(memory, descriptor.address, program, address, fits);
            }
        }
        let at = self.place.descriptors + at;
        program.word(at, address.to_le_bytes());
        let [l0, l1, l2, l3] = len.to_le_bytes();
        program.word(at + 8, [l0, l1, l2, l3, f0, f1, n0, n1]);
        descriptor
    }
}

impl Room {
    /// A place for a buffer of `len` bytes, more than none, and how many of them have room.
    fn take(&mut self, len: u64) -> (u64, u64) {
        let least = len.min(SHARE);
        let mut fits = least + (len - least).min(self.spare);
        if fits < len && fits > SECTOR {
            fits -= fits % SECTOR;
        }
        let at = self.at;
        self.at += fits.next_multiple_of(8);
        self.spare = self.spare.saturating_sub(fits.next_multiple_of(8).saturating_sub(SHARE));
        (at, fits)
    }
}

fn copy_buffer(memory: &Memory, from: u64, program: &mut Program, to: u64, len: u64) {
    for at in (0..len).step_by(8) {
        program.word(to + at, eight(memory, from + at, (len - at).min(8)));
    }
}

/// `len` bytes of memory, at most eight; zero where there is none.
fn eight(memory: &Memory, at: u64, len: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    if let Some(bytes) = usize::try_from(len).ok().and_then(|len| bytes.get_mut(..len)) {
        // Where it fails nothing was there to be recorded.
        let _ = memory.read_slice(bytes, GuestAddress(at));
    }
    bytes
}

/// Two bytes of memory.
fn half(memory: &Memory, at: u64) -> u16 {
    let [low, high, ..] = eight(memory, at, 2);
    u16::from_le_bytes([low, high])
}
