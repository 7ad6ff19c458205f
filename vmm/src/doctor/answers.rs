//! Facts that are in no file: what the kernel answers when it is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{geteuid, getpid};
use rustix::thread::{CoreSchedulingScope, core_scheduling_cookie};

/// The kernel's answers.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The Landlock ABI.
    pub landlock: Result<u32, Errno>,
    /// Whether core scheduling is there: `NODEV` without SMT, `INVAL` without the kernel's support.
    pub core_scheduling: Result<(), Errno>,
    /// Who asks; 0 is root.
    pub uid: u32,
    /// Time since 1970.
    pub now: Duration,
}

impl Answers {
    /// Asks the running kernel.
    pub fn of_kernel() -> Self {
        Self {
            landlock: landlock_abi(),
            core_scheduling: core_scheduling_cookie(getpid(), CoreSchedulingScope::Thread)
                .map(drop),
            uid: geteuid().as_raw(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }
}

/// The crate `landlock` tells the ABI only after it has restricted the caller.
#[expect(unsafe_code, reason = "neither rustix nor landlock has this query")]
fn landlock_abi() -> Result<u32, Errno> {
    const VERSION: u32 = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with the flag VERSION the kernel reads no memory of ours and makes no descriptor.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(abi).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::NOSYS)
    })
}
