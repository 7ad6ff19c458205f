//! The worker dies with the launcher, and belongs to no terminal.

use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use super::Error;

/// Asks for SIGKILL at the launcher's death. If it has died before, the vcpu worker reads the end of
/// the go instead of it and ends, and the device workers end with the vcpu worker: no parent's id can
/// be looked at from inside a pid namespace, and no look at it would be without a race.
pub fn die_with() -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Error::new("parent", "ask for the parent-death signal"))?;
    setsid().map_err(Error::new("parent", "leave the session"))?;
    Ok(())
}
