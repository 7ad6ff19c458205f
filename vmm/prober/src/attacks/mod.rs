//! The techniques themselves, a file for each kind.

mod descriptors;
mod files;
mod kernel;
mod kvm;
mod memory;
mod others;
mod privileges;
mod processes;
mod resources;
mod sockets;

use std::os::fd::RawFd;

use prober::bait::Bait;

use crate::raw::{Attempt, time_stamp};

/// What an attacker in a worker knows.
#[derive(Debug)]
pub struct Attacker {
    /// The bait.
    pub bait: Bait,
    /// The virtual machine's descriptor and its vCPUs', in the vcpu worker.
    pub kvm: Vec<RawFd>,
    /// A page below 4 GiB that holds the path of /etc/passwd, mapped before the seal.
    pub low: u32,
    /// The worker's own control sockets, and the kick of its first queue.
    pub control: RawFd,
    /// The kick event of its first queue.
    pub kick: RawFd,
}

/// A technique. `Ok`: it got through.
pub type Attack = fn(&Attacker) -> Attempt;

/// The technique of this name.
pub fn find(id: &str) -> Option<Attack> {
    let tables = [
        files::ATTACKS,
        processes::ATTACKS,
        others::ATTACKS,
        sockets::ATTACKS,
        privileges::ATTACKS,
        descriptors::ATTACKS,
        kvm::ATTACKS,
        kernel::ATTACKS,
        memory::ATTACKS,
        resources::ATTACKS,
        &[("rdtsc", rdtsc as Attack)],
    ];
    tables.into_iter().flatten().find(|(name, _)| *name == id).map(|(_, attack)| *attack)
}

fn rdtsc(_: &Attacker) -> Attempt {
    match time_stamp() {
        0 => Err(crate::raw::IN_VAIN),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use prober::catalogue::TECHNIQUES;

    #[test]
    fn every_technique_of_the_catalogue_can_be_tried() {
        let missing: Vec<&str> = TECHNIQUES
            .iter()
            .map(|technique| technique.id)
            .filter(|id| super::find(id).is_none())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(super::find("nothing").is_none());
    }
}
