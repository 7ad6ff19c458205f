//! A bare guest that is its own agent: it speaks the frames of the channel on the second console.

use bare::virtio::{Buffer, Queue, VERSION_1, bring_up};
use bare::{FREE, Op, Width};
use protocol::frame::{FromGuest, FromHost, Stream, VERSION};
use tests::guests::{FOREVER, NOT_SERVED, NOT_UP, expect, holds};

/// The channel's device, and the places of its queues and buffers.
const CHANNEL: u8 = 1;
const RECEIVE: Queue = Queue { index: 0, size: 8, base: FREE };
const TRANSMIT: Queue = Queue { index: 1, size: 8, base: FREE + 0x1000 };
const SENT: u64 = FREE + 0x2000;
const RECEIVED: u64 = FREE + 0x3000;

/// The agent of a guest that is nothing else.
#[derive(Debug)]
pub struct Agent {
    /// What it does.
    pub ops: Vec<Op>,
    said: u16,
    heard: u16,
}

impl Agent {
    /// Up to a running command, with room for its output.
    pub fn running() -> Self {
        let mut agent = Self::up();
        agent.say(&FromGuest::Started);
        // What the host grants comes in one piece, in one buffer.
        agent.hear();
        agent
    }

    /// Up, and no more.
    pub fn up() -> Self {
        let ops = bring_up(CHANNEL, VERSION_1, &[RECEIVE, TRANSMIT], NOT_UP);
        let mut agent = Self { ops, said: 0, heard: 0 };
        agent.say(&FromGuest::Hello(VERSION));
        agent
    }

    /// Says something to the host.
    pub fn say(&mut self, frame: &FromGuest<'_>) {
        let data = frame.encode().as_bytes().to_vec();
        let len = u32::try_from(data.len()).unwrap();
        self.ops.push(Op::Bytes { addr: SENT, data });
        let buffer = Buffer { addr: SENT, len, writable: false };
        self.ops.extend(TRANSMIT.request(CHANNEL, self.said, &[buffer], FOREVER, NOT_SERVED));
        self.said += 1;
    }

    /// The command prints something.
    pub fn print(&mut self, text: &str) {
        self.say(&FromGuest::Data(Stream::Stdout, text.as_bytes()));
    }

    /// Waits for a buffer full of what the host says.
    pub fn hear(&mut self) {
        let buffer = Buffer { addr: RECEIVED, len: 256, writable: true };
        self.ops.extend(RECEIVE.request(CHANNEL, self.heard, &[buffer], FOREVER, NOT_SERVED));
        self.heard += 1;
    }

    /// Waits for exactly this frame.
    pub fn expect(&mut self, frame: &FromHost<'_>) {
        self.hear();
        let encoded = frame.encode();
        let len = u64::try_from(encoded.as_bytes().len()).unwrap();
        self.ops.push(expect(Width::Long, RECEIVE.used_len(self.heard - 1), len, 88));
        self.ops.extend(holds(RECEIVED, encoded.as_bytes()));
    }

    /// The guest's program, which does `last` in the end.
    pub fn then(mut self, last: Op) -> Vec<Op> {
        self.ops.push(last);
        self.ops
    }

    /// The guest's program, whose command ends so.
    pub fn exits(mut self, code: u8) -> Vec<Op> {
        self.say(&FromGuest::Exited(code));
        self.then(Op::Spin)
    }
}
