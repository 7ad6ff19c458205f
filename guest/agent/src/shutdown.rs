//! The end of the guest: clean disks first, then the power, by whichever way works.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::system::{RebootCommand, reboot};

use crate::{console, mounts, sys};

/// The I/O port that ends the guest with an exit code, where the machine has one.
const EXIT_PORT: u16 = 0x603;
/// casemate's own status for "could not do its part".
const EXIT_CODE: u8 = 125;

/// Makes every panic end the guest.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| give_up(&info.to_string().replace('\n', " "))));
}

/// Ends the guest with one line on the kernel's console.
pub fn give_up(text: &str) -> ! {
    console::say(text);
    power_off()
}

/// Ends the guest with one line on the kernel's console, and with an exit code, since no frame can
/// tell the host.
pub fn without_channel(text: &str) -> ! {
    console::say(text);
    let _ = sys::write_port(EXIT_PORT, EXIT_CODE);
    power_off()
}

/// Kills every process but this one. The kernel does it in one step that no fork escapes.
pub fn kill_all() {
    // To the group of PID 1 means to everybody (kill(2), -1). It fails when nobody is left.
    let _ = kill_process_group(Pid::INIT, Signal::KILL);
}

/// Leaves every disk clean: kills what still runs, unmounts what can be unmounted, writes back the rest.
pub fn settle() {
    kill_all();
    // Without /proc there is nothing to unmount by; the disks are written back all the same.
    let _ = mounts::proc();
    let mut places = mount_points(&std::fs::read("/proc/self/mounts").unwrap_or_default());
    // A mount on top of another hides it from the first try; each round must bring something.
    loop {
        let before = places.len();
        places.retain(|place| unmount(place, UnmountFlags::NOFOLLOW).is_err());
        if places.is_empty() || places.len() == before {
            break;
        }
    }
    for place in &places {
        let _ = mount_remount(place, MountFlags::RDONLY, c"");
    }
    rustix::fs::sync();
}

/// The mount points below the root, the latest first (proc_pid_mounts(5)).
fn mount_points(mounts: &[u8]) -> Vec<OsString> {
    let lines = mounts.split(|&byte| byte == b'\n').rev();
    let places = lines.filter_map(|line| line.split(|&byte| byte == b' ').nth(1));
    places.filter(|place| *place != b"/").map(unescape).map(OsString::from_vec).collect()
}

/// Resolves `\040` and its like: a blank, tab, newline or backslash as three octal digits.
fn unescape(place: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(place.len());
    let mut rest = place;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Cuts the power. If the kernel cannot, the exit port ends the guest.
pub fn power_off() -> ! {
    let _ = reboot(RebootCommand::PowerOff);
    let _ = sys::write_port(EXIT_PORT, EXIT_CODE);
    loop {
        rustix::event::pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_mount_comes_first_and_the_root_never() {
        let mounts = b"overlay / overlay rw 0 0\n\
            proc /proc proc rw 0 0\n\
            /dev/vdb /mnt/a\\040b\\134c ext4 rw 0 0\n\
            tmpfs /mnt/a\\040b\\134c/\\999 tmpfs rw 0 0\n";
        let expected = ["/mnt/a b\\c/\\999", "/mnt/a b\\c", "/proc"];
        assert_eq!(mount_points(mounts), expected);
        assert!(mount_points(b"").is_empty());
    }
}
