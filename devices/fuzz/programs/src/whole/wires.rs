//! A device's wires in memory: what the other side says stays here until the worker takes it.
//!
//! They are what makes a program cheap: through descriptors it takes some fifty system calls.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use devices::wires::Wires;
use rustix::io::Errno;

/// Both ends of a device's wires.
#[derive(Debug, Default)]
pub struct InMemory {
    to_worker: RefCell<VecDeque<Vec<u8>>>,
    from_worker: RefCell<VecDeque<Vec<u8>>>,
    kicks: [Cell<bool>; 2],
    raised: Cell<bool>,
}

impl InMemory {
    /// Forgets all that was not heard.
    pub fn clear(&self) {
        self.to_worker.borrow_mut().clear();
        self.from_worker.borrow_mut().clear();
        self.kicks.iter().chain([&self.raised]).for_each(|cell| cell.set(false));
    }

    /// Says something to the worker.
    pub fn say(&self, message: &[u8]) {
        self.to_worker.borrow_mut().push_back(message.to_vec());
    }

    /// What the worker said.
    pub fn hear(&self) -> Option<Vec<u8>> {
        self.from_worker.borrow_mut().pop_front()
    }

    /// Kicks queue `index`.
    pub fn kick(&self, index: usize) {
        self.kicks[index].set(true);
    }

    /// True if the interrupt was raised since the last call.
    pub fn take_raised(&self) -> bool {
        self.raised.take()
    }

    /// True while there is a message for the worker.
    pub fn is_told(&self) -> bool {
        !self.to_worker.borrow().is_empty()
    }

    /// True while queue `index` is kicked.
    pub fn is_kicked(&self, index: usize) -> bool {
        self.kicks[index].get()
    }
}

impl Wires for &'static InMemory {
    fn receive(&self, message: &mut [u8]) -> Result<usize, Errno> {
        let bytes = self.to_worker.borrow_mut().pop_front().ok_or(Errno::AGAIN)?;
        // As of a socket: what is longer than the buffer is cut off.
        let count = bytes.len().min(message.len());
        message[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn send(&self, message: &[u8]) -> Result<usize, Errno> {
        self.from_worker.borrow_mut().push_back(message.to_vec());
        Ok(message.len())
    }

    fn take_kick(&self, index: usize) -> Result<usize, Errno> {
        if self.kicks[index].take() { Ok(8) } else { Err(Errno::AGAIN) }
    }

    fn raise(&self) -> Result<usize, Errno> {
        self.raised.set(true);
        Ok(8)
    }
}
