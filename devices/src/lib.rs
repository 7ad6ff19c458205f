//! The devices that a casemate guest sees: virtio-mmio, virtio-blk and virtio-console.
//!
//! | module | job | runs in |
//! |---|---|---|
//! | [`mmio`] | register state machine of the transport | vcpu worker |
//! | [`control`] | the messages between the two sides | both |
//! | [`link`] | the device's side: rings on and off, kicks, interrupts | device workers |
//! | [`ring`], [`chain`] | split virtqueue, and one request's guest memory | device workers |
//! | [`blk`], [`disk`] | virtio-blk requests, and the image behind them | blk worker |
//! | [`overlay`], [`throttle`] | an image that is left as it is; how fast a disk may be | blk worker |
//! | [`console`] | virtio-console | console worker |
//! | [`sink`], [`bounds`] | where its output goes, how much of it and how fast | console worker |
//! | [`kernel_log`], [`channel`], [`raw`] | what a console is joined to | console worker |
//! | [`serve`] | the workers' loops | device workers |
//! | [`interrupt`] | used-buffer interrupts | device workers |
//! | [`violation`] | how a guest can break the device contract | device workers |
//! | `testing` (feature) | the driver's side of all this | tests, fuzzers, benches |
//!
//! Invariants: this crate never names KVM, a path, a process or a namespace; all of it is tested
//! without /dev/kvm. Guest input never panics, allocates without a constant bound, or is read
//! twice where the two readings have to agree.

pub mod blk;
pub mod bounds;
pub mod chain;
pub mod channel;
pub mod console;
pub mod control;
pub mod disk;
pub mod interrupt;
pub mod kernel_log;
pub mod link;
pub mod mmio;
pub mod overlay;
pub mod raw;
pub mod ring;
pub mod serve;
pub mod sink;
#[cfg(feature = "testing")]
pub mod testing;
pub mod throttle;
pub mod violation;

/// Guest RAM as the devices see it.
pub type Memory = vm_memory::GuestMemoryMmap<()>;
