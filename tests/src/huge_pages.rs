//! Huge pages of the host, set aside for a test and given back after it.

use std::fs::File;
use std::path::{Path, PathBuf};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// Bytes of a huge page.
pub const SIZE: u64 = 2 << 20;

/// The host's pool of huge pages. One test has it at a time, in whatever process.
pub struct Pool {
    _locked: File,
    before: u64,
}

impl Pool {
    /// The pool with so many free pages.
    pub fn with(free: u64) -> Self {
        let locked = File::open(file("nr_hugepages")).unwrap();
        locked.lock().unwrap();
        let pool = Self { _locked: locked, before: read("nr_hugepages") };
        pool.leave(free);
        pool
    }

    /// Pages that are neither in use nor promised.
    pub fn left(&self) -> u64 {
        read("free_hugepages") - read("resv_hugepages")
    }

    /// Makes it have so many of them.
    pub fn leave(&self, free: u64) {
        self.set(read("nr_hugepages") - self.left() + free);
        assert_eq!(self.left(), free, "huge pages that the host could set aside");
    }

    /// Makes it have so many pages in all.
    pub fn set(&self, all: u64) {
        std::fs::write(file("nr_hugepages"), all.to_string()).unwrap();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.set(self.before);
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(POOL).join(name)
}

fn read(name: &str) -> u64 {
    std::fs::read_to_string(file(name)).unwrap().trim().parse().unwrap()
}

/// Why so many cannot be set aside, if they cannot.
pub fn missing(count: u64) -> Option<String> {
    if !Path::new(POOL).exists() {
        return Some("needs a kernel with huge pages of 2 MiB".to_owned());
    }
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let word = line.and_then(|line| line.split_ascii_whitespace().next());
    let available = word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) << 10;
    // Twice as much: what is free has to be in one piece, and others want some too.
    let needed = 2 * count * SIZE;
    (available < needed).then(|| format!("needs {} MiB of available memory", needed >> 20))
}
