//! Frames on the channel between the console worker and the agent.
//!
//! A frame is a header of [`HEADER`] bytes (kind, detail, payload length as little endian `u16`)
//! and at most [`MAX_PAYLOAD`] bytes of payload.
//!
//! | kind | direction | detail | payload |
//! |---|---|---|---|
//! | 1 `Hello` | guest → host | [`VERSION`] | |
//! | 2 `Started` | guest → host | | |
//! | 3 `Data` | guest → host | stream | bytes |
//! | 4 `Credit` | guest → host | stream 0 | `u32` |
//! | 5 `Exited` | guest → host | exit code | |
//! | 6 `Signaled` | guest → host | signal number | |
//! | 7 `Failed` | guest → host | [`Failure`] | UTF-8 text |
//! | 8 `Closed` | guest → host | stream 0 | |
//! | 65 `Data` | host → guest | stream 0 | bytes |
//! | 66 `End` | host → guest | stream 0 | |
//! | 67 `Credit` | host → guest | stream | `u32` |
//! | 68 `Closed` | host → guest | stream | |
//! | 69 `Signal` | host → guest | signal number | |
//! | 70 `Resize` | host → guest | | rows `u16`, columns `u16` |
//!
//! Flow control: a side may send as many payload bytes of a stream as the other side granted in
//! `Credit` frames, so that a stream nobody reads never holds up the others. Nothing is granted at
//! the start; the agent grants stdin and the host grants stdout and stderr, at most [`WINDOW`]
//! bytes ahead each. The host is silent until the agent's `Hello`.

/// Version of this protocol, sent in `Hello`.
pub const VERSION: u8 = 1;
/// Length of a frame's header in bytes.
pub const HEADER: usize = 4;
/// The longest frame in bytes, header included: one page.
pub const MAX_FRAME: usize = 4096;
/// The longest payload in bytes.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;
/// The most bytes of one stream that may be granted and not yet used up.
pub const WINDOW: u32 = 64 * 1024;

/// One of the command's three standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard input, host → guest.
    Stdin = 0,
    /// Standard output, guest → host.
    Stdout = 1,
    /// Standard error, guest → host.
    Stderr = 2,
}

/// Why the agent could not run the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// The guest could not be set up: a driver, the root disk, a mount, the user or the directory.
    Setup = 1,
    /// No such command (exit status 127).
    NotFound = 2,
    /// The command exists and cannot be executed (exit status 126).
    NotExecutable = 3,
}

/// A frame from the agent to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromGuest<'a> {
    /// The agent is up and speaks this version.
    Hello(u8),
    /// The command has been executed.
    Started,
    /// Output of the command.
    Data(Stream, &'a [u8]),
    /// The agent can take so many more bytes of stdin.
    Credit(u32),
    /// The command closed its stdin: nothing more is wanted.
    Closed,
    /// The command exited with this code. The last frame.
    Exited(u8),
    /// A signal ended the command. The last frame.
    Signaled(u8),
    /// The command could not be run. The last frame.
    Failed(Failure, &'a str),
}

/// A frame from the host to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromHost<'a> {
    /// Input for the command.
    Data(&'a [u8]),
    /// Standard input has ended.
    End,
    /// The host can take so many more bytes of this stream.
    Credit(Stream, u32),
    /// Nobody reads this stream any more; the command should see a broken pipe.
    Closed(Stream),
    /// Send this signal to the command.
    Signal(u8),
    /// The terminal has this many rows and columns.
    Resize(u16, u16),
}

/// What makes bytes not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The kind is not one of this direction.
    Kind(u8),
    /// The detail is not one of the kind.
    Detail(u8),
    /// The payload's length does not fit the kind.
    Length(u16),
    /// Text that is not UTF-8.
    Text,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "unknown frame kind {kind}"),
            Self::Detail(detail) => write!(f, "frame detail {detail} out of range"),
            Self::Length(length) => write!(f, "frame payload of {length} bytes"),
            Self::Text => write!(f, "frame text is not UTF-8"),
        }
    }
}

impl std::error::Error for Malformed {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_the_way_however_it_is_split() {
        let long = [7u8; MAX_PAYLOAD];
        let guest = [
            FromGuest::Hello(VERSION),
            FromGuest::Started,
            FromGuest::Data(Stream::Stdout, b"out"),
            FromGuest::Data(Stream::Stderr, &long),
            FromGuest::Data(Stream::Stdout, b""),
            FromGuest::Credit(u32::MAX),
            FromGuest::Closed,
            FromGuest::Failed(Failure::Setup, "no root disk"),
            FromGuest::Failed(Failure::NotFound, ""),
            FromGuest::Failed(Failure::NotExecutable, "é"),
            FromGuest::Signaled(64),
            FromGuest::Exited(255),
        ];
        let bytes: Vec<u8> = guest.iter().flat_map(|f| f.encode().as_bytes().to_vec()).collect();
        for step in [1, 2, 3, 5, 4095, 4096, 100_000] {
            let mut decoder = Decoder::default();
            let mut seen = 0;
            for mut part in bytes.chunks(step) {
                while decoder.fill(&mut part).unwrap() {
                    assert_eq!(decoder.from_guest().unwrap(), guest[seen], "step {step}");
                    seen += 1;
                }
                assert!(part.is_empty());
            }
            assert_eq!(seen, guest.len());
        }
        let host = [
            FromHost::Data(b"in"),
            FromHost::End,
            FromHost::Credit(Stream::Stdout, 1),
            FromHost::Closed(Stream::Stderr),
            FromHost::Signal(15),
            FromHost::Resize(24, 80),
        ];
        for frame in host {
            let encoded = frame.encode();
            let mut decoder = Decoder::default();
            assert!(decoder.fill(&mut encoded.as_bytes()).unwrap());
            assert_eq!(decoder.from_host().unwrap(), frame);
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        let rows: [(&[u8], Malformed); 9] = [
            (&[0, 0, 0, 0], Malformed::Kind(0)),
            (&[65, 0, 0, 0], Malformed::Kind(65)),
            (&[2, 0, 1, 0, 9], Malformed::Length(1)),
            (&[3, 0, 0, 0], Malformed::Detail(0)),
            (&[3, 3, 0, 0], Malformed::Detail(3)),
            (&[4, 0, 3, 0, 1, 2, 3], Malformed::Length(3)),
            (&[6, 65, 0, 0], Malformed::Detail(65)),
            (&[7, 1, 1, 0, 0xff], Malformed::Text),
            (&[7, 4, 0, 0], Malformed::Detail(4)),
        ];
        for (mut bytes, expected) in rows {
            let mut decoder = Decoder::default();
            assert!(decoder.fill(&mut bytes).unwrap());
            assert_eq!(decoder.from_guest().unwrap_err(), expected);
        }
        let mut decoder = Decoder::default();
        let too_long = [3, 1, 0xfd, 0x0f];
        assert_eq!(decoder.fill(&mut &too_long[..]), Err(Malformed::Length(4093)));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(MAX_PAYLOAD);
        let encoded = FromGuest::Failed(Failure::Setup, &text).encode();
        let mut decoder = Decoder::default();
        assert!(decoder.fill(&mut encoded.as_bytes()).unwrap());
        assert!(
            matches!(decoder.from_guest(), Ok(FromGuest::Failed(Failure::Setup, t)) if t.len() == MAX_PAYLOAD)
        );
    }
}
