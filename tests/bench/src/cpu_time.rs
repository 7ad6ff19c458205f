//! What of the processor other processes used.
#![expect(unsafe_code, reason = "getrusage, which no crate here has")]

use std::io::Error;
use std::mem::MaybeUninit;

/// Milliseconds that the children waited for used, and theirs.
pub fn of_children() -> Result<f64, Error> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes one structure.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so all of it is written.
    let usage = unsafe { usage.assume_init() };
    #[expect(clippy::cast_precision_loss, reason = "less than 2^52 microseconds")]
    let milliseconds = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    Ok(milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime))
}
