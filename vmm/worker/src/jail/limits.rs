//! Resource limits.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Error;
use crate::plan::{Plan, Role};

/// Limits from the start: no core dump (it would hold guest memory), nothing locked or queued, no
/// real-time priority.
pub fn enter() -> Result<(), Error> {
    let zero =
        [Resource::Core, Resource::Memlock, Resource::Msgqueue, Resource::Rtprio, Resource::Nice];
    zero.into_iter().try_for_each(|resource| limit(resource, 0))
}

/// Limits for the loop. `next`: the number that the next descriptor, the filter's listener, will
/// have; there is no room for one after it.
pub fn seal(plan: &Plan, next: u64) -> Result<(), Error> {
    /// Address space besides guest memory: program, stacks, guard pages, heap.
    const OVERHEAD: u64 = 256 << 20;
    /// Private memory: far above what a worker of ours needs, far below what would hurt.
    const DATA: u64 = 64 << 20;

    limit(Resource::As, plan.memory.saturating_add(OVERHEAD))?;
    limit(Resource::Data, DATA)?;
    match plan.role {
        Role::Vcpu { cpus, .. } => {
            // KVM starts a thread of its own in this process when a vCPU first runs.
            limit(Resource::Nproc, u64::from(cpus) + 4)?;
            limit(Resource::Fsize, 0)?;
            limit(Resource::Nofile, next + 1)
        }
        Role::Console { .. } => {
            // Its output may be a file of any size: the user's own.
            limit(Resource::Nproc, 0)?;
            limit(Resource::Nofile, POLLED.max(next + 1))
        }
        Role::Blk { device } => {
            let size = plan.image_size(device).unwrap_or(0);
            limit(Resource::Nproc, 0)?;
            limit(Resource::Fsize, size)?;
            limit(Resource::Nofile, 2.max(next + 1))
        }
    }
}

/// poll takes at most as many descriptors as may be open: two consoles with a control socket and
/// two kicks each, three outputs, stdin and the signals.
const POLLED: u64 = 11;

fn limit(resource: Resource, most: u64) -> Result<(), Error> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
        .map_err(Error::new("limits", "set a resource limit"))
}
