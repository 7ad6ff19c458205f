//! Target `limits`: the rates of a disk and of an output, under a clock of the program's.
//!
//! In no span of time does more get through than the rate allows, a burst aside; and whoever waits as long as it
//! is told may go on.

use std::time::{Duration, Instant};

use devices::bounds::{Pace, WINDOW};
use devices::throttle::{BURST, Rates, Throttle};

use crate::bytes::Bytes;

/// Waits in a row after which something has to get through.
const WAITS: usize = 3;
/// Rates, from slower than a sector in a second to no bound at all.
const RATES: [u64; 8] = [1, 100, 511, 10_000, 1 << 20, 50_000_000, u64::MAX / 2, u64::MAX];

/// What got through when, in the order of time.
#[derive(Default)]
struct Passed(Vec<(Instant, u64)>);

impl Passed {
    /// Checks that no span had more than `per_second` for its length and `ahead` more, with `once` at the
    /// most beyond that.
    fn check(&self, per_second: u64, ahead: Duration, once: u64, what: &str) {
        if per_second == u64::MAX {
            return;
        }
        for (index, (begun, _)) in self.0.iter().enumerate() {
            let mut sum = 0u128;
            for (now, count) in &self.0[index..] {
                sum += u128::from(*count);
                let span = (*now - *begun + ahead).as_nanos();
                let allowed = span * u128::from(per_second) / 1_000_000_000 + u128::from(once);
                assert!(
                    sum <= allowed,
                    "{what}: {sum} in {:?}, {allowed} at the most",
                    *now - *begun
                );
            }
        }
    }
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    let mut program = Bytes::new(bytes);
    match program.below(2) {
        0 => throttle(&mut program),
        _ => pace(&mut program),
    }
}

/// A disk's rates: requests that begin, and the sectors that they move.
fn throttle(program: &mut Bytes<'_>) {
    let rates = Rates { bytes: program.one_of(&RATES), operations: program.one_of(&RATES) };
    let mut throttle = Throttle::new(rates);
    let mut now = Instant::now();
    let (mut bytes, mut operations) = (Passed::default(), Passed::default());
    let mut largest = 0;
    while !program.is_empty() && bytes.0.len() < 256 {
        now += idle(program);
        let begun = program.byte() & 1 != 0;
        let mut room = throttle.room(begun, now);
        for _ in 0..WAITS {
            let pause = throttle.pause(begun, now);
            assert_eq!(room == 0, pause.is_some(), "room {room}, pause {pause:?}");
            let Some(pause) = pause else { break };
            // A pause of many years is that of a rate which is hardly one.
            let Some(later) = now.checked_add(pause) else { return };
            now = later;
            room = throttle.room(begun, now);
        }
        assert!(room > 0, "it waited as it was told");
        assert_eq!(room % 512, 0);
        if !begun {
            throttle.begin(now);
            operations.0.push((now, 1));
        }
        let moved = room.min(512 * program.below(64));
        throttle.spend(moved, now);
        largest = largest.max(moved as u64);
        bytes.0.push((now, moved as u64));
    }
    bytes.check(rates.bytes, BURST, largest.max(512), "bytes");
    operations.check(rates.operations, BURST, 1, "operations");
}

/// An output's rate, which each window keeps by itself.
fn pace(program: &mut Bytes<'_>) {
    let per_second = program.one_of(&RATES);
    let mut pace = Pace::new(per_second);
    let mut now = Instant::now();
    let mut passed = Passed::default();
    while !program.is_empty() && passed.0.len() < 256 {
        now += idle(program);
        if let Some(pause) = pace.pause(now) {
            assert!(pace.is_used_up() && pause <= WINDOW && pace.room(now) == 0);
            now += pause;
        }
        let room = pace.room(now);
        assert!(room > 0 && pace.pause(now).is_none(), "it waited as it was told");
        let count = room.min(program.half().into());
        pace.spend(count, now);
        passed.0.push((now, count as u64));
    }
    // However slow it is, a window has room for a byte; and two of them may touch.
    let least = per_second.max(20);
    passed.check(least.saturating_add(20), 2 * WINDOW, 1, "output");
}

/// Time in which nothing is asked for.
fn idle(program: &mut Bytes<'_>) -> Duration {
    match program.below(4) {
        0 => Duration::from_micros(program.half().into()),
        1 => Duration::from_millis(program.byte().into()),
        _ => Duration::ZERO,
    }
}
