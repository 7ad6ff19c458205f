//! Devices that may need a moment to appear.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// Drivers probe while their module loads; this is for the ones that do it in the background.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(1);

/// Opens a device as soon as that works. A node alone says little: all of `/dev/hvc*` appear with
/// the first console, and opening one fails until its device is there.
pub fn open_when_ready(path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(errno) if Instant::now() >= deadline => return Err(errno),
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
