//! Resource limits.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Error;

/// No core dump: it would hold guest memory.
pub fn set() -> Result<(), Error> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(Error::new("limits", "forbid core dumps"))
}
