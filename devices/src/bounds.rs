//! How much output there may be: so many bytes altogether, and so many in a second.
//!
//! What a guest writes ends up on the operator's disk or in a log, so both are bounded. They differ in
//! what becomes of the excess: what is beyond the whole amount is dropped and counted, since nothing
//! would ever make room for it; what comes too fast is held back, and no byte of it is lost.

use std::time::{Duration, Instant};

/// The bounds of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes that are written; what comes after them is dropped. `u64::MAX`: no bound.
    pub bytes: u64,
    /// The most bytes that are written in a second. `u64::MAX`: no bound.
    pub per_second: u64,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Self = Self { bytes: u64::MAX, per_second: u64::MAX };
}

/// A rate is kept in each window of time by itself: short enough that a terminal's reader sees no
/// stutter, long enough that a window has room for whole writes.
pub const WINDOW: Duration = Duration::from_millis(50);
/// Windows in a second.
const WINDOWS: u64 = 20;

/// Keeps a rate.
#[derive(Debug)]
pub struct Pace {
    /// Bytes in a window.
    most: u64,
    /// The window that was last written in, and how many bytes.
    window: Option<(Instant, u64)>,
}

impl Pace {
    /// A pace of `per_second` bytes. However slow it is, a window has room for one byte.
    pub fn new(per_second: u64) -> Self {
        let most = if per_second == u64::MAX { u64::MAX } else { per_second.div_ceil(WINDOWS) };
        Self { most: most.max(1), window: None }
    }

    /// How many bytes may go out now.
    pub fn room(&self, now: Instant) -> usize {
        let spent = match self.window {
            Some((begun, spent)) if now.saturating_duration_since(begun) < WINDOW => spent,
            _ => 0,
        };
        usize::try_from(self.most.saturating_sub(spent)).unwrap_or(usize::MAX)
    }

    /// Takes note of bytes that went out.
    pub fn spend(&mut self, count: usize, now: Instant) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        match &mut self.window {
            Some((begun, spent)) if now.saturating_duration_since(*begun) < WINDOW => {
                *spent = spent.saturating_add(count);
            }
            window => *window = Some((now, count)),
        }
    }

    /// True when the last window has no room. Unless time has passed since, there is none now.
    pub fn is_used_up(&self) -> bool {
        self.window.is_some_and(|(_, spent)| spent >= self.most)
    }

    /// How long to wait until there is room; none: there is room now.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let (begun, _) = self.window.filter(|_| self.room(now) == 0)?;
        Some(WINDOW.saturating_sub(now.saturating_duration_since(begun)))
    }
}
