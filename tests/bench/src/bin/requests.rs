//! requests DEVICE COUNT: has the device core serve requests, without a virtual machine, and prints how often it
//! asked for memory. `blk` reads 4 KiB, `console` writes 64 bytes.
//!
//! To be run under valgrind, which counts its instructions.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use devices::testing::{Request, ServedConsole, ServedDisk};

/// The system's allocator, which counts.
struct Counted;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: all that it does with memory is the system's allocator's. Growing comes down to `alloc` too.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to what `alloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory is the system allocator's, since nothing else is handed out.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, count] = &arguments[..] else { bail!("usage: requests blk|console COUNT") };
    let count: u64 = count.parse().context("not a number of requests")?;
    match &device[..] {
        "blk" => {
            let mut disk = ServedDisk::new(Request::Read(4096));
            (0..count).for_each(|_| disk.serve());
        }
        "console" => {
            let mut console = ServedConsole::new(64);
            (0..count).for_each(|_| console.serve());
        }
        other => bail!("there is no device {other:?}"),
    }
    println!("{}", ALLOCATIONS.load(Ordering::Relaxed));
    Ok(())
}
