//! Control messages of a vcpu worker that was taken over.

use devices::control::{Geometry, MESSAGE, Message, Start};
use devices::mmio::VERSION_1;

use crate::bytes::Bytes;

/// A message that is mostly one of those that there are.
pub fn message(program: &mut Bytes<'_>) -> Vec<u8> {
    let message = match program.below(6) {
        0 => Message::Stop,
        1 if program.rarely() => Message::Stopped,
        _ => {
            let mut start = Start { features: VERSION_1, queues: [None; 2] };
            if program.rarely() {
                start.features = program.edge();
            }
            for queue in &mut start.queues {
                let at = 0x400 * u64::from(program.byte() & 31);
                let mut geometry = Geometry {
                    size: 1 << program.below(5),
                    descriptors: at,
                    available: at + 0x200,
                    used: at + 0x300,
                };
                if program.rarely() {
                    geometry.size = program.half();
                    geometry.used = program.edge();
                }
                *queue = (program.byte() & 3 != 0).then_some(geometry);
            }
            Message::Start(start)
        }
    };
    let mut bytes = message.encode().to_vec();
    if program.rarely() {
        let at = program.below(MESSAGE);
        bytes[at] ^= 1 << program.below(8);
        let len = if program.rarely() { program.below(2 * MESSAGE) } else { MESSAGE };
        bytes.resize(len, 7);
    }
    bytes
}
