//! Messages between the vcpu worker and a device worker: fixed size, one socket per device.
//!
//! | message | direction | when |
//! |---|---|---|
//! | [`Message::Start`] | vcpu → device | the driver set DRIVER_OK |
//! | [`Message::Stop`] | vcpu → device | the driver reset the device |
//! | [`Message::Stopped`] | device → vcpu | the device will not touch memory any more |
//!
//! The end of the socket is the end of the virtual machine. A device worker checks every number in
//! `Start` again: the vcpu worker may have been taken over.

/// The most virtqueues a device of ours has.
pub const MAX_QUEUES: usize = 2;

const QUEUE: usize = 32;

/// Length of a message in bytes.
pub const MESSAGE: usize = 16 + MAX_QUEUES * QUEUE;

/// Where the driver put one split virtqueue. Frozen at DRIVER_OK; addresses are unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of descriptors.
    pub size: u16,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring (the driver area).
    pub available: u64,
    /// Guest-physical address of the used ring (the device area).
    pub used: u64,
}

/// What a device needs to know to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The negotiated features.
    pub features: u64,
    /// The queues the driver enabled, by index.
    pub queues: [Option<Geometry>; MAX_QUEUES],
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Begin with these features and queues.
    Start(Start),
    /// End and forget the queues.
    Stop,
    /// Ended; nothing of the guest will be touched any more.
    Stopped,
}

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        match self {
            Self::Start(start) => {
                bytes[0] = 1;
                bytes[8..16].copy_from_slice(&start.features.to_le_bytes());
                let slots = bytes[16..].chunks_exact_mut(QUEUE);
                for (slot, queue) in slots.zip(&start.queues) {
                    let Some(queue) = queue else { continue };
                    slot[..2].copy_from_slice(&queue.size.to_le_bytes());
                    slot[2] = 1;
                    slot[8..16].copy_from_slice(&queue.descriptors.to_le_bytes());
                    slot[16..24].copy_from_slice(&queue.available.to_le_bytes());
                    slot[24..32].copy_from_slice(&queue.used.to_le_bytes());
                }
            }
            Self::Stop => bytes[0] = 2,
            Self::Stopped => bytes[0] = 3,
        }
        bytes
    }

    /// Reads a message back; `None` for anything [`Message::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MESSAGE] = bytes.try_into().ok()?;
        let message = match bytes[0] {
            1 => {
                let mut start = Start { features: word(bytes, 8), ..Start::default() };
                for (index, queue) in start.queues.iter_mut().enumerate() {
                    let at = 16 + index * QUEUE;
                    if bytes[at + 2] == 1 {
                        *queue = Some(Geometry {
                            size: u16::from_le_bytes([bytes[at], bytes[at + 1]]),
                            descriptors: word(bytes, at + 8),
                            available: word(bytes, at + 16),
                            used: word(bytes, at + 24),
                        });
                    }
                }
                Self::Start(start)
            }
            2 => Self::Stop,
            3 => Self::Stopped,
            _ => return None,
        };
        (message.encode() == *bytes).then_some(message)
    }
}

fn word(bytes: &[u8; MESSAGE], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way_and_nothing_else_does() {
        let queue = Geometry { size: 256, descriptors: 0x1000, available: 0x2000, used: u64::MAX };
        let messages = [
            Message::Start(Start { features: 1 << 32, queues: [Some(queue), None] }),
            Message::Start(Start { features: u64::MAX, queues: [None, Some(queue)] }),
            Message::Stop,
            Message::Stopped,
        ];
        for message in messages {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Some(message));
            for len in (0..MESSAGE).chain([MESSAGE + 1, 2 * MESSAGE]) {
                let other: Vec<u8> = bytes.iter().copied().cycle().take(len).collect();
                assert_eq!(Message::decode(&other), None, "{len} bytes");
            }
            // One bit more or less: another message, to the bit, or none.
            for bit in 0..MESSAGE * 8 {
                let mut stray = bytes;
                stray[bit / 8] ^= 1 << (bit % 8);
                let again = Message::decode(&stray).map(|message| message.encode());
                assert!(again.is_none_or(|again| again == stray), "bit {bit}");
                assert!((1..8).all(|padding| bit / 8 != padding) || again.is_none(), "bit {bit}");
            }
        }
        for kind in (0..=u8::MAX).filter(|kind| ![1, 2, 3].contains(kind)) {
            let mut bytes = [0; MESSAGE];
            bytes[0] = kind;
            assert_eq!(Message::decode(&bytes), None, "kind {kind}");
        }
    }
}
