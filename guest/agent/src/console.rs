//! Words for the kernel's console: only for when the channel cannot carry them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::OnceLock;

/// The kernel's log, open for as long as the guest lives: at its end `/dev` is unmounted.
static LOG: OnceLock<File> = OnceLock::new();

/// Opens the kernel's log, once there is a `/dev`.
pub fn open() {
    if let Ok(log) = append("/dev/kmsg") {
        // Only the first one counts, and there is only one.
        let _ = LOG.set(log);
    }
}

/// Writes one line to the kernel's log and with it to every console that the kernel has, or to
/// `/dev/console` where there is no log. Level 0, so that `quiet` does not hide it.
pub fn say(text: &str) {
    let logged =
        LOG.get().map(|mut log| log.write_all(format!("<0>casemate-agent: {text}\n").as_bytes()));
    if !matches!(logged, Some(Ok(()))) {
        // When this fails, too, nobody is left to tell.
        let _ = append("/dev/console").and_then(|mut console| {
            console.write_all(format!("casemate-agent: {text}\r\n").as_bytes())
        });
    }
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}
