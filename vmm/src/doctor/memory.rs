//! Where guest memory can go besides the guest.

use super::finding::{Finding, Verdict};
use super::setting::number;
use super::source::{Fact, Source};
use crate::host::{HUGE_PAGES, TRANSPARENT, chosen};

/// What a swap area is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Backing {
    Memory,
    EncryptedDisk,
    Disk,
}

/// The areas in /proc/swaps, by path.
fn areas(swaps: &str) -> Vec<&str> {
    swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()).collect()
}

fn backing(source: &Source, area: &str) -> Backing {
    let Some(device) = area.strip_prefix("/dev/") else { return Backing::Disk };
    if device.starts_with("zram") {
        // With a backing device, zram writes what is not compressible to that.
        let to = source.text(&format!("/sys/block/{device}/backing_dev"));
        return match to.as_deref() {
            None | Some("none" | "") => Backing::Memory,
            Some(_) => Backing::Disk,
        };
    }
    if is_encrypted(source, device, 4) { Backing::EncryptedDisk } else { Backing::Disk }
}

/// True when a device-mapper device or one that it is made of is dm-crypt's. `depth` bounds the search.
fn is_encrypted(source: &Source, device: &str, depth: usize) -> bool {
    let uuid = source.text(&format!("/sys/block/{device}/dm/uuid")).unwrap_or_default();
    let below = source.names(&format!("/sys/block/{device}/slaves")).unwrap_or_default();
    uuid.starts_with("CRYPT-")
        || depth > 0 && below.iter().any(|device| is_encrypted(source, device, depth - 1))
}

/// Guest memory does not get to a disk.
pub fn swap(source: &Source) -> Finding {
    let swaps = match source.read("/proc/swaps") {
        Fact::Text(text) => text,
        Fact::Absent => return Finding::good("the kernel cannot swap"),
        Fact::Unreadable(reason) => {
            return Finding::new(Verdict::Note, format!("/proc/swaps: {reason}"));
        }
    };
    let areas = areas(&swaps);
    let Some(worst) = areas.iter().map(|area| backing(source, area)).max() else {
        return Finding::good("none");
    };
    let off = "swapoff -a, and take it out of /etc/fstab and systemd's *.swap";
    let list = areas.join(", ");
    match worst {
        Backing::Memory => {
            Finding::new(Verdict::Note, format!("{list}: in memory, compressed")).fix(off)
        }
        Backing::EncryptedDisk => {
            Finding::new(Verdict::Note, format!("{list}: encrypted")).fix(off)
        }
        Backing::Disk => Finding::new(Verdict::Warning, format!("{list}: not encrypted")).fix(off),
    }
}

/// Pages of several guests are not compressed into one pool.
pub fn zswap(source: &Source) -> Finding {
    let path = "/sys/module/zswap/parameters/enabled";
    let Some(text) = source.text(path) else { return Finding::good("not in this kernel") };
    let read = format!("{path} = {text}");
    let swaps = source.text("/proc/swaps").unwrap_or_default();
    match number(&text) {
        Some(0) => Finding::good(read),
        _ if areas(&swaps).is_empty() => Finding::good(format!("{read}; without effect, no swap")),
        _ => Finding::new(Verdict::Note, read)
            .fix(format!("echo N >{path}; boot with zswap.enabled=0")),
    }
}

/// Guest memory can be in huge pages: a matter of speed.
pub fn huge_pages(source: &Source) -> Finding {
    let word = |file: &str| {
        let text = source.text(&format!("{TRANSPARENT}/{file}")).unwrap_or_default();
        chosen(&text).unwrap_or("not told").to_owned()
    };
    let (anonymous, shared) = (word("enabled"), word("shmem_enabled"));
    let set_aside = source.text(&format!("{HUGE_PAGES}/nr_hugepages"));
    let set_aside = set_aside.unwrap_or_else(|| "none".to_owned());
    let read = format!(
        "transparent: {anonymous}, in shared memory: {shared}; set aside for --hugepages: {set_aside}"
    );
    let fix = match (anonymous.as_str(), shared.as_str()) {
        ("always" | "madvise", "deny") => format!("echo never >{TRANSPARENT}/shmem_enabled"),
        ("always" | "madvise", "not told") => "a kernel with CONFIG_SHMEM".to_owned(),
        ("always" | "madvise", _) => return Finding::good(read),
        _ => format!("echo madvise >{TRANSPARENT}/enabled"),
    };
    let fix = format!("{fix}, or echo N >{HUGE_PAGES}/nr_hugepages and run --hugepages");
    Finding::new(Verdict::Note, read).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let swaps =
            "Filename\tType\tSize\n/dev/dm-1 partition 1 0 -2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(areas(swaps), ["/dev/dm-1", "/swap\\040file"]);
        assert!(areas("").is_empty());
    }
}
