//! Target `console`: a console's two queues and a port with a limited appetite, against the model.

use devices::console::{Console, QUEUE_SIZE};
use devices::ring::Ring;
use devices::testing::Mouth;
use steps::driver::{offer_output, offer_room};

use crate::bytes::Bytes;
use crate::model;
use crate::rig::{Guest, Queue};

/// Runs one program.
pub fn run(bytes: &[u8]) {
    Guest::with(|guest| drive(guest, Bytes::new(bytes)));
}

/// Both sides of the two queues.
struct Rings {
    queues: [Queue; 2],
    rings: [Ring; 2],
    models: [model::ring::Ring; 2],
}

impl Rings {
    fn new(guest: &mut Guest, size: u16) -> Self {
        let mut queues = [Queue::new(0x400, size), Queue::new(0x1400, size)];
        queues.iter_mut().for_each(|queue| queue.clear(guest));
        let geometries = queues.each_ref().map(|queue| queue.geometry);
        Self {
            queues,
            rings: geometries.map(|at| Ring::start(guest.memory, at, QUEUE_SIZE).unwrap()),
            models: geometries
                .map(|at| model::ring::Ring::start(&guest.ram, at, QUEUE_SIZE).unwrap()),
        }
    }
}

fn drive(guest: &mut Guest, mut program: Bytes<'_>) {
    let size = 1 << program.below(7);
    let mut rings = Rings::new(guest, size);
    let (mut console, mut mouth) = (Console::default(), Mouth::default());
    let mut model = model::console::Console::default();
    while !program.is_empty() {
        let Rings { queues: [receive, transmit], .. } = &mut rings;
        match program.below(16) {
            0..=4 => offer_output(&mut program, guest, transmit),
            5 | 6 => offer_room(&mut program, guest, receive),
            7 | 8 => mouth.room += usize::from(program.byte()),
            9 => mouth.room += 1 << 20,
            10 | 11 => {
                let len = program.below(64);
                let typed = program.take(len);
                mouth.waiting.extend_from_slice(typed);
                model.typed.extend(typed);
            }
            12 => transmit.break_it(guest, &mut program),
            13 => receive.break_it(guest, &mut program),
            14 if program.rarely() => {
                console.stop();
                model.stop();
                rings = Rings::new(guest, size);
            }
            _ => {}
        }
        let [ring_in, ring_out] = &mut rings.rings;
        let [model_in, model_out] = &mut rings.models;
        let room = mouth.room as u64;
        let transmitted = loop {
            match console.transmit(guest.memory, ring_out, &mut mouth) {
                Ok(progress) if progress.more => {}
                result => break result.map(drop),
            }
        };
        let expected = model.transmit(&mut guest.ram, model_out, room).map(drop);
        assert_eq!(transmitted, expected);
        assert!(model.output == mouth.eaten, "output differs");
        model.read_all();
        let received = Console::receive(guest.memory, ring_in, &mut mouth).map(drop);
        let expected = model.receive(&mut guest.ram, model_in).map(drop);
        assert_eq!(received, expected);
        if transmitted.is_err() || received.is_err() {
            return;
        }
        guest.check("console");
    }
}
