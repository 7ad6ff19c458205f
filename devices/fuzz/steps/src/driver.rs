//! What a driver of each device offers, and what may happen on the host's side.

use devices::blk::Shape;
use devices::console;
use devices::mmio::Identity;

use crate::bytes::Bytes;
use crate::queue::{END, Part, Queue, WRITE, cut, fill, place};
use crate::{Disturbance, Store};

/// Sectors of the image.
pub const SECTORS: u64 = 8;

const HEADER: u32 = 16;

/// What a program does with one device.
pub trait Driver {
    /// What the device is.
    fn identity(&self) -> Identity;
    /// Where its rings are.
    fn places(&self) -> [u64; 2];
    /// Makes something reasonable available.
    fn offer(&self, program: &mut Bytes<'_>, queues: &mut [Queue; 2], memory: &mut impl Store);
    /// Something happens on the host's side, or nothing.
    fn disturb(&self, program: &mut Bytes<'_>) -> Option<Disturbance>;
    /// Makes one plain request available, and says on which queue it has to be kicked.
    fn prove(&self, queues: &mut [Queue; 2], memory: &mut impl Store) -> usize;
}

/// A block device's.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Writes are refused.
    pub read_only: bool,
}

impl Driver for Disk {
    fn identity(&self) -> Identity {
        Shape { sectors: SECTORS, read_only: self.read_only }.identity()
    }

    fn places(&self) -> [u64; 2] {
        [0x200, 0x200]
    }

    fn offer(&self, program: &mut Bytes<'_>, queues: &mut [Queue; 2], memory: &mut impl Store) {
        offer_request(program, memory, &mut queues[0]);
    }

    fn disturb(&self, program: &mut Bytes<'_>) -> Option<Disturbance> {
        Some(disturb_disk(program))
    }

    /// A read of the first sector, to [`PROOF`] and 16 bytes on, its status behind.
    fn prove(&self, queues: &mut [Queue; 2], memory: &mut impl Store) -> usize {
        memory.write(PROOF, &[0; 16]);
        let header = Part { address: PROOF, len: HEADER, flags: 0 };
        let data = Part { address: PROOF + u64::from(HEADER), len: 513, flags: WRITE };
        queues[0].add(memory, &[header, data]);
        0
    }
}

/// A console's.
#[derive(Clone, Copy, Debug)]
pub struct Console;

impl Driver for Console {
    fn identity(&self) -> Identity {
        console::IDENTITY
    }

    fn places(&self) -> [u64; 2] {
        [0x2000, 0x2800]
    }

    fn offer(&self, program: &mut Bytes<'_>, queues: &mut [Queue; 2], memory: &mut impl Store) {
        let [receive, transmit] = queues;
        if program.byte() & 3 == 0 {
            offer_room(program, memory, receive);
        } else {
            offer_output(program, memory, transmit);
        }
    }

    fn disturb(&self, program: &mut Bytes<'_>) -> Option<Disturbance> {
        match program.below(8) {
            0 if program.rarely() => Some(Disturbance::ReaderGone),
            1 if program.rarely() => Some(Disturbance::InputEnds),
            _ => {
                let len = program.below(64);
                let typed = program.take(len);
                (!typed.is_empty()).then(|| Disturbance::Typed(typed.to_vec()))
            }
        }
    }

    /// Writes `proof`, and makes room for 64 bytes.
    fn prove(&self, [receive, transmit]: &mut [Queue; 2], memory: &mut impl Store) -> usize {
        memory.write(PROOF + 0x800, b"proof");
        transmit.add(memory, &[Part { address: PROOF + 0x800, len: 5, flags: 0 }]);
        receive.add(memory, &[Part { address: PROOF + 0x900, len: 64, flags: WRITE }]);
        1
    }
}

/// Where the buffers of plain requests are.
pub const PROOF: u64 = 0x7000;

/// What may happen to an image.
pub fn disturb_disk(program: &mut Bytes<'_>) -> Disturbance {
    match program.below(4) {
        0 => Disturbance::Short(program.one_of(&[1, 7, 100, 511, 512, 513, usize::MAX])),
        1 | 2 => {
            let error =
                program.one_of(&[libc::EINTR, libc::EIO, libc::ENOSPC, libc::EFBIG, libc::EAGAIN]);
            Disturbance::Fails(program.below(3), error)
        }
        _ => {
            let at = u64::from(program.half()) % (END - 16);
            Disturbance::Meanwhile(at, program.byte())
        }
    }
}

/// Makes a request available, well formed and mostly reasonable.
pub fn offer_request(program: &mut Bytes<'_>, memory: &mut impl Store, queue: &mut Queue) {
    let kind = program.one_of(&[0, 1, 1, 4, 8, 0, 11, 1]);
    let kind = if program.rarely() { program.word() } else { kind };
    let sector = if program.rarely() { program.edge() } else { program.below(9) as u64 };
    let mut len = 512 * u32::from(program.byte() % 4);
    if program.rarely() {
        len = u32::from(program.half()) % 4500;
    }
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    let at = place(program).min(END - 0x800);
    memory.write(at, &header);
    let mut parts = Vec::new();
    let data = at + u64::from(HEADER);
    match kind {
        1 => {
            let first = program.byte();
            fill(memory, data, len, first);
            cut(&mut parts, program, at, HEADER + len, 0);
            parts.push(Part { address: data + u64::from(len), len: 1, flags: WRITE });
        }
        _ => {
            let room = if kind == 8 { u32::from(program.byte()) % 40 } else { len };
            parts.push(Part { address: at, len: HEADER, flags: 0 });
            let room = if kind == 4 { 0 } else { room };
            cut(&mut parts, program, data, room + 1, WRITE);
        }
    }
    if program.rarely() {
        // Without one of its parts.
        parts.remove(program.below(parts.len()));
    }
    queue.add(memory, &parts);
}

/// Makes output available: a chain of up to three parts.
pub fn offer_output(program: &mut Bytes<'_>, memory: &mut impl Store, queue: &mut Queue) {
    let at = place(program);
    let len = u32::from(program.half()) % 600;
    let first = program.byte();
    fill(memory, at, len, first);
    let mut parts = Vec::new();
    cut(&mut parts, program, at, len, 0);
    if program.rarely() {
        parts.push(Part { address: at, len: 9, flags: WRITE });
    }
    queue.add(memory, &parts);
}

/// Makes room for input available.
pub fn offer_room(program: &mut Bytes<'_>, memory: &mut impl Store, queue: &mut Queue) {
    let mut parts = Vec::new();
    if program.rarely() {
        parts.push(Part { address: place(program), len: 5, flags: 0 });
    }
    let (at, len) = (place(program), u32::from(program.half()) % 300);
    cut(&mut parts, program, at, len, WRITE);
    queue.add(memory, &parts);
}
