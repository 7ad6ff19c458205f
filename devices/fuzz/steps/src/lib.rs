//! What a program of the fuzz target `whole` does, step by step, for whoever takes the steps: the fuzz target
//! itself, with models behind it, and `casemate replay`, which makes a guest of them.
//!
//! Every input is a program, and its meaning depends on nothing but its bytes: not on what the devices
//! make of it. So both take the same steps from the same bytes.
//!
//! | module | is |
//! |---|---|
//! | [`bytes`] | the numbers that a program's bytes stand for |
//! | [`queue`] | the driver's side of a virtqueue, whole or broken |
//! | [`registers`], [`message`] | which registers, values and control messages are likely |
//! | [`driver`] | what a driver of each of the two devices offers |
//! | [`play`] | from bytes to steps |
//! | [`record`] | and back, for `casemate run --record`: the one module that a worker links |

pub mod bytes;
pub mod driver;
pub mod message;
pub mod play;
pub mod queue;
pub mod record;
pub mod registers;

/// The block device's number in a program.
pub const DISK: usize = 0;
/// The console's.
pub const CONSOLE: usize = 1;

/// What happens on the host's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The image reads and writes at most so many bytes at once from now on.
    Short(usize),
    /// So many of the image's operations from now succeed, and then one fails with this number.
    Fails(usize, i32),
    /// Whenever the image is used, another vCPU writes 16 times this byte to this address.
    Meanwhile(u64, u8),
    /// Nobody reads the console's output any more.
    ReaderGone,
    /// There will be no more input.
    InputEnds,
    /// This is typed.
    Typed(Vec<u8>),
}

/// Guest memory, which begins at address 0 and ends at [`queue::END`].
pub trait Store {
    /// Writes, if all of it is memory.
    fn write(&mut self, at: u64, bytes: &[u8]);
}

/// Whoever takes a program's steps. `device` is [`DISK`] or [`CONSOLE`].
pub trait Machine: Store {
    /// The guest writes a register.
    fn set(&mut self, device: usize, offset: u64, value: u32);
    /// The guest kicks a queue, in whatever state the device is; there may be no such queue.
    fn kick(&mut self, device: usize, queue: usize);
    /// Waits until the device has nothing more to do.
    fn settle(&mut self, device: usize);
    /// A vcpu worker that was taken over writes to the device's control socket.
    fn say(&mut self, device: usize, message: &[u8]);
    /// Something happens on the host's side of the device.
    fn disturb(&mut self, device: usize, what: Disturbance);
    /// The device is about to be reset, and to prove that it works after that: nothing fails any more.
    fn calm(&mut self, device: usize);
    /// A plain request was made available on these queues and kicked: it has to be served.
    fn prove(&mut self, device: usize, queues: &[queue::Queue; 2]);
    /// The virtual machine ends.
    fn end(&mut self, device: usize);
}
