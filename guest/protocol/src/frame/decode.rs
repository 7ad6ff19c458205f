//! From bytes to frames, with every rule that makes bytes not a frame.

use super::{Failure, FromGuest, FromHost, HEADER, MAX_FRAME, MAX_PAYLOAD, Malformed, Stream};

fn output(detail: u8) -> Result<Stream, Malformed> {
    match detail {
        1 => Ok(Stream::Stdout),
        2 => Ok(Stream::Stderr),
        other => Err(Malformed::Detail(other)),
    }
}

fn array<const N: usize>(payload: &[u8]) -> Result<[u8; N], Malformed> {
    payload.try_into().map_err(|_| length(payload))
}

fn length(payload: &[u8]) -> Malformed {
    Malformed::Length(u16::try_from(payload.len()).unwrap_or(u16::MAX))
}

fn empty<T>(payload: &[u8], value: T) -> Result<T, Malformed> {
    if payload.is_empty() { Ok(value) } else { Err(length(payload)) }
}

impl<'a> FromGuest<'a> {
    fn decode(kind: u8, detail: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        match kind {
            1 => empty(payload, Self::Hello(detail)),
            2 => empty(payload, Self::Started),
            3 => Ok(Self::Data(output(detail)?, payload)),
            4 => Ok(Self::Credit(u32::from_le_bytes(array(payload)?))),
            5 => empty(payload, Self::Exited(detail)),
            6 if (1..=64).contains(&detail) => empty(payload, Self::Signaled(detail)),
            6 => Err(Malformed::Detail(detail)),
            7 => {
                let failure = match detail {
                    1 => Failure::Setup,
                    2 => Failure::NotFound,
                    3 => Failure::NotExecutable,
                    other => return Err(Malformed::Detail(other)),
                };
                let text = std::str::from_utf8(payload).map_err(|_| Malformed::Text)?;
                Ok(Self::Failed(failure, text))
            }
            8 => empty(payload, Self::Closed),
            other => Err(Malformed::Kind(other)),
        }
    }
}

impl<'a> FromHost<'a> {
    fn decode(kind: u8, detail: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        match kind {
            65 => Ok(Self::Data(payload)),
            66 => empty(payload, Self::End),
            67 => Ok(Self::Credit(output(detail)?, u32::from_le_bytes(array(payload)?))),
            68 => empty(payload, Self::Closed(output(detail)?)),
            69 if (1..=64).contains(&detail) => empty(payload, Self::Signal(detail)),
            69 => Err(Malformed::Detail(detail)),
            70 => {
                let [r0, r1, c0, c1] = array(payload)?;
                Ok(Self::Resize(u16::from_le_bytes([r0, r1]), u16::from_le_bytes([c0, c1])))
            }
            other => Err(Malformed::Kind(other)),
        }
    }
}

/// Collects bytes into frames, at most one frame at a time.
#[derive(Debug)]
pub struct Decoder {
    bytes: [u8; MAX_FRAME],
    len: usize,
    taken: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { bytes: [0; MAX_FRAME], len: 0, taken: false }
    }
}

impl Decoder {
    /// Takes bytes from the front of `input` up to the end of the current frame, and leaves the
    /// rest. True: a frame is complete; read it with [`Decoder::from_guest`] or
    /// [`Decoder::from_host`] before the next call.
    pub fn fill(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        if self.taken {
            self.len = 0;
            self.taken = false;
        }
        self.take(HEADER, input);
        if self.len < HEADER {
            return Ok(false);
        }
        let stated = u16::from_le_bytes([self.bytes[2], self.bytes[3]]);
        if usize::from(stated) > MAX_PAYLOAD {
            return Err(Malformed::Length(stated));
        }
        let end = HEADER + usize::from(stated);
        self.take(end, input);
        self.taken = self.len == end;
        Ok(self.taken)
    }

    /// The complete frame, as one from the guest.
    pub fn from_guest(&self) -> Result<FromGuest<'_>, Malformed> {
        FromGuest::decode(self.bytes[0], self.bytes[1], self.payload())
    }

    /// The complete frame, as one from the host.
    pub fn from_host(&self) -> Result<FromHost<'_>, Malformed> {
        FromHost::decode(self.bytes[0], self.bytes[1], self.payload())
    }

    fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER..self.len).unwrap_or_default()
    }

    fn take(&mut self, end: usize, input: &mut &[u8]) {
        let count = end.saturating_sub(self.len).min(input.len());
        let (now, rest) = input.split_at(count);
        self.bytes[self.len..self.len + count].copy_from_slice(now);
        self.len += count;
        *input = rest;
    }
}
