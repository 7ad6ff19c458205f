//! Guest RAM and control pages: parts of one sealed memfd, mapped.
//!
//! The memfd holds RAM first and one control page for each device after it. Each run of RAM is
//! mapped between two pages that nobody may touch, so that running over its end is a fault. The
//! mappings live as long as the process; the memfd can be closed.
#![expect(unsafe_code, reason = "maps memory that other processes and the guest share")]

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::AtomicU32;

use devices::Memory;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use vm_memory::{GuestAddress, GuestRegionMmap, MmapRegion};

use crate::layout;

const PAGE: usize = 4096;

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// mmap failed.
    #[error("cannot map {0}: {1}")]
    Map(&'static str, #[source] Errno),
    /// The plan's memory size cannot be.
    #[error("cannot lay out {0} bytes of guest memory")]
    Layout(u64),
}

/// Maps `size` bytes of guest RAM from the start of `memfd`.
pub fn ram(memfd: impl AsFd, size: u64) -> Result<Memory, Error> {
    let mut regions = Vec::new();
    for range in layout::ram(size) {
        let len = usize::try_from(range.len).map_err(|_| Error::Layout(size))?;
        let address = map_guarded(memfd.as_fd(), range.offset, len)?;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: `map_guarded` has just mapped `len` bytes there, for as long as the process lives.
        let region = unsafe { MmapRegion::build_raw(address.cast(), len, prot, flags) }
            .map_err(|_| Error::Layout(size))?;
        regions.push(
            GuestRegionMmap::new(region, GuestAddress(range.start)).ok_or(Error::Layout(size))?,
        );
    }
    Memory::from_regions(regions).map_err(|_| Error::Layout(size))
}

/// Maps `len` bytes of `memfd` with an inaccessible page on either side.
fn map_guarded(memfd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<*mut u8, Error> {
    let failed = |errno| Error::Map("guest memory", errno);
    // SAFETY: a new anonymous mapping at an address that the kernel chooses replaces nothing.
    let guard = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            len + 2 * PAGE,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(failed)?;
    let inside = guard.cast::<u8>().wrapping_add(PAGE);
    // SAFETY: replaces the inside of the mapping just made, which nothing refers to.
    let inside = unsafe {
        mmap(
            inside.cast(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE,
            memfd,
            offset,
        )
    }
    .map_err(failed)?;
    Ok(inside.cast())
}

/// Maps the control page at `offset` of `memfd`; its first word is the device's InterruptStatus.
pub fn control_page(memfd: impl AsFd, offset: u64) -> Result<&'static AtomicU32, Error> {
    // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
    let page = unsafe {
        mmap(
            ptr::null_mut(),
            PAGE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            memfd,
            offset,
        )
    }
    .map_err(|errno| Error::Map("a control page", errno))?;
    // SAFETY: the mapping is page aligned, is never unmapped, and other processes access this word
    // only as an atomic too.
    Ok(unsafe { AtomicU32::from_ptr(page.cast()) })
}
