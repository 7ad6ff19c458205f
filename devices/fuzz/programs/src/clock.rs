//! Time that a processor was at work: what a limit means on a machine with other things to do.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long this thread has had a processor.
pub fn busy() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}
