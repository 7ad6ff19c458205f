//! Target `frames`: the agent's frames through the console worker's loop, against the protocol.
//!
//! The guest sends frames, whole or in pieces, and the host reads its streams, closes them, types
//! and sends signals. A model of both ends of [`protocol::frame`] knows what each may do: what the
//! command wrote has to come out to the byte, what it may not send has to end the guest.

use std::cell::RefCell;
use std::rc::Rc;

use devices::bounds::Bounds;
use devices::channel::{Channel, Life};
use devices::console::IDENTITY;
use devices::orders::Order;
use devices::serve::{ConsoleLoop, Inputs, Joined, Line, News, Turn};
use devices::testing::Machine;
use devices::violation::{Fault, Violation};
use devices::visible::Form;
use protocol::frame::{Decoder, Failure, FromGuest, FromHost, Stream, VERSION};

use crate::bytes::Bytes;
use crate::model::agent::Agent;
use crate::rig::{Guest, Part, Queue, Store, WRITE};
use crate::streams::Pipe;

/// Where the guest's output is, a page, and where its input buffers are.
const OUTPUT: u64 = 0x3000;
const INPUT: u64 = 0x4000;
const ROOM: u32 = 256;
const SIZE: u16 = 64;

/// The host's streams: stdout, stderr, stdin, orders.
struct Rig {
    guest: Guest,
    machine: Machine,
    pipes: [Pipe; 4],
}

thread_local! {
    static RIG: RefCell<Rig> = {
        let guest = Guest::default();
        let (machine, _) = Machine::new(guest.memory, IDENTITY);
        RefCell::new(Rig { guest, machine, pipes: Default::default() })
    };
}

/// A frame that is mostly in turn.
fn frame(program: &mut Bytes<'_>, model: &Agent) -> Vec<u8> {
    let in_turn = match (model.lives.last(), program.below(8)) {
        (None, _) => FromGuest::Hello(VERSION),
        (Some(Life::Up), 0..=5) => FromGuest::Started,
        (_, 0) => FromGuest::Credit(u32::from(program.half())),
        _ => {
            let stream = program.one_of(&[Stream::Stdout, Stream::Stderr]);
            let most = usize::try_from(model.granted[stream as usize - 1]).unwrap();
            let len = usize::from(program.half()).min(most).min(3000);
            let fill = program.byte();
            return FromGuest::Data(stream, &vec![fill; len]).encode().as_bytes().to_vec();
        }
    };
    if !program.rarely() {
        return in_turn.encode().as_bytes().to_vec();
    }
    let any = match program.below(10) {
        0 => FromGuest::Hello(program.byte()),
        1 => FromGuest::Started,
        2 => FromGuest::Credit(program.word()),
        3 => FromGuest::Closed,
        4 | 5 => FromGuest::Exited(program.byte()),
        6 => FromGuest::Signaled(program.byte()),
        7 => FromGuest::Failed(Failure::NotFound, "no such file\u{9b}\n"),
        8 => FromGuest::Data(Stream::Stdin, b"x"),
        _ => return program.take(usize::from(program.clone().byte() & 15) + 1).to_vec(),
    };
    any.encode().as_bytes().to_vec()
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    decode(bytes);
    RIG.with_borrow_mut(|rig| {
        rig.guest.clear();
        drive(rig, Bytes::new(bytes));
    });
}

/// What the decoder takes for a frame, of either direction, is one to the bit.
fn decode(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    let mut at = 0;
    while decoder.fill(&mut rest) == Ok(true) {
        let now = bytes.len() - rest.len();
        let (frame, start) = (&bytes[at..now], at);
        at = now;
        if let Ok(decoded) = decoder.from_guest() {
            same(decoded.encode().as_bytes(), frame, start);
        }
        if let Ok(decoded) = decoder.from_host() {
            same(decoded.encode().as_bytes(), frame, start);
        }
    }
}

/// The detail byte has no meaning in some kinds.
fn same(encoded: &[u8], frame: &[u8], start: usize) {
    assert_eq!((encoded[0], &encoded[2..]), (frame[0], &frame[2..]), "the frame at {start}");
}

type Told = Rc<RefCell<Vec<Life>>>;

/// The loop under test.
fn consoles(
    link: devices::link::Link<'static>,
    pipes: &[Pipe; 4],
    told: Told,
) -> ConsoleLoop<'static, impl FnMut(News<'_>) -> Result<(), Fault> + use<>> {
    let [stdout, stderr, stdin, orders] = pipes;
    let channel = Channel::new(stdout.writer(), stderr.writer())
        .within(Bounds::NONE)
        .in_forms([Form::Exact; 2]);
    let line = Line::new(link, Joined::Channel(Box::new(channel)));
    let inputs = Inputs { stdin: Some(stdin.reader()), orders: Some(orders.reader()) };
    ConsoleLoop::new(vec![line], inputs, move |news| {
        if let News::Life(life) = news {
            told.borrow_mut().push(life.clone());
        }
        Ok(())
    })
}

fn drive(rig: &mut Rig, mut program: Bytes<'_>) {
    let Rig { guest, machine, pipes } = rig;
    pipes.iter_mut().for_each(Pipe::renew);
    let told = Told::default();
    machine.drain();
    let mut served = consoles(machine.again(), pipes, told.clone());
    let mut queues = [Queue::new(0x400, SIZE), Queue::new(0x1400, SIZE)];
    let mut input = Input::default();
    machine.driver.negotiate(0);
    for (index, queue) in (0..).zip(&queues) {
        machine.driver.place(index, &queue.geometry);
    }
    let Some(devices::mmio::Action::Start(start)) = machine.driver.add_status(4) else { panic!() };
    machine.send(&devices::control::Message::Start(start).encode());
    for _ in 0..SIZE {
        input.offer(guest, &mut queues[0]);
    }
    let mut model = Agent::default();
    let mut step = Step { guest, machine, pipes, queues, input, out: Default::default() };
    let mut wire: Vec<u8> = Vec::new();
    while !program.is_empty() {
        match program.below(16) {
            0..=8 => wire.extend(frame(&mut program, &model)),
            9 if program.rarely() => step.pipes[program.below(2)].close_reader(),
            10 if program.rarely() => step.pipes[2].close_writer(),
            11 | 12 => {
                let len = program.below(64);
                let typed = program.take(len);
                // No more than the pipe holds.
                if step.pipes[2].is_written() && model.typed.len() < 16_000 {
                    step.pipes[2].write(typed);
                    model.typed.extend_from_slice(typed);
                }
            }
            13 => {
                let number = program.byte();
                step.pipes[3].write(&Order::Signal(number).encode());
                let live = !matches!(model.lives.last(), Some(Life::Ended(_)));
                if (1..=64).contains(&number) && live {
                    model.signals |= 1 << (number - 1);
                }
            }
            14 => {
                let size = (u16::from(program.byte()), u16::from(program.byte()));
                step.pipes[3].write(&Order::Resize(size.0, size.1).encode());
                if !matches!(model.lives.last(), Some(Life::Ended(_))) {
                    model.size = Some(size);
                }
            }
            _ => {}
        }
        step.rest(&mut served, &mut model, &[]);
        // A chain holds what it holds, whatever frames are.
        let count = if program.rarely() { program.below(4096) } else { 4096 };
        let now: Vec<u8> = wire.drain(..count.min(wire.len())).collect();
        if !step.rest(&mut served, &mut model, &now) {
            return;
        }
        assert_eq!(*told.borrow(), model.lives, "what the launcher is told");
    }
}

/// What a step of a program needs.
struct Step<'a> {
    guest: &'a mut Guest,
    machine: &'a Machine,
    pipes: &'a mut [Pipe; 4],
    queues: [Queue; 2],
    input: Input,
    out: [Vec<u8>; 2],
}

impl Step<'_> {
    /// Sends bytes, lets the loop come to rest and compares. False: the guest is over.
    fn rest<F: FnMut(News<'_>) -> Result<(), Fault>>(
        &mut self,
        served: &mut ConsoleLoop<'static, F>,
        model: &mut Agent,
        bytes: &[u8],
    ) -> bool {
        if !bytes.is_empty() {
            self.guest.write(OUTPUT, bytes);
            let len = u32::try_from(bytes.len()).unwrap();
            self.queues[1].add(self.guest, &[Part { address: OUTPUT, len, flags: 0 }]);
            self.machine.kick(1);
        }
        let expected = model.hear(bytes);
        assert_eq!(settle(served), expected, "frames");
        if expected.is_err() {
            return false;
        }
        for (index, out) in self.out.iter_mut().enumerate() {
            self.pipes[index].drain(out);
            let sent = &model.sent[index];
            assert!(sent.starts_with(out), "stream {index} differs");
            let gone = !self.pipes[index].is_read();
            assert!(gone || sent.len() == out.len(), "stream {index} is short");
        }
        let Self { guest, machine, pipes, queues, input, .. } = self;
        input.hear(guest, &mut queues[0], |frame| model.said(frame, pipes));
        machine.kick(0);
        true
    }
}

/// Turns until there is nothing to do. The work of a program's step is bounded, so are its turns.
fn settle<F: FnMut(News<'_>) -> Result<(), Fault>>(
    served: &mut ConsoleLoop<'static, F>,
) -> Result<(), Violation> {
    for _ in 0..1000 {
        match served.turn(false) {
            Ok(Turn::Idle) => return Ok(()),
            Ok(_) => {}
            Err(Fault::Violation(violation)) => return Err(violation),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the loop does not come to rest");
}

/// The guest's receive queue.
#[derive(Default)]
struct Input {
    decoder: Decoder,
    used: u16,
    slots: u16,
}

impl Input {
    /// Makes the next buffer available.
    fn offer(&mut self, guest: &mut Guest, queue: &mut Queue) {
        let address = INPUT + u64::from(ROOM) * u64::from(self.slots % SIZE);
        self.slots = self.slots.wrapping_add(1);
        queue.add(guest, &[Part { address, len: ROOM, flags: WRITE }]);
    }

    /// Reads what came, and makes its buffers available again.
    fn hear(&mut self, guest: &mut Guest, queue: &mut Queue, mut hear: impl FnMut(&FromHost<'_>)) {
        guest.learn();
        let used = queue.geometry.used;
        while guest.ram.half(used + 2) != self.used {
            let slot = used + 4 + 8 * u64::from(self.used % SIZE);
            let head = u32::from_le_bytes(guest.ram.read(slot));
            let len = u32::from_le_bytes(guest.ram.read(slot + 4));
            assert_eq!(head, u32::from(self.used % SIZE));
            let at = INPUT + u64::from(ROOM) * u64::from(head);
            let bytes = guest.ram.bytes(at, len.into()).to_vec();
            let mut rest = &bytes[..];
            while self.decoder.fill(&mut rest).expect("the host sends frames") {
                hear(&self.decoder.from_host().expect("the host sends its own frames"));
            }
            self.used = self.used.wrapping_add(1);
            self.offer(guest, queue);
        }
    }
}
