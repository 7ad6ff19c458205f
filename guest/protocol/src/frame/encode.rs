//! From frames to bytes.

use super::{FromGuest, FromHost, HEADER, MAX_FRAME, MAX_PAYLOAD};

/// An encoded frame.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; MAX_FRAME],
    len: usize,
}

impl Encoded {
    /// The frame's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn encode(kind: u8, detail: u8, payload: &[u8]) -> Encoded {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let len = HEADER + payload.len();
    let mut bytes = [0; MAX_FRAME];
    bytes[0] = kind;
    bytes[1] = detail;
    if let Ok(length) = u16::try_from(payload.len()) {
        bytes[2..HEADER].copy_from_slice(&length.to_le_bytes());
    }
    bytes[HEADER..len].copy_from_slice(payload);
    Encoded { bytes, len }
}

impl FromGuest<'_> {
    /// The frame as bytes. A payload over [`MAX_PAYLOAD`] is cut off there.
    pub fn encode(&self) -> Encoded {
        match *self {
            Self::Hello(version) => encode(1, version, &[]),
            Self::Started => encode(2, 0, &[]),
            Self::Data(stream, data) => encode(3, stream as u8, data),
            Self::Credit(bytes) => encode(4, 0, &bytes.to_le_bytes()),
            Self::Exited(code) => encode(5, code, &[]),
            Self::Signaled(signal) => encode(6, signal, &[]),
            Self::Failed(failure, text) => encode(7, failure as u8, clip(text).as_bytes()),
            Self::Closed => encode(8, 0, &[]),
        }
    }
}

impl FromHost<'_> {
    /// The frame as bytes. A payload over [`MAX_PAYLOAD`] is cut off there.
    pub fn encode(&self) -> Encoded {
        match *self {
            Self::Data(data) => encode(65, 0, data),
            Self::End => encode(66, 0, &[]),
            Self::Credit(stream, bytes) => encode(67, stream as u8, &bytes.to_le_bytes()),
            Self::Closed(stream) => encode(68, stream as u8, &[]),
            Self::Signal(signal) => encode(69, signal, &[]),
            Self::Resize(rows, columns) => {
                let [r0, r1] = rows.to_le_bytes();
                let [c0, c1] = columns.to_le_bytes();
                encode(70, 0, &[r0, r1, c0, c1])
            }
        }
    }
}

/// The longest prefix of `text` that fits a payload and ends at a character.
fn clip(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_PAYLOAD)).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
