//! From accesses to a program: [`play`](crate::play) backwards, for a guest whose accesses are recorded.
//!
//! A program's memory is 32 KiB, so what a guest has anywhere in its own is moved to these places:
//!
//! | from | what |
//! |---|---|
//! | 0x200 | the disk's queue, up to 256 descriptors |
//! | 0x2000, 0x2800 | the console's, up to 64 each |
//! | [`ROOM`] | room for input, [`ROOM_LEN`] bytes for each descriptor of the console's first queue |
//! | [`BULK`] to [`END`](crate::queue::END) | every other buffer, anew for each kick, since a device comes to rest before the next |

use devices::control::Geometry;

use crate::registers::{OFFSETS, VALUES};
use crate::{CONSOLE, DISK};

/// Where room for input is.
pub const ROOM: u64 = 0x3000;
/// How much of it a descriptor has, in bytes.
pub const ROOM_LEN: u64 = 64;
/// Where all other buffers are.
pub const BULK: u64 = 0x4000;

/// Steps, as `Seat::step` has them.
const SET: u8 = 19;
const WORD: u8 = 26;
/// Nothing but the kick of a queue, and rest, that follow every step; its parity is the queue's.
const REST: u8 = 28;
/// A step that is heard of later.
const LATER: u8 = 0x60;

/// What [`Bytes::rarely`](crate::bytes::Bytes::rarely) takes for a yes.
const RARELY: u8 = 0xf0;
/// The kinds of [`Bytes::edge`](crate::bytes::Bytes::edge) that are a byte, and eight.
const NEAR: u8 = 0;
const LONG: u8 = 5;

/// A program that ends with the virtual machine, and needs no proof of its devices.
const KNOBS: u8 = 0xfc;

/// A program in the making, or a piece of one.
#[derive(Debug, Default)]
pub struct Program {
    /// What is written so far.
    pub bytes: Vec<u8>,
}

impl Program {
    /// The beginning of a program whose devices are as after power-on. `read_only`: the disk is.
    pub fn begin(read_only: bool) -> Self {
        let mut program = Self { bytes: vec![KNOBS | u8::from(read_only)] };
        // The knobs that spare the proof have the devices brought up.
        program.set(DISK, 0x070, 0);
        program.set(CONSOLE, 0x070, 0);
        program
    }

    /// The guest writes a register, below 0x1000.
    pub fn set(&mut self, device: usize, offset: u64, value: u32) {
        self.step(device, SET | LATER);
        match (OFFSETS.iter().position(|known| *known == offset), u8::try_from(offset)) {
            (Some(index), _) => self.index(index),
            (None, Ok(near)) => self.bytes.extend([RARELY, near, NEAR]),
            (None, Err(_)) => {
                self.bytes.extend([RARELY, 0, LONG]);
                self.bytes.extend(offset.to_le_bytes());
            }
        }
        match VALUES.iter().position(|known| *known == value) {
            Some(index) => self.index(index),
            None => {
                self.bytes.push(RARELY);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    /// The guest writes eight bytes of memory at `at`, below 32 KiB.
    pub fn word(&mut self, at: u64, bytes: [u8; 8]) {
        self.step(DISK, WORD | LATER);
        self.bytes.extend(u16::try_from(at).unwrap_or(u16::MAX).to_le_bytes());
        self.bytes.extend(bytes);
    }

    /// The guest kicks a queue of a device that is started, and the device comes to rest.
    pub fn kick(&mut self, device: usize, queue: usize) {
        self.step(device, if queue == 0 { REST } else { REST | 1 });
    }

    fn step(&mut self, device: usize, choice: u8) {
        self.bytes.push(choice << 1 | u8::from(device != DISK));
    }

    /// One of those that are likely.
    fn index(&mut self, index: usize) {
        self.bytes.extend([0, u8::try_from(index).unwrap_or_default()]);
    }
}

/// Where a program has the queue of a guest's that has `size` descriptors. Its rings begin at multiples of
/// eight, so that no word that is written is part of two.
pub fn place(device: usize, queue: usize, size: u16) -> Geometry {
    let descriptors = match (device, queue) {
        (DISK, _) => 0x200,
        (_, 0) => 0x2000,
        _ => 0x2800,
    };
    let available = descriptors + 16 * u64::from(size);
    let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(8);
    Geometry { size, descriptors, available, used }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::{Knobs, play};
    use crate::queue::{END, Queue};
    use crate::{Disturbance, Machine, Store};

    /// What a program came to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Did {
        Set(usize, u64, u32),
        Write(u64, Vec<u8>),
        Kick(usize, usize),
        Settle(usize),
        End(usize),
        Other,
    }

    #[derive(Default)]
    struct Log(Vec<Did>);

    impl Store for Log {
        fn write(&mut self, at: u64, bytes: &[u8]) {
            self.0.push(Did::Write(at, bytes.to_vec()));
        }
    }

    impl Machine for Log {
        fn set(&mut self, device: usize, offset: u64, value: u32) {
            self.0.push(Did::Set(device, offset, value));
        }
        fn kick(&mut self, device: usize, queue: usize) {
            self.0.push(Did::Kick(device, queue));
        }
        fn settle(&mut self, device: usize) {
            self.0.push(Did::Settle(device));
        }
        fn say(&mut self, _: usize, _: &[u8]) {
            self.0.push(Did::Other);
        }
        fn disturb(&mut self, _: usize, _: Disturbance) {
            self.0.push(Did::Other);
        }
        fn calm(&mut self, _: usize) {
            self.0.push(Did::Other);
        }
        fn prove(&mut self, _: usize, _: &[Queue; 2]) {
            self.0.push(Did::Other);
        }
        fn end(&mut self, device: usize) {
            self.0.push(Did::End(device));
        }
    }

    fn played(program: &Program) -> Vec<Did> {
        let mut log = Log::default();
        play(&program.bytes, &mut log);
        log.0
    }

    #[test]
    fn what_is_recorded_is_what_is_played() {
        let mut expected = Vec::new();
        let mut program = Program::begin(false);
        let mut begun = played(&program);
        assert!(begun.ends_with(&[
            Did::Set(DISK, 0x70, 0),
            Did::Set(CONSOLE, 0x70, 0),
            Did::End(DISK),
            Did::End(CONSOLE)
        ]));
        for device in [DISK, CONSOLE] {
            for offset in OFFSETS.into_iter().chain([0, 1, 0x3e, 0xff, 0x101, 0xffe, 0xfff]) {
                for value in VALUES.into_iter().chain([5, 0xf0, 0x1234_5678, u32::MAX - 1]) {
                    program.set(device, offset, value);
                    expected.push(Did::Set(device, offset, value));
                }
            }
            for at in [0, 1, 0x200, 0x7ff8, 0x7fff] {
                let bytes = [0xff, 1, 2, 3, 0, 0x60, 6, 7];
                program.word(at, bytes);
                expected.push(Did::Write(at, bytes.to_vec()));
            }
            for queue in if device == DISK { 0..1 } else { 0..2 } {
                program.kick(device, queue);
                expected.extend([Did::Kick(device, queue), Did::Settle(device)]);
            }
        }
        begun.truncate(begun.len() - 2);
        let all = played(&program);
        assert_eq!(all[..begun.len()], begun);
        assert_eq!(all[begun.len()..all.len() - 2], expected);
        for read_only in [false, true] {
            let knobs = Knobs::of(&Program::begin(read_only).bytes);
            assert!(knobs.end && !knobs.log && knobs.read_only == read_only);
        }
    }

    /// As many descriptors as each device's queues have at most.
    #[test]
    fn places_share_no_byte() {
        let mut parts = vec![(ROOM, ROOM + 64 * ROOM_LEN), (BULK, END)];
        for (device, queue, size) in [(DISK, 0, 256), (CONSOLE, 0, 64), (CONSOLE, 1, 64)] {
            let Geometry { descriptors, available, used, .. } = place(device, queue, size);
            let n = u64::from(size);
            parts.push((descriptors, descriptors + 16 * n));
            parts.push((available, (available + 6 + 2 * n).next_multiple_of(8)));
            parts.push((used, (used + 6 + 8 * n).next_multiple_of(8)));
        }
        parts.sort_unstable();
        assert!(parts.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{parts:x?}");
        assert!(parts.iter().all(|(start, end)| start % 8 == 0 && *end <= END));
    }
}
