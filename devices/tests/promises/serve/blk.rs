//! The blk worker's loop.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;

use devices::blk::{Blk, FLUSH, ID_LEN, QUEUE_SIZE, Shape};
use devices::control::{Geometry, Message, Start};
use devices::mmio::VERSION_1;
use devices::serve::{BlkLoop, Turn};
use devices::testing::{Image, Machine, Operation, Part, SplitRing, memory};
use vm_memory::{Bytes, GuestAddress};

use super::rig::{DATA, HEADER, Rig};
use super::{end, ended, live, text};
use crate::Numbers;

const SHAPE: Shape = Shape { sectors: 1 << 20, read_only: false };

fn device() -> Blk<'static, Image> {
    Blk::new(Image::new(vec![1; 4 << 20]), SHAPE, [0; ID_LEN])
}

fn rig() -> Rig {
    Rig::new(SHAPE, device())
}

/// A started device in a thread of its own, with a header for a read in its memory.
fn threaded() -> (Machine, SplitRing, Receiver<String>) {
    let memory = memory(&[(0, 4 << 20)]);
    let (mut machine, link) = Machine::new(memory, SHAPE.identity());
    let ring = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
    let life = live(move || BlkLoop::new(link, device()).run());
    machine.start(FLUSH, &[&ring]);
    memory.write_slice(&[0; 16], GuestAddress(HEADER)).unwrap();
    (machine, ring, life)
}

#[test]
fn a_request_is_served_when_it_is_kicked_and_not_before() {
    let mut rig = rig();
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
    rig.machine.start(FLUSH, &[&rig.ring]);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
    rig.read(512);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
    rig.machine.kick(0);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    assert_eq!((rig.used(), rig.machine.take_interrupt()), (1, true));
    // A kick for nothing is no work, no interrupt, and no loop.
    rig.machine.kick(0);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    assert_eq!((rig.used(), rig.machine.take_interrupt()), (0, false));
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
}

#[test]
fn what_was_kicked_before_the_start_is_served_after_it() {
    let mut rig = rig();
    rig.read(512);
    rig.machine.kick(0);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
    assert_eq!((rig.used(), rig.machine.take_interrupt()), (0, false));
    rig.machine.start(FLUSH, &[&rig.ring]);
    while rig.served.turn(false).unwrap() != Turn::Idle {}
    assert_eq!((rig.used(), rig.machine.take_interrupt()), (1, true));
}

#[test]
fn an_interrupt_comes_for_a_batch_and_not_only_for_the_whole_ring() {
    let mut rig = rig();
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig.served.turn(false).unwrap();
    for _ in 0..10 {
        rig.read(512 << 10);
    }
    rig.machine.kick(0);
    for _ in 0..5 {
        rig.served.turn(false).unwrap();
        assert_eq!((rig.used(), rig.machine.take_interrupt()), (2, true));
    }
    // The budget ran out with the ring: one look more, and then rest.
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Idle);
    assert!(!rig.machine.take_interrupt());
}

/// A flush takes as long as the host's disk does, so a reset must not wait for a ring full of them.
#[test]
fn a_reset_waits_for_one_flush_and_not_for_a_ring_of_them() {
    for (features, kind) in [(FLUSH, 4u32), (0, 1)] {
        let mut rig = rig();
        rig.machine.start(features, &[&rig.ring]);
        rig.served.turn(false).unwrap();
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        rig.memory.write_slice(&header, GuestAddress(HEADER)).unwrap();
        for _ in 0..QUEUE_SIZE / 4 {
            // A flush has no data; a write that has none is written through all the same.
            rig.ring.add(&[Part::Out(HEADER, 16), Part::In(DATA, 1)]);
        }
        rig.machine.kick(0);
        rig.served.turn(false).unwrap();
        assert_eq!(rig.used(), 1, "request {kind}");
        rig.machine.begin_reset();
        rig.served.turn(false).unwrap();
        rig.machine.finish_reset();
        assert_eq!(rig.served.device().disk().log, [Operation::Flush], "request {kind}");
    }
}

#[test]
fn after_a_reset_nothing_is_touched_and_a_restart_works() {
    let mut rig = rig();
    for round in 0..3 {
        rig.ring = SplitRing::new(rig.memory, 0x1000, QUEUE_SIZE);
        rig.machine.start(FLUSH, &[&rig.ring]);
        rig.read(512);
        rig.machine.kick(0);
        while rig.served.turn(false).unwrap() != Turn::Idle {}
        assert_eq!(rig.used(), 1, "round {round}");
        // Reset with a request under way that nobody has looked at.
        rig.read(512);
        rig.machine.kick(0);
        rig.machine.begin_reset();
        rig.served.turn(false).unwrap();
        rig.machine.finish_reset();
        rig.machine.take_interrupt();
        rig.memory.write_slice(&[9; 32], GuestAddress(DATA)).unwrap();
        rig.machine.kick(0);
        while rig.served.turn(false).unwrap() != Turn::Idle {}
        let after: [u8; 32] = rig.memory.read_obj(GuestAddress(DATA)).unwrap();
        assert_eq!(after, [9; 32], "round {round}");
        assert_eq!((rig.used(), rig.machine.take_interrupt()), (0, false), "round {round}");
    }
}

#[test]
fn a_reset_forgets_the_request_in_hand() {
    let mut rig = rig();
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig.read(2 << 20);
    rig.machine.kick(0);
    assert_eq!(rig.served.turn(false).unwrap(), Turn::Worked);
    rig.machine.begin_reset();
    rig.served.turn(false).unwrap();
    rig.machine.finish_reset();
    rig.ring = SplitRing::new(rig.memory, 0x1000, QUEUE_SIZE);
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig.read(512);
    rig.machine.kick(0);
    while rig.served.turn(false).unwrap() != Turn::Idle {}
    assert_eq!((rig.ring.take_used(), rig.ring.take_used()), (Some((0, 513)), None));
}

#[test]
fn the_end_comes_after_a_last_look() {
    let mut rig = rig();
    rig.machine.start(FLUSH, &[&rig.ring]);
    for _ in 0..20 {
        rig.read(512 << 10);
    }
    // The machine goes with its kick unheard.
    drop(rig.machine);
    rig.served.run().unwrap();
    assert_eq!(std::iter::from_fn(|| rig.ring.take_used()).count(), 20);
}

#[test]
fn a_lying_vcpu_worker_ends_the_worker_and_no_more() {
    let start = |queues| Message::Start(Start { features: VERSION_1, queues }).encode().to_vec();
    let far = Geometry { size: 256, descriptors: 1 << 40, available: 1 << 41, used: 1 << 42 };
    let other = Geometry { size: 256, descriptors: 0x1000, available: 0x3000, used: 0x4000 };
    let rows: [(&str, Vec<u8>, &str); 6] = [
        ("garbage", vec![0xff; 80], "Control"),
        ("half a message", vec![1; 40], "Control"),
        ("an answer", Message::Stopped.encode().to_vec(), "Control"),
        ("rings outside memory", start([Some(far), None]), "RingPlacement"),
        ("a second queue", start([None, Some(other)]), "Control"),
        ("an empty message", vec![], "ok"),
    ];
    for (name, message, expected) in rows {
        let Rig { machine, mut served, .. } = rig();
        machine.send(&message);
        assert_eq!(ended(|| served.run()), expected, "{name}");
    }
}

#[test]
fn a_broken_ring_is_the_guests_violation() {
    let mut rig = rig();
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig.ring.publish(1000);
    assert_eq!(ended(|| rig.served.run()), "AvailIndex");
}

#[test]
fn no_kick_is_lost_in_fifty_thousand() {
    let (mut machine, mut ring, life) = threaded();
    let (mut sent, mut done) = (0, 0);
    while done < 50_000 {
        // One to three at a time, so that the worker goes to sleep and is woken all the time.
        for _ in 0..=sent % 3 {
            ring.add(&[Part::Out(HEADER, 16), Part::In(DATA, 513)]);
            sent += 1;
        }
        machine.kick(0);
        while done < sent {
            machine.await_interrupt();
            done += std::iter::from_fn(|| ring.take_used()).count();
        }
    }
    drop(machine);
    assert_eq!(end(&life), "ok");
}

#[test]
fn a_reset_is_answered_however_busy_the_ring_is() {
    let (mut machine, mut ring, life) = threaded();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // A vCPU that keeps the ring full and never waits.
        scope.spawn(|| {
            let mut out = 0;
            while !stop.load(Ordering::Relaxed) {
                out -= std::iter::from_fn(|| ring.take_used()).count();
                while out < 100 {
                    ring.add(&[Part::Out(HEADER, 16), Part::In(DATA, 513)]);
                    out += 1;
                }
            }
        });
        for _ in 0..100 {
            machine.kick(0);
        }
        thread::sleep(std::time::Duration::from_millis(50));
        machine.begin_reset();
        machine.finish_reset();
        stop.store(true, Ordering::Relaxed);
    });
    drop(machine);
    assert_eq!(end(&life), "ok");
}

#[test]
fn a_guest_that_changes_everything_meanwhile_reaches_nothing_else() {
    let memory = memory(&[(0, 1 << 20)]);
    let stop = AtomicBool::new(false);
    let mut ends = std::collections::BTreeMap::new();
    thread::scope(|scope| {
        // Another vCPU writes over headers, descriptors and the available ring, mostly with what
        // could be there.
        scope.spawn(|| {
            let mut numbers = Numbers(21);
            while !stop.load(Ordering::Relaxed) {
                let index = numbers.below(256) as u64;
                let (at, word) = match numbers.below(8) {
                    0 => (HEADER, [0, 1, 4, 8][numbers.below(4)]),
                    1 => (HEADER + 8, numbers.below(10) as u64),
                    2 => (0x1000 + 16 * index, numbers.below(1 << 20) as u64),
                    3 => (0x1000 + 16 * index, u64::MAX >> numbers.below(64)),
                    4 => (0x1000 + 16 * index + 8, numbers.below(1 << 13) as u64),
                    5 => (0x1000 + 16 * index + 8, (numbers.below(1 << 34) as u64) << 30),
                    6 => (0x2004 + 8 * (index / 4), numbers.below(256) as u64 * 0x1_0001),
                    _ => (HEADER, 1),
                };
                memory.write_obj(word, GuestAddress(at)).unwrap();
            }
        });
        for round in 0..2000u64 {
            let (mut machine, link) = Machine::new(memory, SHAPE.identity());
            let shape = Shape { sectors: 8, read_only: false };
            let image = [vec![1; 4096], vec![2; 4096]].concat();
            let mut served = BlkLoop::new(link, Blk::new(Image::new(image), shape, [0; ID_LEN]));
            let mut ring = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
            machine.start(FLUSH, &[&ring]);
            for _ in 0..20 {
                ring.add(&[Part::Out(HEADER, 16 + 512), Part::In(0x9000, 513)]);
            }
            machine.kick(0);
            let end = loop {
                match served.turn(false) {
                    Ok(Turn::Idle) => break "idle".to_owned(),
                    Ok(_) => {}
                    result => break text(&result.map(drop)),
                }
            };
            *ends.entry(end).or_insert(0) += 1;
            let image = &served.device().disk().bytes;
            assert!(image[4096..] == [2; 4096], "round {round}: bytes past the disk were written");
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The race was one: it went both ways.
    assert!(ends.len() > 2 && ends.contains_key("idle"), "{ends:?}");
}

#[test]
fn a_file_is_served() {
    let memory = memory(&[(0, 2 << 20)]);
    let (mut machine, link) = Machine::new(memory, SHAPE.identity());
    let mut ring = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
    let file: File = tempfile::tempfile().unwrap();
    file.set_len(SHAPE.sectors * 512).unwrap();
    let image = file.try_clone().unwrap();
    let life = live(move || BlkLoop::new(link, Blk::new(file, SHAPE, [0; ID_LEN])).run());
    machine.start(FLUSH, &[&ring]);
    let mut request = vec![0; 16 + 512];
    request[0] = 1;
    request[8] = 3;
    request[16..].fill(b'x');
    memory.write_slice(&request, GuestAddress(HEADER)).unwrap();
    ring.add(&[Part::Out(HEADER, 16 + 512), Part::In(DATA, 1)]);
    machine.kick(0);
    machine.await_interrupt();
    assert_eq!(ring.take_used(), Some((0, 1)));
    drop(machine);
    assert_eq!(end(&life), "ok");
    let mut bytes = [0; 1024];
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut bytes, 3 * 512).unwrap();
    assert!(bytes[..512] == [b'x'; 512] && bytes[512..] == [0; 512]);
}
