//! Guest RAM for tests.
#![expect(unsafe_code, reason = "maps memory between guard pages")]

use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use vm_memory::{GuestAddress, GuestRegionMmap, MmapRegion};

use crate::Memory;

const PAGE: usize = 4096;

/// Zeroed guest RAM at these addresses, with these lengths in whole pages. Every range lies between
/// two pages that nobody may touch. It lives as long as the process: make one, use it often.
pub fn memory(ranges: &[(u64, usize)]) -> &'static Memory {
    let regions = ranges.iter().map(|&(start, len)| {
        let address = map_guarded(len).cast();
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        // SAFETY: `map_guarded` has just mapped `len` bytes there, for as long as the process lives.
        let region = unsafe { MmapRegion::build_raw(address, len, prot, flags) }.unwrap();
        GuestRegionMmap::new(region, GuestAddress(start)).expect("a range is not in the space")
    });
    Box::leak(Box::new(Memory::from_regions(regions.collect()).unwrap()))
}

fn map_guarded(len: usize) -> *mut libc::c_void {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at an address that the kernel chooses replaces nothing.
    let guarded =
        unsafe { mmap_anonymous(ptr::null_mut(), len + 2 * PAGE, ProtFlags::empty(), flags) };
    let inside = guarded.unwrap().cast::<u8>().wrapping_add(PAGE).cast();
    // SAFETY: the pages are the inside of the mapping just made, which nothing refers to.
    unsafe { mprotect(inside, len, MprotectFlags::READ | MprotectFlags::WRITE) }.unwrap();
    inside
}
