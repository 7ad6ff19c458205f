//! The host's huge pages of 2 MiB: those that somebody has set aside, and the transparent ones.

use std::path::Path;

use anyhow::{Context, Result};

/// Where the kernel tells of them. Not what /proc/meminfo and `vm.nr_hugepages` are about: those are of the
/// size that the host prefers, which may be another.
pub const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// Where the kernel is told whether it may put transparent ones in the place of ordinary pages.
pub const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage";

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub struct HugePages {
    /// All of them.
    pub all: u64,
    /// Those that nobody uses.
    pub free: u64,
    /// Those of the free ones that are promised to somebody.
    pub reserved: u64,
}

/// Reads how many there are.
pub fn huge_pages() -> Result<HugePages> {
    let read = |name: &str| -> Result<u64> {
        let path = Path::new(HUGE_PAGES).join(name);
        let failed = || format!("cannot read {path:?}");
        let text = std::fs::read_to_string(&path).with_context(failed)?;
        text.trim().parse().with_context(failed)
    };
    Ok(HugePages {
        all: read("nr_hugepages")?,
        free: read("free_hugepages")?,
        reserved: read("resv_hugepages")?,
    })
}

/// Whether the host has transparent huge pages for memory that asks for them, on a mount that allows them.
pub fn transparent_huge_pages() -> bool {
    let allows = |file, word| {
        let text = std::fs::read_to_string(Path::new(TRANSPARENT).join(file)).unwrap_or_default();
        chosen(&text).is_some_and(|chosen| chosen != word)
    };
    allows("enabled", "never") && allows("shmem_enabled", "deny")
}

/// What a list like `always [madvise] never` has chosen.
pub fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        for bad in ["", "always", "[", "]x[", "[open"] {
            assert_eq!(chosen(bad), None, "{bad}");
        }
    }
}
