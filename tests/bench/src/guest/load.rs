//! PID 1 of a guest that uses its disk and ends: `load KIND SIZE DEPTH COUNT`. Without arguments it ends at once.
//!
//! COUNT transfers of SIZE bytes go past the guest's cache, DEPTH of them in flight (io_submit). Small ones go all
//! over the disk, large ones from its beginning to its end. KIND is `read`, `write`, or `durable`: each write is
//! followed by an fdatasync. As [`first`](../first) it does without the runtime of Rust's standard library. What
//! fails ends PID 1, and so the guest, in another way than the one that is waited for.
#![no_main]

mod aio;
mod exit;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::mount::{MountFlags, mount};

use aio::{Queue, Transfer};

/// What direct transfers are aligned to.
const PAGE: usize = 4096;
/// From a transfer to the next, in transfers: those of a page are in no order.
const STRIDE: u64 = 7919;

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the name that the C library calls")]
extern "C" fn main() -> libc::c_int {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => Some(()),
        [kind, size, depth, count] => load(kind, size, depth, count),
        _ => None,
    };
    done.map_or(1, |()| exit::exit())
}

fn load(kind: &str, size: &str, depth: &str, count: &str) -> Option<()> {
    let (size, depth) = (size.parse::<usize>().ok()?, depth.parse::<usize>().ok()?);
    let count = count.parse::<u64>().ok()?;
    std::fs::create_dir_all("/dev").ok()?;
    mount(c"dev", c"/dev", c"devtmpfs", MountFlags::empty(), None).ok()?;
    let mut disk = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open("/dev/vda")
        .ok()?;
    let places = disk.seek(SeekFrom::End(0)).ok()? / u64::try_from(size).ok()?;
    let stride = if size == PAGE { STRIDE } else { 1 };

    let memory = vec![0x5a; depth * size + PAGE].leak();
    let aligned = memory.as_ptr().align_offset(PAGE);
    let buffers = memory.get_mut(aligned..aligned + depth * size)?;
    let mut queue = Queue::new(disk.as_fd(), buffers, size)?;
    let mut free: Vec<usize> = (0..depth).collect();
    let (mut begun, mut done) = (0, 0);
    while done < count {
        let wanted = usize::try_from(count - begun).ok()?.min(free.len());
        let transfers = free.drain(..wanted).map(|buffer| {
            let place = begun * stride % places;
            begun += 1;
            Transfer {
                buffer,
                offset: place * u64::try_from(size).unwrap_or(0),
                write: kind != "read",
            }
        });
        queue.submit(transfers)?;
        let before = free.len();
        queue.wait(&mut free)?;
        done += u64::try_from(free.len() - before).ok()?;
        if kind == "durable" {
            disk.sync_data().ok()?;
        }
    }
    Some(())
}
