//! The console worker's loop.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use devices::Memory;
use devices::bounds::Bounds;
use devices::channel::{Channel, End, Life};
use devices::console::{IDENTITY, QUEUE_SIZE};
use devices::control::Message;
use devices::kernel_log::KernelLog;
use devices::link::Link;
use devices::orders::Order;
use devices::raw::Raw;
use devices::serve::{ConsoleLoop, Dropped, Inputs, Joined, Line, News, Turn};
use devices::testing::{Machine, Part, SplitRing, memory};
use devices::violation::Fault;
use protocol::frame::{Decoder, FromGuest, FromHost, MAX_PAYLOAD, Stream, VERSION, WINDOW};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size, pipe};
use vm_memory::{Bytes, GuestAddress};

use super::ended;
use crate::Numbers;

pub(super) const NO_INPUT: Inputs = Inputs { stdin: None, orders: None };

/// What was told: a life, or the kernel's last words and whether they were a panic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Life(Life),
    Dropped(Dropped),
    KernelLog(Vec<u8>, bool),
}

/// A guest's side of one console.
pub(super) struct Guest {
    memory: &'static Memory,
    pub(super) machine: Machine,
    receive: SplitRing,
    transmit: SplitRing,
    /// Where this guest's buffers are.
    buffers: u64,
}

impl Guest {
    /// A guest with rings and buffers in the `index`th MiB of memory.
    fn new(memory: &'static Memory, index: u64) -> (Self, Link<'static>) {
        let (machine, link) = Machine::new(memory, IDENTITY);
        let base = index << 20;
        let receive = SplitRing::new(memory, base + 0x1000, QUEUE_SIZE);
        let transmit = SplitRing::new(memory, base + 0x4000, QUEUE_SIZE);
        (Self { memory, machine, receive, transmit, buffers: base + 0x8000 }, link)
    }

    pub(super) fn start(&mut self) {
        self.machine.start(0, &[&self.receive, &self.transmit]);
    }

    /// Writes bytes in a chain of its own, at the place of the chain's descriptor.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let at = self.buffers + 0x2000 * u64::from(self.transmit.next);
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        self.transmit.add(&[Part::Out(at, u32::try_from(bytes.len()).unwrap())]);
        self.machine.kick(1);
    }

    pub(super) fn say(&mut self, frame: FromGuest<'_>) {
        self.write(frame.encode().as_bytes());
    }

    /// Makes `count` buffers of 256 bytes available, without a kick.
    fn make_room(&mut self, count: usize) {
        for _ in 0..count {
            let at = self.buffers + 0x8_0000 + 0x100 * u64::from(self.receive.next);
            self.receive.add(&[Part::In(at, 0x100)]);
        }
    }

    /// What was written to the buffers, which are made available again.
    pub(super) fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut count = 0;
        while let Some((head, written)) = self.receive.take_used() {
            let mut piece = vec![0; usize::try_from(written).unwrap()];
            let at = self.buffers + 0x8_0000 + 0x100 * u64::from(head);
            self.memory.read_slice(&mut piece, GuestAddress(at)).unwrap();
            bytes.extend(piece);
            count += 1;
        }
        self.make_room(count);
        self.machine.kick(0);
        bytes
    }

    pub(super) fn written(&mut self) -> usize {
        std::iter::from_fn(|| self.transmit.take_used()).count()
    }
}

pub(super) type Tell = Box<dyn FnMut(News<'_>) -> Result<(), Fault>>;
pub(super) type Loop = ConsoleLoop<'static, Tell>;

fn consoles(lines: Vec<Line<'static>>, inputs: Inputs) -> (Loop, Receiver<Told>) {
    let (tell, told) = channel();
    let tell: Tell = Box::new(move |news| {
        let news = match news {
            News::Life(life) => Told::Life(life.clone()),
            News::Dropped(dropped) => Told::Dropped(dropped),
            News::KernelLog(tail, panicked) => Told::KernelLog(tail.to_vec(), panicked),
        };
        tell.send(news).unwrap();
        Ok(())
    });
    (ConsoleLoop::new(lines, inputs, tell), told)
}

/// Turns until there is nothing to do.
pub(super) fn settle(served: &mut Loop) {
    for _ in 0..100_000 {
        if served.turn(false).unwrap() == Turn::Idle {
            return;
        }
    }
    panic!("the loop does not come to rest");
}

pub(super) fn open_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

/// Reads what is there.
pub(super) fn drain(reader: &OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(reader, &mut piece) {
        bytes.extend_from_slice(&piece[..count]);
    }
    bytes
}

/// One console without the agent, and the reader of its output.
fn raw(inputs: Inputs) -> (Guest, Loop, OwnedFd) {
    let (guest, served, _told, reader) = raw_within(inputs, Bounds::NONE);
    (guest, served, reader)
}

/// The same within bounds, and what is told.
pub(super) fn raw_within(inputs: Inputs, bounds: Bounds) -> (Guest, Loop, Receiver<Told>, OwnedFd) {
    let (mut guest, link) = Guest::new(memory(&[(0, 2 << 20)]), 0);
    let (reader, stdout) = open_pipe();
    let raw = Raw::new(stdout).within(bounds);
    let (served, told) = consoles(vec![Line::new(link, Joined::Raw(raw))], inputs);
    guest.start();
    (guest, served, told, reader)
}

/// The agent's console and what it is joined to.
pub(super) struct Agent {
    pub(super) guest: Guest,
    pub(super) served: Loop,
    pub(super) told: Receiver<Told>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    decoder: Decoder,
}

fn agent(inputs: Inputs) -> Agent {
    agent_within(inputs, Bounds::NONE)
}

/// The same within bounds.
pub(super) fn agent_within(inputs: Inputs, bounds: Bounds) -> Agent {
    let (mut guest, link) = Guest::new(memory(&[(0, 2 << 20)]), 0);
    let [(stdout, out), (stderr, err)] = [open_pipe(), open_pipe()];
    let joined = Joined::Channel(Box::new(Channel::new(out, err).within(bounds)));
    let (served, told) = consoles(vec![Line::new(link, joined)], inputs);
    guest.start();
    Agent { guest, served, told, stdout, stderr, decoder: Decoder::default() }
}

impl Agent {
    /// Takes the agent up to a running command with all of its stdin granted.
    pub(super) fn run(&mut self) {
        self.guest.make_room(60);
        for frame in [FromGuest::Hello(VERSION), FromGuest::Started, FromGuest::Credit(WINDOW)] {
            self.guest.say(frame);
        }
        settle(&mut self.served);
        assert_eq!(self.hear().len(), 2);
    }

    /// What the host said, as text.
    pub(super) fn hear(&mut self) -> Vec<String> {
        let bytes = self.guest.read();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while self.decoder.fill(&mut rest).unwrap() {
            frames.push(match self.decoder.from_host().unwrap() {
                FromHost::Data(data) => String::from_utf8_lossy(data).into_owned(),
                other => format!("{other:?}"),
            });
        }
        frames
    }
}

#[test]
fn bytes_go_both_ways() {
    let (stdin, keyboard) = pipe().unwrap();
    let (mut guest, mut served, screen) = raw(Inputs { stdin: Some(stdin), orders: None });
    settle(&mut served);
    guest.write(b"hello ");
    guest.write(b"world");
    settle(&mut served);
    assert_eq!(drain(&screen), b"hello world");
    assert_eq!((guest.written(), guest.machine.take_interrupt()), (2, true));
    // Input that came while there was no buffer goes to the first that comes.
    rustix::io::write(&keyboard, b"typed").unwrap();
    settle(&mut served);
    guest.make_room(2);
    guest.machine.kick(0);
    settle(&mut served);
    assert_eq!((&guest.read()[..], guest.machine.take_interrupt()), (&b"typed"[..], true));
    // And input that comes to waiting buffers needs no kick.
    rustix::io::write(&keyboard, b"more").unwrap();
    settle(&mut served);
    assert_eq!(guest.read(), b"more");
    // The end of input is no byte, and no reason to turn on and on.
    drop(keyboard);
    settle(&mut served);
    assert_eq!(guest.read(), b"");
}

#[test]
fn input_that_the_guest_does_not_take_stays_outside() {
    let (stdin, keyboard) = pipe().unwrap();
    let room = fcntl_getpipe_size(&keyboard).unwrap();
    let (mut guest, mut served, _screen) = raw(Inputs { stdin: Some(stdin), orders: None });
    fcntl_setfl(&keyboard, OFlags::NONBLOCK).unwrap();
    let mut sent = 0;
    for _ in 0..100 {
        while let Ok(count) = rustix::io::write(&keyboard, &[b'x'; 4096]) {
            sent += count;
        }
        settle(&mut served);
    }
    assert!(sent <= room + 4096, "{sent} bytes were taken for a guest that takes none");
    let mut received = 0;
    guest.make_room(60);
    guest.machine.kick(0);
    while received < sent {
        settle(&mut served);
        received += guest.read().len();
    }
}

#[test]
fn a_slow_reader_holds_the_guest_and_loses_nothing() {
    let (mut guest, mut served, screen) = raw(NO_INPUT);
    let bytes = Numbers(8).bytes(60 * 8000);
    bytes.chunks(8000).for_each(|chunk| guest.write(chunk));
    settle(&mut served);
    let before = guest.written();
    assert!(before < 60);
    // The reader alone brings it on: there is no kick any more.
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let piece = drain(&screen);
        assert!(!piece.is_empty(), "stuck after {} bytes", received.len());
        received.extend(piece);
        settle(&mut served);
    }
    assert!(received == bytes);
    assert_eq!(before + guest.written(), 60);
}

#[test]
fn a_turn_writes_many_pieces_and_not_more_than_its_budget() {
    const BUDGET: usize = 64 * 1024;
    let (mut guest, mut served, screen) = raw(NO_INPUT);
    fcntl_setpipe_size(&screen, 16 * BUDGET).unwrap();
    settle(&mut served);
    (0..48).for_each(|_| guest.write(&[b'x'; 4096]));
    // What the sink holds, then all of that to the reader at once, and as much again to the sink.
    for written in [0, BUDGET, BUDGET] {
        assert_eq!(served.turn(true).unwrap(), Turn::Worked);
        assert_eq!((drain(&screen).len(), guest.written()), (written, BUDGET / 4096));
    }
}

#[test]
fn a_reader_that_goes_lets_the_guest_go_on() {
    let (mut guest, mut served, screen) = raw(NO_INPUT);
    for _ in 0..60 {
        guest.write(&[b'x'; 8000]);
    }
    settle(&mut served);
    let before = guest.written();
    assert!(before < 60);
    drop(screen);
    settle(&mut served);
    // Also the chain that was half sent when its reader went.
    assert_eq!(before + guest.written(), 60);
    guest.write(b"nobody hears");
    settle(&mut served);
    assert_eq!(guest.written(), 1);
}

#[test]
fn the_end_writes_what_the_guest_left_however_long_it_is() {
    let (mut guest, mut served, screen) = raw(NO_INPUT);
    let bytes = Numbers(9).bytes(60 * 8000);
    bytes.chunks(8000).for_each(|chunk| guest.write(chunk));
    // The guest ends with all of it in its ring, and its reader is slow.
    drop(guest.machine);
    fcntl_setfl(&screen, OFlags::empty()).unwrap();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        let mut piece = [0; 1000];
        while let Ok(count @ 1..) = rustix::io::read(&screen, &mut piece) {
            received.extend_from_slice(&piece[..count]);
        }
        received
    });
    assert_eq!(ended(|| served.run()), "ok");
    drop(served);
    let received = reader.join().unwrap();
    assert!(received == bytes, "{} of {} bytes", received.len(), bytes.len());
}

#[test]
fn a_reset_forgets_the_chain_in_hand_and_a_restart_works() {
    let (mut guest, mut served, screen) = raw(NO_INPUT);
    for _ in 0..60 {
        guest.write(&[b'x'; 8000]);
    }
    settle(&mut served);
    guest.machine.begin_reset();
    served.turn(false).unwrap();
    guest.machine.finish_reset();
    settle(&mut served);
    guest.receive = SplitRing::new(guest.memory, 0x1000, QUEUE_SIZE);
    guest.transmit = SplitRing::new(guest.memory, 0x4000, QUEUE_SIZE);
    guest.start();
    guest.write(b"again");
    let mut received = Vec::new();
    for _ in 0..100 {
        settle(&mut served);
        received.extend(drain(&screen));
    }
    let text = received.trim_ascii_start();
    assert!(text.ends_with(b"xagain"), "{:?}", text.last_chunk::<8>());
    assert!(text.len() < 60 * 8000);
    assert_eq!(guest.written(), 1);
}

#[test]
fn a_stuck_console_holds_no_other() {
    let memory = memory(&[(0, 4 << 20)]);
    let (mut stuck, stuck_link) = Guest::new(memory, 0);
    let (mut other, other_link) = Guest::new(memory, 1);
    let [(_reader, full), (log, file)] = [open_pipe(), open_pipe()];
    let lines = vec![
        Line::new(stuck_link, Joined::Raw(Raw::new(full))),
        Line::new(other_link, Joined::KernelLog(KernelLog::new(Some(file)))),
    ];
    let (mut served, _told) = consoles(lines, NO_INPUT);
    stuck.start();
    other.start();
    for _ in 0..60 {
        stuck.write(&[b'x'; 8000]);
    }
    settle(&mut served);
    assert!(stuck.written() < 60);
    other.write(b"alive");
    settle(&mut served);
    assert_eq!((&drain(&log)[..], other.written()), (&b"alive"[..], 1));
    // And it can still be reset itself.
    stuck.machine.begin_reset();
    served.turn(false).unwrap();
    stuck.machine.finish_reset();
}

#[test]
fn a_command_is_served_from_hello_to_its_end() {
    let (stdin, keyboard) = pipe().unwrap();
    let mut agent = agent(Inputs { stdin: Some(stdin), orders: None });
    agent.run();
    let told = |agent: &Agent| agent.told.try_iter().collect::<Vec<_>>();
    assert_eq!(told(&agent), [Told::Life(Life::Up), Told::Life(Life::Running)]);
    rustix::io::write(&keyboard, b"typed").unwrap();
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["typed"]);
    agent.guest.say(FromGuest::Data(Stream::Stdout, b"out"));
    agent.guest.say(FromGuest::Data(Stream::Stderr, b"err"));
    settle(&mut agent.served);
    assert_eq!((&drain(&agent.stdout)[..], &drain(&agent.stderr)[..]), (&b"out"[..], &b"err"[..]));
    drop(keyboard);
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["End"]);
    agent.guest.say(FromGuest::Exited(7));
    settle(&mut agent.served);
    assert_eq!(told(&agent), [Told::Life(Life::Ended(End::Exited(7)))]);
}

#[test]
fn every_step_is_told_also_when_they_come_at_once() {
    let mut agent = agent(NO_INPUT);
    for frame in [FromGuest::Hello(VERSION), FromGuest::Started, FromGuest::Exited(0)] {
        agent.guest.say(frame);
    }
    settle(&mut agent.served);
    let told: Vec<_> = agent.told.try_iter().collect();
    let ended = Life::Ended(End::Exited(0));
    assert_eq!(told, [Life::Up, Life::Running, ended].map(Told::Life));
}

#[test]
fn the_end_of_stdin_waits_for_the_command() {
    let (stdin, keyboard) = pipe().unwrap();
    rustix::io::write(&keyboard, b"early").unwrap();
    drop(keyboard);
    let mut agent = agent(Inputs { stdin: Some(stdin), orders: None });
    // Before the agent grants something, stdin is left alone: the loop rests.
    settle(&mut agent.served);
    agent.guest.make_room(60);
    agent.guest.say(FromGuest::Hello(VERSION));
    settle(&mut agent.served);
    agent.guest.say(FromGuest::Started);
    settle(&mut agent.served);
    assert_eq!(agent.hear().len(), 2);
    agent.guest.say(FromGuest::Credit(3));
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["ear"]);
    agent.guest.say(FromGuest::Credit(2));
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["ly"]);
    agent.guest.say(FromGuest::Credit(1));
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["End"]);
}

#[test]
fn the_end_is_told_when_all_output_is_written() {
    let mut agent = agent(NO_INPUT);
    agent.run();
    agent.told.try_iter().for_each(drop);
    let bytes = Numbers(10).bytes(2 * 65536);
    let mut chunks = bytes.chunks(MAX_PAYLOAD);
    // As much as the pipe and the window hold between them.
    let mut credit = usize::try_from(WINDOW).unwrap();
    for chunk in chunks.by_ref() {
        if credit < chunk.len() {
            break;
        }
        agent.guest.say(FromGuest::Data(Stream::Stdout, chunk));
        credit -= chunk.len();
        settle(&mut agent.served);
        for frame in agent.hear() {
            let grant = frame.strip_prefix("Credit(Stdout, ").unwrap().strip_suffix(")").unwrap();
            credit += grant.parse::<usize>().unwrap();
        }
    }
    agent.guest.say(FromGuest::Exited(0));
    settle(&mut agent.served);
    assert_eq!(agent.told.try_iter().count(), 0);
    let mut received = drain(&agent.stdout);
    let held = received.len();
    settle(&mut agent.served);
    assert_eq!(
        agent.told.try_iter().collect::<Vec<_>>(),
        [Told::Life(Life::Ended(End::Exited(0)))]
    );
    received.extend(drain(&agent.stdout));
    assert!(bytes.starts_with(&received) && received.len() > held);
}

#[test]
fn a_gone_reader_is_told_of_without_waiting_for_the_guest() {
    let Agent { mut guest, mut served, told: _told, stdout, stderr: _stderr, .. } = {
        let mut agent = agent(NO_INPUT);
        agent.run();
        agent
    };
    drop(stdout);
    guest.say(FromGuest::Data(Stream::Stdout, b"x"));
    settle(&mut served);
    let mut decoder = Decoder::default();
    assert!(decoder.fill(&mut &guest.read()[..]).unwrap());
    assert_eq!(decoder.from_host().unwrap(), FromHost::Closed(Stream::Stdout));
}

#[test]
fn orders_are_forwarded_until_nobody_gives_any() {
    let (orders, sender) = pipe().unwrap();
    let mut agent = agent(Inputs { stdin: None, orders: Some(orders) });
    rustix::io::write(&sender, &Order::Signal(15).encode()).unwrap();
    settle(&mut agent.served);
    agent.guest.make_room(60);
    for frame in [FromGuest::Hello(VERSION), FromGuest::Started] {
        agent.guest.say(frame);
    }
    settle(&mut agent.served);
    assert!(agent.hear().contains(&"Signal(15)".to_owned()));
    let orders =
        [Order::Signal(2), Order::Resize(24, 80), Order::Signal(99), Order::Resize(25, 81)];
    rustix::io::write(&sender, &orders.map(Order::encode).concat()).unwrap();
    settle(&mut agent.served);
    assert_eq!(agent.hear(), ["Signal(2)", "Resize(25, 81)"]);
    drop(sender);
    settle(&mut agent.served);
}

#[test]
fn the_kernels_last_words_are_told_whatever_ends_the_guest() {
    let words = b"Kernel panic - not syncing: test";
    // What the guest does last; how the loop ends.
    type Row = (&'static str, fn(&mut Guest), &'static str);
    let rows: [Row; 3] = [
        ("the end", |_| {}, "ok"),
        ("a violation", |guest| guest.transmit.publish(1000), "AvailIndex"),
        ("a lie", |guest| guest.machine.send(&Message::Stopped.encode()), "Control"),
    ];
    for (name, last, expected) in rows {
        let memory = memory(&[(0, 4 << 20)]);
        let (mut guest, link) = Guest::new(memory, 0);
        let (mut other, other_link) = Guest::new(memory, 1);
        let (_reader, stuck) = open_pipe();
        let lines = vec![
            Line::new(link, Joined::KernelLog(KernelLog::new(None))),
            Line::new(other_link, Joined::Raw(Raw::new(stuck))),
        ];
        let (mut served, told) = consoles(lines, NO_INPUT);
        guest.start();
        other.start();
        guest.write(words);
        settle(&mut served);
        if expected != "ok" {
            // A reader that does not read does not keep the end of a bad guest waiting.
            (0..60).for_each(|_| other.write(&[b'x'; 8000]));
            settle(&mut served);
        }
        last(&mut guest);
        guest.machine.kick(1);
        if expected == "ok" {
            drop(guest.machine);
        }
        assert_eq!(ended(|| served.run()), expected, "{name}");
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told, [Told::KernelLog(words.to_vec(), true)], "{name}");
    }
}

#[test]
fn an_agent_that_breaks_the_protocol_ends_the_guest() {
    for (bytes, expected) in [(vec![9, 9, 0, 0], "Frame"), (vec![2, 0, 0, 0], "Frame")] {
        let mut agent = agent(NO_INPUT);
        agent.guest.write(&bytes);
        assert_eq!(ended(|| agent.served.run()), expected);
    }
    let mut agent = agent(NO_INPUT);
    agent.run();
    agent.guest.say(FromGuest::Credit(1));
    assert_eq!(ended(|| agent.served.run()), "Credit");
}
