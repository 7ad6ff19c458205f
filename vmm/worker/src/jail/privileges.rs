//! Nothing to gain, and nothing to look into.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use super::Error;

/// Sets no_new_privs and makes the process not dumpable.
pub fn give_up() -> Result<(), Error> {
    set_no_new_privs(true).map_err(Error::new("privileges", "set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::new("privileges", "become not dumpable"))
}
