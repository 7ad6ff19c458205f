//! Guest memory for the independent driver: pages of one guest RAM, and bounce buffers in them.
#![expect(unsafe_code, reason = "the trait of the driver's crate is unsafe to implement")]

use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex};

use devices::Memory;
use devices::testing::memory;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};
use vm_memory::{GuestAddress, GuestMemoryBackend};

const PAGE: usize = 4096;
const PAGES: usize = 1024;

/// Guest RAM, in which all drivers of this process live.
pub static RAM: LazyLock<&'static Memory> = LazyLock::new(|| memory(&[(0, PAGES * PAGE)]));

/// Pages in use. The first is never given out: the driver takes address 0 for a failure.
static USED: Mutex<[bool; PAGES]> = Mutex::new([false; PAGES]);

/// The driver's platform.
pub struct Platform;

fn host(address: PhysAddr) -> NonNull<u8> {
    NonNull::new(RAM.get_host_address(GuestAddress(address)).unwrap()).unwrap()
}

fn take(pages: usize) -> PhysAddr {
    let mut used = USED.lock().unwrap();
    let first = (1..PAGES - pages)
        .find(|first| used[*first..first + pages].iter().all(|used| !used))
        .expect("guest RAM is used up");
    used[first..first + pages].fill(true);
    (first * PAGE) as u64
}

fn give_back(address: PhysAddr, pages: usize) {
    let first = usize::try_from(address).unwrap() / PAGE;
    USED.lock().unwrap()[first..first + pages].fill(false);
}

// SAFETY: pages are taken once at a time, page-aligned, and stay mapped for ever.
unsafe impl Hal for Platform {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let address = take(pages);
        let pointer = host(address);
        // SAFETY: `take` found so many pages that nobody else has.
        unsafe { pointer.write_bytes(0, pages * PAGE) };
        (address, pointer)
    }

    unsafe fn dma_dealloc(address: PhysAddr, _: NonNull<u8>, pages: usize) -> i32 {
        give_back(address, pages);
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("there is no PCI")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let address = take(buffer.len().div_ceil(PAGE));
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: the driver's buffer is valid, and the pages are nobody else's.
            unsafe { host(address).copy_from(buffer.cast(), buffer.len()) };
        }
        address
    }

    unsafe fn unshare(address: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: the driver's buffer is valid, and the pages are nobody else's.
            unsafe { host(address).copy_to(buffer.cast(), buffer.len()) };
        }
        give_back(address, buffer.len().div_ceil(PAGE));
    }
}
