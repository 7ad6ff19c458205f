//! Target `ring`: a virtqueue in any state of repair, against the model; and no byte of it is
//! fetched twice.

use devices::control::Geometry;
use devices::ring::Ring;

use crate::bytes::Bytes;
use crate::model;
use crate::rig::{END, Guest, Part, Queue};

const MAX: u16 = 64;

/// Runs one program.
pub fn run(bytes: &[u8]) {
    Guest::with(|guest| drive(guest, Bytes::new(bytes)));
}

/// Where a driver could put a queue, mostly.
fn geometry(program: &mut Bytes<'_>) -> Geometry {
    let mut geometry = Geometry {
        size: 1 << program.below(7),
        // Across the boundary of the ranges now and then.
        descriptors: program.one_of(&[0x1000, 0x1000, 0x5ff0, 0x5c10]),
        available: 0x200,
        used: program.one_of(&[0x400, 0x5e00]),
    };
    if program.rarely() {
        let part = program.below(4);
        let edge = if part == 3 { program.long() } else { END - program.edge() % 0x800 };
        match part {
            0 => geometry.descriptors = edge & !15,
            1 => geometry.available = edge & !1,
            2 => geometry.used = edge & !3,
            _ => geometry.size = edge.to_le_bytes()[0].into(),
        }
    }
    geometry
}

/// A buffer that is mostly good, and what comes after it.
fn part(program: &mut Bytes<'_>, index: u16, size: u16) -> (Part, u16) {
    let flags = program.one_of(&[0, 1, 1, 2, 3, 3, 0xfff8, 0]);
    let address = 0x800 + u64::from(program.byte()) * 16;
    let mut part = Part { address, len: u32::from(program.byte()), flags };
    let mut next = (index + 1) % size;
    if program.rarely() {
        match program.below(4) {
            0 => part.address = program.edge(),
            1 => part.len = program.word(),
            2 => part.flags = program.half(),
            _ => next = program.half(),
        }
    }
    (part, next)
}

fn drive(guest: &mut Guest, mut program: Bytes<'_>) {
    let geometry = geometry(&mut program);
    let started = Ring::start(guest.memory, geometry, MAX);
    let model = model::ring::Ring::start(&guest.ram, geometry, MAX);
    assert_eq!(started.as_ref().err(), model.as_ref().err(), "{geometry:?}");
    let (Ok(mut ring), Ok(mut model)) = (started, model) else { return };
    let (mut queue, size) = (Queue::placed(geometry), geometry.size);
    let mut popped = Vec::new();
    while !program.is_empty() {
        match program.below(8) {
            0..=2 => {
                let index = u16::from(program.byte()) % size;
                let (part, next) = part(&mut program, index, size);
                queue.describe(guest, index, part, next);
            }
            3..=5 => {
                let head = u16::from(program.byte());
                queue.offer(guest, if program.rarely() { head } else { head % size });
                if program.rarely() {
                    queue.publish(guest, program.half());
                }
                let watched = program.byte() & 7 == 0;
                if !pop(guest, &mut ring, &mut model, watched, &mut popped) {
                    return;
                }
            }
            6 => {
                let Some(head) = popped.pop() else { continue };
                let written = program.edge();
                ring.push(guest.memory, head, usize::try_from(written).unwrap()).unwrap();
                model.push(&mut guest.ram, head, written);
                guest.check("used ring");
            }
            _ => {
                queue.want_interrupts(guest, program.byte() & 1 == 0);
                let expected = model.wants_interrupt(&guest.ram);
                assert_eq!(ring.wants_interrupt(guest.memory), expected);
            }
        }
    }
}

/// Takes a chain, watched or not. False: the queue is broken, as the model says.
fn pop(
    guest: &Guest,
    ring: &mut Ring,
    model: &mut model::ring::Ring,
    watched: bool,
    popped: &mut Vec<u16>,
) -> bool {
    let expected = model.pop(&guest.ram);
    let (got, twice) = if watched {
        guest.watch(model.geometry.available, || ring.pop(guest.memory))
    } else {
        (ring.pop(guest.memory), None)
    };
    // A chain that was refused may have gone in a circle first.
    assert!(twice.is_none() || got.is_err(), "byte {:#x} was fetched twice", twice.unwrap_or(0));
    let (got, expected) = match (got, expected) {
        (Ok(Some(got)), Ok(Some(expected))) => (got, expected),
        (got, expected) => {
            let got = got.map(|chain| chain.map(|chain| chain.head));
            assert_eq!(got, expected.map(|chain| chain.map(|chain| chain.head)));
            return got.is_ok();
        }
    };
    assert_eq!(got.head, expected.head);
    for (buffer, runs) in [(&got.readable, &expected.readable), (&got.writable, &expected.writable)]
    {
        assert_eq!(buffer.len() as u64, model::ring::len(runs));
        // As many bytes as the piece has, from where the standard says that they are.
        let mut bytes = [0; 64];
        let count = buffer.read(3, &mut bytes);
        let mut same = Vec::new();
        model::ring::walk(runs, 3, 64, |at, len| {
            same.extend_from_slice(guest.ram.bytes(at, len));
        });
        assert_eq!(&bytes[..count], same);
    }
    popped.push(got.head);
    true
}
