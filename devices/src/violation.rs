//! How a guest can break the device contract. Each ends the guest's own virtual machine.
//!
//! A request that is well formed and merely wrong (a sector past the end, a write to a read-only
//! disk) is not here: it is answered with a status.

/// What the driver did against virtio 1.2, or the agent against its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
#[non_exhaustive]
pub enum Violation {
    /// A queue was enabled with a size, an alignment or addresses that cannot be (§2.7).
    #[error("a virtqueue lies outside guest memory, is misaligned or overlaps itself")]
    RingPlacement = 1,
    /// The available index ran ahead by more than the queue holds (§2.7.6).
    #[error("the available index is ahead of the ring by more than its size")]
    AvailIndex = 2,
    /// A descriptor index is not below the queue size (§2.7.5).
    #[error("a descriptor index is out of range")]
    DescriptorIndex = 3,
    /// A chain is longer than the queue, so it loops (§2.7.5.2).
    #[error("a descriptor chain loops")]
    ChainLoop = 4,
    /// A chain describes more than 2³² bytes (§2.7.5.2).
    #[error("a descriptor chain is longer than 2^32 bytes")]
    ChainLength = 5,
    /// A buffer lies outside guest memory.
    #[error("a buffer lies outside guest memory")]
    BufferPlacement = 6,
    /// A device-readable descriptor follows a device-writable one (§2.7.4.2).
    #[error("a readable descriptor follows a writable one")]
    DescriptorOrder = 7,
    /// An indirect descriptor without the feature (§2.7.5.3.1).
    #[error("an indirect descriptor was used, which was not offered")]
    Indirect = 8,
    /// A block request without room for its status byte (§5.2.6).
    #[error("a block request has no room for its status")]
    NoStatus = 9,
    /// The agent sent bytes that are not a frame, or a frame out of turn.
    #[error("the agent broke the channel's protocol")]
    Frame = 10,
    /// The agent sent more of a stream than it was granted.
    #[error("the agent sent more than it was granted")]
    Credit = 11,
}

impl Violation {
    /// Every violation, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::RingPlacement,
        Self::AvailIndex,
        Self::DescriptorIndex,
        Self::ChainLoop,
        Self::ChainLength,
        Self::BufferPlacement,
        Self::DescriptorOrder,
        Self::Indirect,
        Self::NoStatus,
        Self::Frame,
        Self::Credit,
    ];

    /// The violation with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|violation| *violation as u8 == number)
    }
}

/// Why a device stopped serving its guest.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The guest broke the contract.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The other worker sent something that it never sends.
    #[error("the vcpu worker sent a malformed control message")]
    Control,
    /// A system call failed that cannot fail here.
    #[error("{0}: {1}")]
    System(&'static str, #[source] rustix::io::Errno),
}
