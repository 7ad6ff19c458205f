//! Words for the kernel's console: only for when the channel cannot carry them.

use std::fs::OpenOptions;
use std::io::Write;

/// Writes one line to the kernel's log and with it to every console that the kernel has, or to
/// `/dev/console` where there is no log device yet. Level 0, so that `quiet` does not hide it.
pub fn say(text: &str) {
    let write = |path, line: String| {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
    };
    if write("/dev/kmsg", format!("<0>casemate-agent: {text}\n")).is_err() {
        // When this fails, too, nobody is left to tell.
        let _ = write("/dev/console", format!("casemate-agent: {text}\r\n"));
    }
}
