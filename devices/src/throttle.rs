//! How fast a disk may be used: so many bytes and so many operations in a second.
//!
//! Each rate is kept by itself. What is taken has a price in time, and may be paid for [`BURST`] late;
//! so a disk that was idle gets ahead by that much, and any longer time keeps the rate.

use std::time::{Duration, Instant};

use crate::blk::SECTOR;

/// How far ahead of its rate a disk may be: long enough that whole requests fit, short enough that
/// nothing of it shows in a second.
pub const BURST: Duration = Duration::from_millis(50);
/// Bursts in a second.
const BURSTS: u64 = 20;

/// How fast a disk may be used. `u64::MAX`: as fast as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// The most bytes that are read and written in a second.
    pub bytes: u64,
    /// The most requests in a second, whatever their kind.
    pub operations: u64,
}

impl Rates {
    /// As fast as it can.
    pub const NONE: Self = Self { bytes: u64::MAX, operations: u64::MAX };
}

/// One rate.
#[derive(Clone, Debug)]
struct Bucket {
    per_second: u64,
    /// The least that is given at once, however slow the rate is: what comes in a quarter of a burst,
    /// so that a disk at its limit is not woken for every sector.
    unit: u64,
    /// When everything taken so far is paid for.
    paid: Option<Instant>,
}

impl Bucket {
    fn new(per_second: u64, least: u64) -> Self {
        let unit = (per_second / BURSTS / 4).max(least);
        Self { per_second: per_second.max(1), unit, paid: None }
    }

    fn price(&self, count: u64) -> Duration {
        let nanoseconds = u128::from(count) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How long until everything taken so far is paid for.
    fn ahead(&self, now: Instant) -> Duration {
        self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now))
    }

    /// How much may be taken now.
    fn room(&self, now: Instant) -> u64 {
        if self.per_second == u64::MAX {
            return u64::MAX;
        }
        let ahead = self.ahead(now);
        let credit = BURST.saturating_sub(ahead).as_nanos() * u128::from(self.per_second);
        match u64::try_from(credit / 1_000_000_000).unwrap_or(u64::MAX) {
            room if room >= self.unit => room,
            _ if ahead.is_zero() => self.unit,
            _ => 0,
        }
    }

    fn spend(&mut self, count: u64, now: Instant) {
        if self.per_second != u64::MAX {
            let from = self.paid.map_or(now, |paid| paid.max(now));
            // A time that cannot be told is never reached.
            self.paid = from.checked_add(self.price(count)).or(self.paid);
        }
    }

    /// How long until something may be taken. Not much too short, so that nobody turns on and on.
    fn pause(&self, now: Instant) -> Duration {
        let early = BURST.saturating_sub(self.price(self.unit));
        self.ahead(now).saturating_sub(early) + Duration::from_micros(1)
    }
}

/// Keeps the rates of one disk.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes: Bucket,
    operations: Bucket,
}

impl Throttle {
    /// A throttle that keeps `rates`.
    pub fn new(rates: Rates) -> Self {
        let bytes = Bucket::new(rates.bytes, SECTOR);
        Self { bytes, operations: Bucket::new(rates.operations, 1) }
    }

    /// How many bytes a request may move now, in whole sectors; 0: it has to wait. `begun`: it counts
    /// as an operation already.
    pub fn room(&self, begun: bool, now: Instant) -> usize {
        if !begun && self.operations.room(now) == 0 {
            return 0;
        }
        let room = self.bytes.room(now);
        usize::try_from(room - room % SECTOR).unwrap_or(usize::MAX)
    }

    /// Takes note of a request that begins.
    pub fn begin(&mut self, now: Instant) {
        self.operations.spend(1, now);
    }

    /// Takes note of bytes that were moved.
    pub fn spend(&mut self, count: usize, now: Instant) {
        self.bytes.spend(u64::try_from(count).unwrap_or(u64::MAX), now);
    }

    /// How long a request has to wait; none: it may go on.
    pub fn pause(&self, begun: bool, now: Instant) -> Option<Duration> {
        if self.room(begun, now) > 0 {
            return None;
        }
        let bytes = self.bytes.pause(now);
        Some(if begun { bytes } else { bytes.max(self.operations.pause(now)) })
    }
}
