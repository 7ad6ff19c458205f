//! The image behind a virtio-blk device: raw bytes, addressed in bytes.
//!
//! The trait is what fault injection replaces in tests. The file is read and written straight from
//! and to guest memory; it is never interpreted.
#![expect(unsafe_code, reason = "preadv and pwritev on guest memory, which no safe wrapper takes")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;

/// The most regions that one transfer takes. A longer list is transferred in part.
const MAX_REGIONS: usize = 256;

/// Storage for a block device. Transfers may be short, as read(2) and write(2) may.
pub trait Disk {
    /// Reads at `offset` into `regions` in turn; returns the bytes read, 0 at the end.
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Writes `regions` in turn at `offset`; returns the bytes written.
    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Makes everything written so far durable.
    fn flush(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let offset = file_offset(offset)?;
        with_iovecs(regions, |iovecs, count| {
            // SAFETY: the iovecs, `count` of which are written, name guest memory that `regions`
            // keeps mapped; the kernel writes there as a device would, and no Rust reference to
            // that memory exists.
            unsafe { libc::preadv(self.as_raw_fd(), iovecs, count, offset) }
        })
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let offset = file_offset(offset)?;
        with_iovecs(regions, |iovecs, count| {
            // SAFETY: the iovecs, `count` of which are written, name guest memory that `regions`
            // keeps mapped; the kernel only reads it.
            unsafe { libc::pwritev(self.as_raw_fd(), iovecs, count, offset) }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file without a name, which is gone with the run: a flush has nothing to make durable.
#[derive(Debug)]
pub struct Temporary(pub File);

impl Disk for Temporary {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.read(regions, offset)
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write(regions, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn with_iovecs(
    regions: &[VolatileSlice<'_>],
    transfer: impl FnOnce(*const libc::iovec, libc::c_int) -> libc::ssize_t,
) -> io::Result<usize> {
    // Most have one region: the rest is not worth writing.
    let mut iovecs = [const { MaybeUninit::uninit() }; MAX_REGIONS];
    let mut count = 0;
    for (iovec, region) in iovecs.iter_mut().zip(regions) {
        let iov_base = region.ptr_guard_mut().as_ptr().cast();
        iovec.write(libc::iovec { iov_base, iov_len: region.len() });
        count += 1;
    }
    usize::try_from(transfer(iovecs.as_ptr().cast(), count)).map_err(|_| io::Error::last_os_error())
}
