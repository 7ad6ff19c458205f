//! No capability, in any set, ever again.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

use super::Error;

const LAYER: &str = "capabilities";

/// Empties every capability set and locks the ways back. Without privilege to begin with, there is
/// nothing in the sets but the bounding set, which then cannot matter: no_new_privs is on.
pub fn drop_all() -> Result<(), Error> {
    clear_ambient_capability_set().map_err(Error::new(LAYER, "clear the ambient set"))?;
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            // INVAL: the kernel knows no more. PERM: unprivileged from the start.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(errno) => return Err(Error::new(LAYER, "empty the bounding set")(errno)),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    match set_capabilities_secure_bits(bits) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(Error::new(LAYER, "lock the secure bits")(errno)),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(Error::new(LAYER, "drop them"))
}
