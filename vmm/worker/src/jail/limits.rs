//! Resource limits. They are two lists, so that what is set and what is read back cannot differ.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Error;
use crate::plan::{Plan, Role};
use crate::recorder;

/// Limits from the start: no core dump (it would hold guest memory), nothing locked or queued, no
/// real-time priority.
pub const FROM_THE_START: [(Resource, u64); 5] = [
    (Resource::Core, 0),
    (Resource::Memlock, 0),
    (Resource::Msgqueue, 0),
    (Resource::Rtprio, 0),
    (Resource::Nice, 0),
];

/// Address space besides guest memory in bytes: program, stacks, guard pages, heap.
pub const ADDRESS_SPACE: u64 = 256 << 20;
/// Private memory of a worker in bytes: far above what one of ours needs, far below what would hurt.
pub const DATA: u64 = 64 << 20;

/// The first thread's stack in bytes, which does not count as data.
pub const STACK: u64 = 8 << 20;

/// poll takes at most as many descriptors as may be open: two consoles with a control socket and
/// two kicks each, three outputs, stdin and the signals.
const POLLED: u64 = 11;

/// Limits for the loop. `next`: the number that the next descriptor, the filter's listener, will
/// have; there is no room for one after it.
pub fn for_the_loop(plan: &Plan, next: u64) -> Vec<(Resource, u64)> {
    let mut limits = vec![
        (Resource::As, plan.memory.saturating_add(ADDRESS_SPACE)),
        (Resource::Data, DATA),
        (Resource::Stack, STACK),
    ];
    limits.extend(match plan.role {
        Role::Vcpu { cpus, record, .. } => [
            // KVM starts a thread of its own in this process when a vCPU first runs.
            (Resource::Nproc, u64::from(cpus) + 4),
            // The record is as long before this would stop it.
            (Resource::Fsize, if record { recorder::MOST } else { 0 }),
            (Resource::Nofile, next + 1),
        ]
        .to_vec(),
        Role::Console { file_size, .. } => {
            let mut limits = vec![(Resource::Nproc, 0), (Resource::Nofile, POLLED.max(next + 1))];
            // The bounds of output hold before this does, unless the worker was taken over.
            limits.extend((file_size != u64::MAX).then_some((Resource::Fsize, file_size)));
            limits
        }
        Role::Blk { device, .. } => [
            (Resource::Nproc, 0),
            (Resource::Fsize, plan.image_size(device).unwrap_or(0)),
            (Resource::Nofile, 2.max(next + 1)),
        ]
        .to_vec(),
    });
    limits
}

/// Sets the limits from the start.
pub(super) fn enter() -> Result<(), Error> {
    set(&FROM_THE_START)
}

/// Sets the limits for the loop.
pub(super) fn seal(limits: &[(Resource, u64)]) -> Result<(), Error> {
    set(limits)
}

fn set(limits: &[(Resource, u64)]) -> Result<(), Error> {
    limits.iter().try_for_each(|&(resource, most)| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(Error::new("limits", "set a resource limit"))
    })
}
