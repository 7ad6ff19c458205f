//! The numbers of the descriptors that a worker inherits.
//!
//! | number | vcpu | console | blk*n* |
//! |---|---|---|---|
//! | 0, 1, 2 | /dev/null, closed at once | the user's stdin, stdout, stderr | /dev/null, closed at once |
//! | 3 | status pipe | status pipe | status pipe |
//! | 4 | RAM, closed once mapped | the same | the same |
//! | 5 | /dev/kvm, closed once set up | orders | image |
//! | 6 | kernel, closed once loaded | console file, if asked for | the copy of what is written, if one is kept |
//! | 7 | initramfs, closed once loaded | | |
//! | 8 | the go: a pipe from the launcher | | |
//! | 9 | the record, if one is asked for | | |
//! | 10 | control pages, closed once mapped | the same | the same |
//! | 16 + 4*d* | control socket of device *d* | of its own devices | of its own device |
//! | 17 + 4*d* | interrupt, closed once wired | interrupt | interrupt |
//! | 18 + 4*d* + *q* | kick of queue *q*, closed once wired; kept with a record | kicks | kick |
//!
//! A sealed worker has the listener of its filter besides, and the vcpu worker what KVM gave it.
#![expect(unsafe_code, reason = "inherited descriptors have numbers and no owner until here")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Where a worker tells the launcher how it is.
pub const STATUS: RawFd = 3;
/// Guest RAM.
pub const MEMORY: RawFd = 4;
/// vcpu worker: /dev/kvm.
pub const KVM: RawFd = 5;
/// vcpu worker: the kernel image.
pub const KERNEL: RawFd = 6;
/// vcpu worker: the initramfs.
pub const INITRD: RawFd = 7;
/// vcpu worker: a byte once every worker is sealed, or the end of the launcher.
pub const GO: RawFd = 8;
/// vcpu worker: where the guest's accesses are recorded.
pub const RECORD: RawFd = 9;
/// The memfd of the control pages.
pub const CONTROL_PAGES: RawFd = 10;
/// blk worker: the image.
pub const IMAGE: RawFd = 5;
/// blk worker: where what is written goes instead of the image.
pub const COPY: RawFd = 6;
/// console worker: what the launcher wants the command to get.
pub const ORDERS: RawFd = 5;
/// console worker: the file for the kernel's console.
pub const LOG: RawFd = 6;

const DEVICES: RawFd = 16;
const PER_DEVICE: RawFd = 4;

/// Control socket of device `index`.
pub fn control(index: u8) -> RawFd {
    DEVICES + PER_DEVICE * RawFd::from(index)
}

/// Interrupt event of device `index`.
pub fn interrupt(index: u8) -> RawFd {
    control(index) + 1
}

/// Kick event of queue `queue` (0 or 1) of device `index`.
pub fn kick(index: u8, queue: u8) -> RawFd {
    control(index) + 2 + RawFd::from(queue)
}

/// The inherited descriptors that nobody has taken yet.
#[derive(Debug)]
pub struct Inherited {
    untaken: Vec<RawFd>,
}

impl Inherited {
    /// The descriptors with these numbers: all that is open once the jail has closed the rest.
    pub(crate) fn new(numbers: Vec<RawFd>) -> Self {
        Self { untaken: numbers }
    }

    /// Lends the descriptor with this number, if it was inherited and not taken before.
    pub(crate) fn lend(&self, number: RawFd) -> Option<BorrowedFd<'_>> {
        self.untaken.contains(&number).then(|| {
            // SAFETY: the jail checked that this descriptor is open; nobody has taken it, and nobody can
            // while it is lent.
            unsafe { BorrowedFd::borrow_raw(number) }
        })
    }

    /// Takes the descriptor with this number, if it was inherited and not taken before.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        let at = self.untaken.iter().position(|untaken| *untaken == number)?;
        self.untaken.swap_remove(at);
        // SAFETY: the jail checked that this descriptor is open; each is taken once and has no
        // other owner.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    }
}
