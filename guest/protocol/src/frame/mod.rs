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

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoded;

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
