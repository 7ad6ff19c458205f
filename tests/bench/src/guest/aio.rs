//! Transfers in flight: Linux's io_submit, as its io_submit(2) describes it.
#![expect(unsafe_code, reason = "system calls that no crate here has")]

use std::os::fd::{AsRawFd, BorrowedFd};

const READ: u16 = 0;
const WRITE: u16 = 1;

/// `struct iocb` of a little-endian machine.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    second_result: i64,
}

/// One transfer of a whole buffer.
pub struct Transfer {
    /// Which buffer.
    pub buffer: usize,
    /// Where on the disk, in bytes.
    pub offset: u64,
    /// To the disk.
    pub write: bool,
}

/// Transfers of buffers of one size. It lasts until the guest ends.
pub struct Queue {
    context: u64,
    requests: Vec<Request>,
    completions: Vec<Completion>,
    size: usize,
}

impl Queue {
    /// A queue for `file` that has as many transfers in flight as there are buffers of `size` bytes in `buffers`.
    pub fn new(file: BorrowedFd<'_>, buffers: &'static mut [u8], size: usize) -> Option<Self> {
        let request = |buffer: &mut [u8]| {
            Some(Request {
                file: u32::try_from(file.as_raw_fd()).ok()?,
                buffer: u64::try_from(buffer.as_mut_ptr().expose_provenance()).ok()?,
                bytes: u64::try_from(size).ok()?,
                ..Request::default()
            })
        };
        let requests: Vec<Request> =
            buffers.chunks_exact_mut(size).map(request).collect::<Option<_>>()?;
        let mut context = 0_u64;
        // SAFETY: the kernel writes one integer, the name of the new context.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, requests.len(), &raw mut context) };
        let completions = vec![Completion::default(); requests.len()];
        (made == 0).then_some(Self { context, requests, completions, size })
    }

    /// Begins transfers, whose buffers must be free.
    pub fn submit(&mut self, transfers: impl Iterator<Item = Transfer>) -> Option<()> {
        let mut begun = Vec::new();
        for transfer in transfers {
            let request = self.requests.get_mut(transfer.buffer)?;
            request.data = u64::try_from(transfer.buffer).ok()?;
            request.opcode = if transfer.write { WRITE } else { READ };
            request.offset = i64::try_from(transfer.offset).ok()?;
            begun.push(&raw mut *request);
        }
        // SAFETY: the buffers live as long as the program, and nobody looks at them.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_submit, self.context, begun.len(), begun.as_ptr())
        };
        (usize::try_from(taken) == Ok(begun.len())).then_some(())
    }

    /// Waits for one transfer at least; adds the buffers of all that are done to `free`.
    pub fn wait(&mut self, free: &mut Vec<usize>) -> Option<()> {
        let (room, none) = (self.completions.len(), std::ptr::null::<libc::timespec>());
        // SAFETY: the kernel writes as many completions at most as there is room for.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                1_i64,
                room,
                self.completions.as_mut_ptr(),
                none,
            )
        };
        let done = self.completions.get(..usize::try_from(done).ok()?)?;
        for completion in done {
            (usize::try_from(completion.result) == Ok(self.size)).then_some(())?;
            free.push(usize::try_from(completion.data).ok()?);
        }
        Some(())
    }
}
