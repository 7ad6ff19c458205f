//! Guest RAM and control pages: two files, mapped.
//!
//! One holds RAM, the other a control page for each device, so that RAM can be of huge pages and a worker
//! still has no control page but its own. Each run of RAM is mapped between pages that nobody may touch, so
//! that running over its end is a fault, and at a multiple of [`HUGE_PAGE`]. The mappings live as long
//! as the process; the files can be closed.
#![expect(unsafe_code, reason = "maps memory that other processes and the guest share")]

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::AtomicU32;

use devices::Memory;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use vm_memory::{GuestAddress, GuestRegionMmap, MmapRegion};

use crate::layout;

/// Bytes of an ordinary page.
pub const PAGE: usize = 4096;

/// Bytes of a huge page. Host and KVM map one as a whole where addresses agree in it: the guest's do, since
/// each run of RAM begins at a multiple of it, and so do ours.
pub const HUGE_PAGE: usize = 2 << 20;

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

/// Maps `size` bytes of guest RAM from the start of `file`. Reserves nothing: memory of huge pages is reserved
/// already, and of other pages it is taken as it is touched: by huge ones if it may be `transparent` and the host gives
/// them, and else by none, whatever the host says.
pub fn ram(file: impl AsFd, size: u64, transparent: bool) -> Result<Memory, Error> {
    let mut regions = Vec::new();
    for range in layout::ram(size) {
        let len = usize::try_from(range.len).map_err(|_| Error::Layout(size))?;
        let address = map_guarded(file.as_fd(), range.offset, len)?;
        advise(address, len, transparent)?;
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

/// Maps `len` bytes of `file` at a multiple of [`HUGE_PAGE`], with an inaccessible page or more on either side.
fn map_guarded(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<*mut u8, Error> {
    let failed = |errno| Error::Map("guest memory", errno);
    // SAFETY: a new anonymous mapping at an address that the kernel chooses replaces nothing.
    let guard = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            len + 2 * HUGE_PAGE,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(failed)?;
    let inside = guard.map_addr(|start| (start + PAGE).next_multiple_of(HUGE_PAGE));
    // SAFETY: replaces the inside of the mapping just made, which nothing refers to.
    let inside = unsafe {
        mmap(
            inside,
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE,
            file,
            offset,
        )
    }
    .map_err(failed)?;
    Ok(inside.cast())
}

/// Asks for transparent huge pages, or for none.
fn advise(address: *mut u8, len: usize, transparent: bool) -> Result<(), Error> {
    let advice = if transparent { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
    // SAFETY: advice about a mapping of ours, which changes nothing of what is in it.
    match unsafe { madvise(address.cast(), len, advice) } {
        // INVAL: a kernel that has none, or memory that is of huge pages anyway.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(Error::Map("guest memory", errno)),
    }
}

/// Reserves the host's huge pages for the first `size` bytes of `memfd`, which is made of such. They are its own
/// from then on, whoever maps it.
///
/// # Errors
/// There are not enough of them.
pub fn reserve(memfd: impl AsFd, size: u64) -> Result<(), Errno> {
    let len = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
    // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
    let mapping =
        unsafe { mmap(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::SHARED, memfd, 0) }?;
    // SAFETY: the mapping just made, which nothing refers to.
    unsafe { munmap(mapping, len) }
}

/// Maps device `index`'s control page of `memfd`; its first word is the device's InterruptStatus.
pub fn control_page(memfd: impl AsFd, index: u8) -> Result<&'static AtomicU32, Error> {
    // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
    let page = unsafe {
        mmap(
            ptr::null_mut(),
            PAGE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            memfd,
            u64::from(index) * PAGE as u64,
        )
    }
    .map_err(|errno| Error::Map("a control page", errno))?;
    // SAFETY: the mapping is page aligned, is never unmapped, and other processes access this word
    // only as an atomic too.
    Ok(unsafe { AtomicU32::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    #[test]
    fn ram_lies_where_huge_pages_can_and_between_pages_that_nobody_may_touch() {
        let size = layout::HOLE_START + (33 << 20);
        let memfd = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memfd, size).unwrap();
        let ram = ram(&memfd, size, true).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_guard = |bounds: &dyn Fn(usize, usize) -> bool| {
            maps.lines().filter(|line| line.contains(" ---p ")).any(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                bounds(number(start), number(end))
            })
        };
        assert_eq!(ram.num_regions(), 2);
        for region in ram.iter() {
            let start = region.as_ptr().addr();
            let end = start + usize::try_from(region.len()).unwrap();
            assert_eq!(start % HUGE_PAGE, 0);
            assert!(is_guard(&|from, to| from <= start - PAGE && to == start), "{maps}");
            assert!(is_guard(&|from, to| from == end && to >= end + PAGE), "{maps}");
        }
    }
}
