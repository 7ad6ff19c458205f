//! What casemate and the agent inside the guest say to one another.
//!
//! | module | direction | carried by |
//! |---|---|---|
//! | [`task`] | launcher → agent, once | the file `/task` of the initramfs |
//! | [`collected`] | agent → launcher, once | a disk of its own |
//! | [`frame`] | console worker ⇄ agent | the second virtio console |
//!
//! Both sides distrust what they read: a decoder returns an error for anything that an encoder
//! here would not have written, allocates nothing that grows with its input, and never panics.

#![forbid(unsafe_code)]

pub mod collected;
pub mod frame;
pub mod task;
