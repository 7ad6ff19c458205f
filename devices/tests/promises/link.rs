//! The control socket: what a vcpu worker may say, and what it may not.

use devices::control::{Geometry, MAX_QUEUES, MESSAGE, Message, Start};
use devices::link::Event;
use devices::mmio::{Identity, VERSION_1};
use devices::testing::{Machine, Part, SplitRing, memory};
use devices::violation::{Fault, Violation};

const RAM: [(u64, usize); 1] = [(0, 0x8000)];
const IDENTITY: Identity =
    Identity { device: 3, features: VERSION_1 | 2, queues: &[64], config: [0; 16] };
const PLACED: Geometry =
    Geometry { size: 64, descriptors: 0x1000, available: 0x2000, used: 0x3000 };

fn start(features: u64, queues: [Option<Geometry>; MAX_QUEUES]) -> Vec<u8> {
    Message::Start(Start { features, queues }).encode().to_vec()
}

/// A result as text, for faults hold what cannot be compared.
fn text(result: &Result<Event, Fault>) -> String {
    match result {
        Ok(event) => format!("{event:?}"),
        Err(Fault::Violation(violation)) => format!("{violation:?}"),
        Err(Fault::Control) => "Control".to_owned(),
        Err(other) => other.to_string(),
    }
}

#[test]
fn every_number_is_checked_again() {
    let ok = start(VERSION_1, [Some(PLACED), None]);
    let with = |geometry| start(VERSION_1, [Some(geometry), None]);
    let stop = Message::Stop.encode().to_vec();
    let rows: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("start", vec![ok.clone()], "Start(4294967296)"),
        ("start without queues", vec![start(VERSION_1, [None; 2])], "Start(4294967296)"),
        ("features never offered", vec![start(VERSION_1 | 4, [None; 2])], "Control"),
        ("all features", vec![start(u64::MAX, [None; 2])], "Control"),
        ("a queue too many", vec![start(VERSION_1, [None, Some(PLACED)])], "Control"),
        ("a size too large", vec![with(Geometry { size: 128, ..PLACED })], "RingPlacement"),
        ("a size of 0", vec![with(Geometry { size: 0, ..PLACED })], "RingPlacement"),
        ("outside RAM", vec![with(Geometry { used: 0x8000, ..PLACED })], "RingPlacement"),
        ("twice", vec![ok.clone(), ok.clone()], "Control"),
        ("stop", vec![ok.clone(), stop.clone()], "Stop"),
        ("stop without start", vec![stop.clone()], "Stop"),
        ("start again", vec![ok.clone(), stop.clone(), ok.clone()], "Start(4294967296)"),
        ("an answer", vec![Message::Stopped.encode().to_vec()], "Control"),
        ("a short message", vec![ok[1..].to_vec()], "Control"),
        ("a long message", vec![[ok.clone(), vec![0]].concat()], "Control"),
        ("a very long message", vec![vec![1; 4096]], "Control"),
        ("one byte", vec![vec![2]], "Control"),
        ("zeros", vec![vec![0; MESSAGE]], "Control"),
        ("an empty message", vec![vec![]], "End"),
    ];
    let memory = memory(&RAM);
    for (name, messages, expected) in rows {
        let (machine, mut link) = Machine::new(memory, IDENTITY);
        let mut result = Ok(Event::Nothing);
        for message in messages {
            machine.send(&message);
            result = link.receive();
        }
        assert_eq!(text(&result), expected, "{name}");
    }
}

#[test]
fn rings_are_there_between_start_and_stop() {
    let (machine, mut link) = Machine::new(memory(&RAM), IDENTITY);
    assert!(link.ring(0).is_none());
    machine.send(&start(VERSION_1, [Some(PLACED), None]));
    link.receive().unwrap();
    assert!(link.ring(0).is_some());
    assert!(link.ring(1).is_none());
    assert!(link.ring(usize::MAX).is_none());
    machine.send(&Message::Stop.encode());
    link.receive().unwrap();
    assert!(link.ring(0).is_none());
    link.stopped().unwrap();
    assert_eq!(machine.receive(), Some(Message::Stopped));
}

#[test]
fn the_end_of_the_socket_is_the_end_and_leaves_the_rings() {
    let (machine, mut link) = Machine::new(memory(&RAM), IDENTITY);
    machine.send(&start(VERSION_1, [Some(PLACED), None]));
    drop(machine);
    assert_eq!(link.receive().unwrap(), Event::Start(VERSION_1));
    for _ in 0..2 {
        assert_eq!(link.receive().unwrap(), Event::End);
    }
    assert!(link.ring(0).is_some());
    // Nobody is there to hear it, and that is no fault.
    link.stopped().unwrap();
    // Nor is it one that the end came with an answer unread.
    let (machine, mut link) = Machine::new(memory(&RAM), IDENTITY);
    link.stopped().unwrap();
    drop(machine);
    assert_eq!(link.receive().unwrap(), Event::End);
}

#[test]
fn kicks_are_taken_however_often_they_came() {
    let (machine, link) = Machine::new(memory(&RAM), IDENTITY);
    link.take_kick(0).unwrap();
    machine.kick(0);
    machine.kick(0);
    link.take_kick(0).unwrap();
    link.take_kick(0).unwrap();
    link.take_kick(1).unwrap();
    assert!(link.wires().kick(0).is_some());
    assert!(link.wires().kick(1).is_none());
}

#[test]
fn an_interrupt_is_raised_if_the_driver_wants_it() {
    let memory = memory(&RAM);
    let (mut machine, mut link) = Machine::new(memory, IDENTITY);
    // Without a ring there is nothing to tell.
    link.interrupt(0).unwrap();
    assert!(!machine.take_interrupt());
    let mut ring = SplitRing::new(memory, 0x1000, 64);
    machine.start(0, &[&ring]);
    link.receive().unwrap();
    for wanted in [true, false, true] {
        ring.want_interrupts(wanted);
        ring.add(&[Part::Out(0, 1)]);
        let taken = link.ring(0).unwrap().pop(memory).unwrap().unwrap();
        link.ring(0).unwrap().push(memory, taken.head, 0).unwrap();
        link.interrupt(0).unwrap();
        assert_eq!(machine.driver.read(0x060), u32::from(wanted));
        assert_eq!(machine.take_interrupt(), wanted);
        assert_eq!(machine.driver.read(0x060), 0);
    }
    // The status word says why for as long as the driver does not acknowledge.
    link.interrupt(0).unwrap();
    link.interrupt(0).unwrap();
    assert_eq!(machine.driver.read(0x060), 1);
    machine.driver.write(0x064, 0xffff_fffe);
    assert_eq!(machine.driver.read(0x060), 1);
    machine.driver.write(0x064, 1);
    assert_eq!(machine.driver.read(0x060), 0);
}

#[test]
fn violations_have_numbers_that_lead_back() {
    for violation in Violation::ALL {
        assert_eq!(Violation::from_number(violation as u8), Some(violation));
    }
    assert_eq!(Violation::from_number(0), None);
    assert_eq!(Violation::from_number(u8::MAX), None);
}
