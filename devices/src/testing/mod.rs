//! The driver's side of the devices, for tests, fuzzers and benches.
//!
//! | item | is |
//! |---|---|
//! | [`memory`] | guest RAM between guard pages: one byte too far is a fault |
//! | [`SplitRing`] | a driver's virtqueue, well formed or as malformed as asked for |
//! | [`Driver`] | a driver at the registers, in the order of Linux |
//! | [`Machine`] | a whole device: registers here, its transport for a real worker loop |
//! | [`Image`] | a disk in memory that fails on demand |
//! | [`Mouth`] | a console's port with a limited appetite |
//! | [`ServedDisk`], [`ServedConsole`] | devices with their workers' loops and a driver, to be measured |
//!
//! Invariant: everything here is what a guest or a vcpu worker can do; nothing reaches into a
//! device's state. What cannot be set up panics, since it is the test that is wrong then.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod driver;
mod image;
mod machine;
mod memory;
mod mouth;
mod ring;
mod served;

pub use driver::Driver;
pub use image::{Image, Operation};
pub use machine::Machine;
pub use memory::memory;
pub use mouth::Mouth;
pub use ring::{Descriptor, Part, SplitRing};
pub use served::{Request, ServedConsole, ServedDisk};
