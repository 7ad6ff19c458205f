//! The agent's end of the channel: the second virtio console, as a raw terminal.

use protocol::frame::{FromGuest, VERSION};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::device::open_when_ready;

/// The channel's device: the first console is the kernel's.
pub const PATH: &str = "/dev/hvc1";

/// An open channel, on which `Hello` has been said.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Waits for the device, makes it raw before a byte can be echoed, and says hello.
    pub fn open() -> Result<Self, Errno> {
        let tty = open_when_ready(PATH, OFlags::RDWR)?;
        let mut settings = tcgetattr(&tty)?;
        settings.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &settings)?;
        let mut channel = Self(tty);
        channel.send(&FromGuest::Hello(VERSION))?;
        Ok(channel)
    }

    /// Sends a frame. May block: the host always drains.
    pub fn send(&mut self, frame: &FromGuest<'_>) -> Result<(), Errno> {
        let encoded = frame.encode();
        let mut rest = encoded.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.0, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads what has come. Only after a poll: without data it would block.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Sends the last frame, and returns when the device has it.
    pub fn finish(mut self, last: &FromGuest<'_>) -> Result<(), Errno> {
        self.send(last)?;
        tcdrain(&self.0)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
