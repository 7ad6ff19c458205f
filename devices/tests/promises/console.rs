//! The console's two queues: bytes as they are, whatever they come in and however slow the port is.

use devices::console::{Console, QUEUE_SIZE};
use devices::ring::{Progress, Ring};
use devices::testing::{Mouth, Part, SplitRing, memory};
use devices::violation::Violation;
use vm_memory::{Bytes, GuestAddress};

use crate::Numbers;

const BUFFERS: u64 = 0x4000;
const RAM: [(u64, usize); 1] = [(0, 1 << 20)];

fn rings() -> (&'static devices::Memory, SplitRing, Ring) {
    let memory = memory(&RAM);
    let driver = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
    let ring = Ring::start(memory, driver.geometry, QUEUE_SIZE).unwrap();
    (memory, driver, ring)
}

fn progress(used: bool, more: bool) -> Progress {
    Progress { used, more }
}

#[test]
fn output_is_a_copy_whatever_it_comes_in_and_whenever_there_is_room() {
    let mut numbers = Numbers(11);
    for appetite in [1, 7, 100, 4096, 100_000] {
        let (memory, mut driver, mut ring) = rings();
        let (mut console, mut mouth) = (Console::default(), Mouth::default());
        let (mut sent, mut out) = (Vec::new(), 0);
        for _ in 0..200 {
            // A chain of up to 5 parts; its bytes are written anew each time.
            let lens: Vec<usize> = (0..=numbers.below(5)).map(|_| numbers.below(300)).collect();
            let mut at = BUFFERS + 2000 * u64::from(driver.next);
            let mut parts = Vec::new();
            for len in lens {
                let bytes = numbers.bytes(len);
                memory.write_slice(&bytes, GuestAddress(at)).unwrap();
                sent.extend(bytes);
                parts.push(Part::Out(at, u32::try_from(len).unwrap()));
                at += len as u64;
            }
            driver.add(&parts);
            out += 1;
            while out > 8 {
                mouth.room += appetite;
                console.transmit(memory, &mut ring, &mut mouth).unwrap();
                assert!(sent.starts_with(&mouth.eaten), "appetite {appetite}");
                while let Some((_, written)) = driver.take_used() {
                    assert_eq!(written, 0);
                    out -= 1;
                }
            }
        }
        mouth.room = usize::MAX;
        while console.transmit(memory, &mut ring, &mut mouth).unwrap().more {}
        assert!(sent == mouth.eaten, "appetite {appetite}");
    }
}

#[test]
fn a_full_port_holds_the_chain_in_the_middle() {
    let (memory, mut driver, mut ring) = rings();
    let (mut console, mut mouth) = (Console::default(), Mouth { room: 5, ..Mouth::default() });
    memory.write_slice(b"abcdefgh", GuestAddress(BUFFERS)).unwrap();
    driver.add(&[Part::Out(BUFFERS, 3), Part::Out(BUFFERS + 3, 5)]);
    driver.add(&[Part::Out(BUFFERS, 1)]);
    let mut transmit = |mouth: &mut Mouth| console.transmit(memory, &mut ring, mouth).unwrap();
    assert_eq!(transmit(&mut mouth), progress(false, false));
    assert_eq!((&mouth.eaten[..], driver.take_used()), (&b"abcde"[..], None));
    // Still nothing, and nothing twice.
    assert_eq!(transmit(&mut mouth), progress(false, false));
    mouth.room = 3;
    assert_eq!(transmit(&mut mouth), progress(true, false));
    assert_eq!((&mouth.eaten[..], driver.take_used()), (&b"abcdefgh"[..], Some((0, 0))));
    assert_eq!(driver.take_used(), None);
    mouth.room = 1;
    assert_eq!(transmit(&mut mouth), progress(true, false));
    assert_eq!((&mouth.eaten[..], driver.take_used()), (&b"abcdefgha"[..], Some((2, 0))));
}

#[test]
fn a_stop_forgets_the_chain_in_hand() {
    let (memory, mut driver, mut ring) = rings();
    let (mut console, mut mouth) = (Console::default(), Mouth { room: 1, ..Mouth::default() });
    driver.add(&[Part::Out(BUFFERS, 100)]);
    console.transmit(memory, &mut ring, &mut mouth).unwrap();
    console.stop();
    mouth.room = usize::MAX;
    assert_eq!(console.transmit(memory, &mut ring, &mut mouth).unwrap(), progress(false, false));
    assert_eq!((mouth.eaten.len(), driver.take_used()), (1, None));
}

#[test]
fn a_turn_of_output_is_bounded() {
    const BUDGET: usize = 64 * 1024;
    let (memory, mut driver, mut ring) = rings();
    let (mut console, mut mouth) = (Console::default(), Mouth::default());
    let mut transmit = |mouth: &mut Mouth| {
        mouth.room = usize::MAX;
        mouth.eaten.clear();
        let progress = console.transmit(memory, &mut ring, mouth).unwrap();
        (mouth.eaten.len(), progress.used, progress.more)
    };
    // Ten descriptors of 512 KiB on the same bytes.
    driver.add(&[Part::Out(BUFFERS, 512 << 10); 10]);
    for turn in 1..=80 {
        assert_eq!(transmit(&mut mouth), (BUDGET, turn == 80, turn < 80), "turn {turn}");
    }
    assert_eq!(transmit(&mut mouth), (0, false, false));
    // A ring of empty chains is one turn, and the turn says that there may be more.
    for _ in 0..QUEUE_SIZE {
        driver.add(&[Part::Out(BUFFERS, 0)]);
    }
    assert_eq!(transmit(&mut mouth), (0, true, false));
}

#[test]
fn what_is_no_output_is_given_back() {
    let (memory, mut driver, mut ring) = rings();
    let (mut console, mut mouth) = (Console::default(), Mouth { room: 99, ..Mouth::default() });
    driver.add(&[Part::In(BUFFERS, 10)]);
    driver.add(&[Part::Out(BUFFERS, 0)]);
    driver.add(&[Part::Out(BUFFERS, 2), Part::In(BUFFERS, 10)]);
    console.transmit(memory, &mut ring, &mut mouth).unwrap();
    let used: Vec<_> = std::iter::from_fn(|| driver.take_used()).collect();
    assert_eq!((used, mouth.eaten.len()), (vec![(0, 0), (1, 0), (2, 0)], 2));
}

#[test]
fn a_ring_in_order_keeps_a_violation_of_the_port_or_the_ring() {
    let (memory, mut driver, mut ring) = rings();
    let (mut console, mut mouth) = (Console::default(), Mouth { fails: true, ..Mouth::default() });
    driver.add(&[Part::Out(BUFFERS, 2)]);
    assert_eq!(console.transmit(memory, &mut ring, &mut mouth), Err(Violation::Frame));
    driver.publish(1000);
    assert_eq!(console.transmit(memory, &mut ring, &mut mouth), Err(Violation::AvailIndex));
    mouth.waiting = vec![1];
    assert_eq!(Console::receive(memory, &mut ring, &mut mouth), Err(Violation::AvailIndex));
}

#[test]
fn input_is_a_copy_whatever_buffers_it_goes_to() {
    let mut numbers = Numbers(12);
    let (memory, mut driver, mut ring) = rings();
    let bytes = numbers.bytes(20_000);
    let mut mouth = Mouth { waiting: bytes.clone(), ..Mouth::default() };
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let mut chains = Vec::new();
        for _ in 0..=numbers.below(10) {
            let at = BUFFERS + 0x1000 * u64::from(driver.next);
            // Mostly tiny, in up to three parts, some of no length, some not writable at all.
            let lens = [numbers.below(3), numbers.below(40), numbers.below(2)];
            let lens = lens.map(|len| u32::try_from(len).unwrap());
            let mut parts = vec![Part::Out(at, 5); numbers.below(2)];
            let writable = numbers.below(4);
            let mut next = at;
            for len in lens.into_iter().take(writable) {
                parts.push(Part::In(next, len));
                next += u64::from(len);
            }
            if parts.is_empty() {
                parts.push(Part::Out(at, 5));
            }
            let head = driver.add(&parts);
            chains.push((u32::from(head), at, u32::try_from(next - at).unwrap()));
        }
        assert!(Console::receive(memory, &mut ring, &mut mouth).unwrap());
        for (head, at, room) in chains {
            let Some((used, written)) = driver.take_used() else { continue };
            assert_eq!(used, head);
            assert!(written == room || mouth.waiting.is_empty());
            let mut piece = vec![0; usize::try_from(written).unwrap()];
            memory.read_slice(&mut piece, GuestAddress(at)).unwrap();
            received.extend(piece);
        }
    }
    assert!(received == bytes);
}

#[test]
fn buffers_are_kept_until_there_is_input() {
    let (memory, mut driver, mut ring) = rings();
    let mut mouth = Mouth::default();
    driver.add(&[Part::In(BUFFERS, 10)]);
    assert!(!Console::receive(memory, &mut ring, &mut mouth).unwrap());
    assert_eq!(driver.take_used(), None);
    mouth.waiting = b"xyz".to_vec();
    assert!(Console::receive(memory, &mut ring, &mut mouth).unwrap());
    assert_eq!(driver.take_used(), Some((0, 3)));
    // Input waits until there are buffers, and goes beyond no buffer, however large it is.
    mouth.waiting = vec![7; 10_000];
    assert!(!Console::receive(memory, &mut ring, &mut mouth).unwrap());
    driver.add(&[Part::In(BUFFERS, 100_000)]);
    assert!(Console::receive(memory, &mut ring, &mut mouth).unwrap());
    assert_eq!(driver.take_used(), Some((1, 4096)));
    assert_eq!(mouth.waiting.len(), 10_000 - 4096);
}
