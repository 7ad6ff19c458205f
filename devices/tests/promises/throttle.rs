//! Rates of a disk: they hold, and what is too fast waits.

use std::time::{Duration, Instant};

use devices::throttle::{BURST, Rates, Throttle};

use crate::Numbers;

const SECTOR: u64 = 512;

/// Uses the disk as fast as it may be for so long, in requests of `len` bytes. Returns when each began and
/// how many bytes were moved when.
fn use_up(rates: Rates, len: usize, time: Duration) -> (Vec<Duration>, Vec<(Duration, usize)>) {
    let begun = Instant::now();
    let (mut throttle, mut now) = (Throttle::new(rates), begun);
    let (mut requests, mut moves) = (Vec::new(), Vec::new());
    let mut numbers = Numbers(rates.bytes ^ rates.operations);
    'requests: loop {
        let (mut left, mut first) = (len, true);
        while left > 0 {
            while let Some(pause) = throttle.pause(!first, now) {
                assert_eq!(throttle.room(!first, now), 0);
                // Never much too early, and not late.
                now += pause + Duration::from_micros(numbers.below(300) as u64);
            }
            if now - begun >= time {
                break 'requests;
            }
            let room = throttle.room(!first, now);
            assert!(room >= 512 && room % 512 == 0, "{room}");
            if first {
                throttle.begin(now);
                requests.push(now - begun);
                first = false;
            }
            let count = room.min(left);
            throttle.spend(count, now);
            moves.push((now - begun, count));
            left -= count;
        }
    }
    (requests, moves)
}

#[test]
fn a_rate_of_bytes_holds_over_every_second() {
    for rate in [20 << 10, 1_000_000, 50 << 20, 3 << 30_u64] {
        for len in [512, 4096, 1 << 20] {
            let rates = Rates { bytes: rate, ..Rates::NONE };
            let (_, moves) = use_up(rates, len, Duration::from_secs(4));
            check(moves.iter().map(|(at, count)| (*at, *count as u64)), rate, SECTOR);
        }
    }
}

#[test]
fn a_rate_of_operations_holds_over_every_second() {
    for rate in [1, 7, 100, 1000, 33_333] {
        let rates = Rates { operations: rate, ..Rates::NONE };
        let (requests, _) = use_up(rates, 4096, Duration::from_secs(4));
        check(requests.iter().map(|at| (*at, 1)), rate, 1);
    }
}

/// Over four seconds the rate is reached within 5 %, and in no second is it exceeded by more than a burst.
fn check(moves: impl Iterator<Item = (Duration, u64)>, rate: u64, unit: u64) {
    let moves: Vec<(Duration, u64)> = moves.collect();
    let all: u64 = moves.iter().map(|(_, count)| count).sum();
    assert!(all + unit >= 4 * rate * 95 / 100, "{all} in four seconds at {rate}");
    let (mut first, mut sum) = (0, 0);
    for &(at, count) in &moves {
        sum += count;
        while moves[first].0 + Duration::from_secs(1) <= at {
            sum -= moves[first].1;
            first += 1;
        }
        assert!(sum <= rate + rate / 20 + 2 * unit, "{sum} in a second at {rate}");
    }
}

#[test]
fn a_disk_that_was_idle_gets_ahead_by_a_burst_and_no_more() {
    let rates = Rates { bytes: 1 << 20, ..Rates::NONE };
    let mut now = Instant::now();
    let mut throttle = Throttle::new(rates);
    for idle in [0, 1, 3600] {
        now += Duration::from_secs(idle);
        let room = throttle.room(false, now);
        let burst = usize::try_from((1 << 20) / 20).unwrap();
        assert!(room <= burst && room > burst - 512, "{room} after {idle} s");
        throttle.spend(room, now);
        assert!(throttle.room(false, now) == 0 && throttle.pause(false, now).unwrap() < BURST);
        now += BURST;
    }
}

#[test]
fn what_has_begun_waits_for_bytes_alone() {
    let now = Instant::now();
    let mut throttle = Throttle::new(Rates { operations: 1, ..Rates::NONE });
    assert_eq!(throttle.pause(false, now), None);
    throttle.begin(now);
    let pause = throttle.pause(false, now).unwrap();
    assert!(pause > Duration::from_millis(900) && pause < Duration::from_millis(1100));
    assert!(throttle.pause(true, now).is_none() && throttle.room(true, now) > usize::MAX / 2);
}
