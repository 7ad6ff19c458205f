//! Landlock: every right and scope that the kernel knows is handled, none is granted.
//!
//! A second wall behind the empty root, the namespaces and the filter, made of other code.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::io::Errno;

use super::Error;

/// The newest ABI that the library knows; an older kernel gets what it knows of it.
const NEWEST: ABI = ABI::V10;

/// Denies everything but what the process already has open, and, with `signals`, signals to
/// processes outside. Below `writable`, files and directories may be made and removed. Returns the ABI
/// that is in force; 0: the kernel has no Landlock.
pub fn deny_all(signals: bool, writable: Option<BorrowedFd<'_>>) -> Result<u8, Error> {
    let made = AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    let mut scopes = Scope::from_all(NEWEST);
    if signals {
        scopes.remove(Scope::Signal);
    }
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(scopes))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(writable.map(|fd| Ok(PathBeneath::new(fd, made)))))
        .and_then(|rules| rules.no_new_privs(true).restrict_self())
        .map_err(|_| Error::new("landlock", "restrict the process")(Errno::PERM))?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            Ok(effective_abi as u8)
        }
        _ => Ok(0),
    }
}
