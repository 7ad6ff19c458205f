//! The blk worker's loop at its rates: it holds requests back, and answers everything else at once.

use std::time::{Duration, Instant};

use devices::blk::{Blk, FLUSH, ID_LEN, Limited, QUEUE_SIZE, Shape};
use devices::testing::{Image, Part, SplitRing};
use devices::throttle::Rates;

use vm_memory::{Bytes, GuestAddress};

use super::rig::{DATA, HEADER, Rig};

const SHAPE: Shape = Shape { sectors: 1 << 13, read_only: false };

fn rig(rates: Rates) -> Rig {
    let image = Image::new(vec![1; 4 << 20]);
    let mut rig = Rig::new(SHAPE, Blk::new(image, SHAPE, [0; ID_LEN]).within(rates));
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig
}

impl Rig {
    /// Turns until so many requests were answered. Returns how many turns it took.
    fn answers(&mut self, mut count: usize) -> usize {
        let mut turns = 0;
        while count > 0 {
            self.served.turn(true).unwrap();
            count -= self.used();
            turns += 1;
        }
        turns
    }
}

#[test]
fn bytes_and_operations_keep_their_rates_and_the_worker_sleeps() {
    // Rates, the length of each of 100 requests, and the seconds that they should take, in hundredths:
    // a burst of a twentieth of a second comes at once.
    let rows = [
        (Rates { bytes: 1 << 20, ..Rates::NONE }, 8192, 78 - 5),
        (Rates { operations: 200, ..Rates::NONE }, 512, 50 - 5),
        (Rates { bytes: 1 << 20, operations: 200 }, 1024, 50 - 5),
    ];
    for (rates, len, expected) in rows {
        let mut rig = rig(rates);
        (0..100).for_each(|_| rig.read(len));
        rig.machine.kick(0);
        let begun = Instant::now();
        let turns = rig.answers(100);
        let (took, expected) = (begun.elapsed(), Duration::from_millis(10 * expected));
        assert!(took >= expected * 9 / 10, "{took:?} instead of {expected:?}");
        assert!(took < expected * 3, "{took:?} instead of {expected:?}");
        assert!(turns < 400, "{turns} turns");
        let Limited { held, held_ms, full } = rig.served.device().limited();
        assert!(held > 10 && held < 100 && full == 0, "{held} were held");
        assert!(Duration::from_millis(held_ms) > took / 2, "{held_ms} ms of {took:?}");
    }
}

#[test]
fn a_reset_is_answered_while_a_request_waits_and_forgets_it() {
    let mut rig = rig(Rates { bytes: 512, ..Rates::NONE });
    rig.read(1 << 20);
    rig.machine.kick(0);
    for _ in 0..3 {
        rig.served.turn(false).unwrap();
    }
    assert!(rig.served.device().pause().is_some_and(|pause| pause > Duration::from_millis(500)));
    rig.machine.begin_reset();
    let begun = Instant::now();
    rig.served.turn(true).unwrap();
    rig.machine.finish_reset();
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert_eq!(rig.served.device().pause(), None);
    // The rate is the disk's, whatever its driver does.
    rig.ring = SplitRing::new(rig.memory, 0x1000, QUEUE_SIZE);
    rig.machine.start(FLUSH, &[&rig.ring]);
    rig.read(512);
    rig.machine.kick(0);
    rig.served.turn(false).unwrap();
    rig.served.turn(false).unwrap();
    assert!(rig.served.device().pause().is_some());
}

#[test]
fn the_end_does_not_wait_and_what_the_limits_cost_is_told() {
    let mut rig = rig(Rates { bytes: 1 << 20, ..Rates::NONE });
    (0..100).for_each(|_| rig.read(64 << 10));
    rig.machine.kick(0);
    drop(rig.machine);
    let begun = Instant::now();
    let mut told = Vec::new();
    rig.served.run_and_tell(|limited| told.push(limited)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(std::iter::from_fn(|| rig.ring.take_used()).count(), 0);
    assert_eq!(told.iter().map(|limited| limited.held).collect::<Vec<_>>(), [1]);
}

#[test]
fn writes_that_there_is_no_room_for_are_counted_and_told_now_and_then() {
    let mut rig = rig(Rates::NONE);
    rig.memory.write_slice(&1u32.to_le_bytes(), GuestAddress(HEADER)).unwrap();
    let status = DATA + 512;
    for _ in 0..80 {
        rig.ring.add(&[Part::Out(HEADER, 16), Part::Out(DATA, 512), Part::In(status, 1)]);
    }
    rig.served.device().disk().errors = vec![Some(libc::ENOSPC); 80];
    rig.machine.kick(0);
    drop(rig.machine);
    let mut told = Vec::new();
    rig.served.run_and_tell(|limited| told.push(limited.full)).unwrap();
    assert_eq!(told, [80]);
    assert_eq!(rig.memory.read_obj::<u8>(GuestAddress(status)).unwrap(), 1);
}
