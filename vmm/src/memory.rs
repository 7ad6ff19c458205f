//! What a guest and its workers share: RAM, and a control page for each device.
//!
//! Nobody may change their sizes under those who map them. Whoever holds neither of them open cannot, and launcher
//! and workers close them before the guest runs; where they are memfds, they are sealed besides.
//!
//! RAM of huge pages (`--hugepages`) is reserved as a whole before a worker is started, or refused: a page
//! that is not there when it is first touched would end a worker in the middle of its work. A reservation is
//! the memfd's own, and gone with it.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use serde::Serialize;
use worker::memory::{HUGE_PAGE, PAGE, reserve};

use crate::host::{self, HUGE_PAGES, HugePages};
use crate::tmpfs;

/// A guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Its size.
    pub bytes: u64,
    /// The size of the host's pages that it is made of.
    pub page_bytes: usize,
    /// The host may put transparent huge pages in their place.
    pub transparent: bool,
}

impl Memory {
    /// Memory of the host's ordinary pages, or of transparent huge ones where it gives them.
    pub fn ordinary(bytes: u64) -> Self {
        Self { bytes, page_bytes: PAGE, transparent: true }
    }

    /// Memory of the host's ordinary pages alone.
    pub fn small(bytes: u64) -> Self {
        Self { bytes, page_bytes: PAGE, transparent: false }
    }

    /// Memory of huge pages, which the host sets aside.
    pub fn huge(bytes: u64) -> Self {
        Self { bytes, page_bytes: HUGE_PAGE, transparent: false }
    }

    /// Makes it. Returns what it has become, too: transparent no more if it cannot be.
    pub fn make(self) -> Result<(OwnedFd, Self)> {
        let name = "guest-memory";
        if self.page_bytes == PAGE {
            return self.of_ordinary_pages(name).context("cannot make the guest's memory");
        }
        let ram = sealed(name, self.bytes, MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB);
        let ram = ram.context("cannot make the guest's memory of huge pages of 2 MiB")?;
        let wanted = self.bytes / u64::try_from(HUGE_PAGE)?;
        match reserve(&ram, self.bytes) {
            Ok(()) => Ok((ram, self)),
            Err(errno) => bail!(
                "cannot reserve {wanted} huge pages of 2 MiB for the guest's memory: {}",
                why(wanted, errno, host::huge_pages().ok())
            ),
        }
    }

    fn of_ordinary_pages(self, name: &str) -> Result<(OwnedFd, Self)> {
        let wanted = self.transparent && host::transparent_huge_pages();
        if let Some(Ok(file)) = wanted.then(|| tmpfs::file(name, self.bytes)) {
            return Ok((file, self));
        }
        let memfd = sealed(name, self.bytes, MemfdFlags::empty())?;
        Ok((memfd, Self { transparent: false, ..self }))
    }
}

/// A control page for each of so many devices.
pub fn control_pages(devices: usize) -> Result<OwnedFd> {
    let len = u64::try_from(devices * PAGE)?;
    sealed("control-pages", len, MemfdFlags::empty()).context("cannot make the control pages")
}

/// A memfd of `len` bytes that stays so long.
fn sealed(name: &str, len: u64, flags: MemfdFlags) -> Result<OwnedFd> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = memfd_create(name, flags).context("cannot make a memfd")?;
    ftruncate(&memfd, len).context("cannot size a memfd")?;
    fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .context("cannot seal a memfd")?;
    Ok(memfd)
}

/// Why the host did not reserve so many huge pages, and what to do about it.
fn why(wanted: u64, errno: Errno, pages: Option<HugePages>) -> String {
    let Some(HugePages { all, free, reserved }) = pages else { return errno.to_string() };
    let left = free.saturating_sub(reserved);
    let state = format!("{left} of the host's {all} are free");
    if left >= wanted {
        let limit = "a control group's hugetlb.2MB.rsvd.max, or a cpuset, allows fewer";
        return format!("{errno}, although {state} ({limit})");
    }
    let needed = all - left + wanted;
    format!("{state} (as root: echo {needed} >{HUGE_PAGES}/nr_hugepages)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_huge_pages_that_are_not_there() {
        let pages = |all, free, reserved| Some(HugePages { all, free, reserved });
        let rows = [
            (256, pages(0, 0, 0), "0 of the host's 0 are free", "echo 256 >/sys/"),
            (256, pages(100, 100, 0), "100 of the host's 100 are free", "echo 256 >/sys/"),
            // 30 in use and 60 promised, so 10 are left.
            (16, pages(100, 70, 60), "10 of the host's 100 are free", "echo 106 >/sys/"),
            (16, pages(100, 70, 10), "although 60 of", "hugetlb.2MB.rsvd.max"),
            (16, None, "Cannot allocate memory", ""),
        ];
        for (wanted, pages, state, fix) in rows {
            let text = why(wanted, Errno::NOMEM, pages);
            assert!(text.contains(state) && text.contains(fix), "{text}");
        }
    }
}
