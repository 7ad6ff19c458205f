//! What a worker tells the launcher: records of a fixed size, on a pipe of its own.
//!
//! The launcher knows by the pipe which worker speaks, so a worker that was taken over can lie for
//! itself and for no other. A record is written at once (it is shorter than `PIPE_BUF`).
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | kind |
//! | 1 | detail |
//! | 2–3 | length of the text, little endian |
//! | 4–7 | number, little endian |
//! | 8– | text |

use std::os::fd::{OwnedFd, RawFd};

use devices::blk::Limited;
use devices::channel::End;
use devices::serve::Dropped;
use devices::sink::Loss;
use devices::violation::Violation;
use protocol::frame::Failure;

/// Length of a record in bytes.
pub const RECORD: usize = 256;
/// The longest text in a record, in bytes.
pub const TEXT: usize = RECORD - 8;

/// How the virtual machine ended, from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmEnd {
    /// The guest powered off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// A triple fault.
    TripleFault,
    /// The guest wrote this code to the exit port.
    Exit(u8),
}

/// What is not in a record of a guest's accesses, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Buffers of which there is a part.
    pub clipped: u64,
    /// Room for input that was made available again.
    pub input_room: u64,
    /// Writes to the registers of devices that a program does not have.
    pub other_devices: u64,
    /// Writes to registers that have another width than 32 bits.
    pub odd_widths: u64,
    /// Whether it goes on.
    pub stopped: Stopped,
}

impl Recorded {
    /// How much it is.
    pub fn all(&self) -> u64 {
        let all = [self.clipped, self.input_room, self.other_devices, self.odd_widths];
        all.into_iter().fold(0, u64::saturating_add)
    }
}

/// Whether a record goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopped {
    /// It does.
    #[default]
    No,
    /// It is as long as it may be.
    Full,
    /// It could not be written, by this error number.
    Failed(i32),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Every layer of the jail is on: the Landlock ABI in force, and the number of the filter's
    /// listener, if there is a filter.
    Sealed(u8, Option<RawFd>),
    /// The first vCPU is about to run.
    Entered,
    /// The virtual machine ended; bit n: the guest started device n at least once.
    VmEnded(VmEnd, u32),
    /// The agent is up.
    AgentUp,
    /// The command runs.
    CommandStarted,
    /// The command ended and all of its output is written.
    CommandEnded(End),
    /// A piece of the kernel's last words, in order.
    KernelLog(Vec<u8>),
    /// The kernel's last words were a panic.
    KernelPanic,
    /// What the guest wrote to the early console.
    Early(Vec<u8>),
    /// Output that was not written up to now.
    Dropped(Dropped),
    /// What the limits of a disk cost it, up to now.
    Limited(Limited),
    /// What is not in the record of the guest's accesses, up to now.
    Recorded(Recorded),
    /// The guest broke the device contract.
    Violation(Violation),
    /// The kernel or the initramfs cannot be booted, and why.
    Boot(String),
    /// The worker could not do its part, and why.
    Failed(String),
}

impl Record {
    /// The record as bytes. Text beyond [`TEXT`] bytes is cut off.
    pub fn encode(&self) -> [u8; RECORD] {
        let counts;
        let (kind, detail, number, text): (u8, u8, u32, &[u8]) = match self {
            Self::Sealed(landlock, listener) => {
                (1, *landlock, listener.map_or(u32::MAX, RawFd::unsigned_abs), &[])
            }
            Self::Entered => (2, 0, 0, &[]),
            Self::VmEnded(VmEnd::PowerOff, started) => (3, 0, *started, &[]),
            Self::VmEnded(VmEnd::Reset, started) => (4, 0, *started, &[]),
            Self::VmEnded(VmEnd::TripleFault, started) => (5, 0, *started, &[]),
            Self::VmEnded(VmEnd::Exit(code), started) => (6, *code, *started, &[]),
            Self::AgentUp => (7, 0, 0, &[]),
            Self::CommandStarted => (8, 0, 0, &[]),
            Self::CommandEnded(End::Exited(code)) => (9, *code, 0, &[]),
            Self::CommandEnded(End::Signaled(signal)) => (10, *signal, 0, &[]),
            Self::CommandEnded(End::Failed(failure, text)) => {
                (11, *failure as u8, 0, text.as_bytes())
            }
            Self::KernelLog(bytes) => (12, 0, 0, bytes),
            Self::Early(bytes) => (24, 0, 0, bytes),
            Self::KernelPanic => (13, 0, 0, &[]),
            Self::Violation(violation) => (14, *violation as u8, 0, &[]),
            Self::Boot(text) => (16, 0, 0, text.as_bytes()),
            Self::Failed(text) => (15, 0, 0, text.as_bytes()),
            Self::Dropped(dropped) => {
                counts = losses(dropped);
                (17, 0, 0, &counts)
            }
            Self::Limited(Limited { held, held_ms, full }) => {
                counts = [held, held_ms, full].map(|count| count.to_le_bytes()).concat();
                (18, 0, 0, &counts)
            }
            Self::Recorded(recorded) => {
                counts = recorded_to_bytes(recorded);
                (25, 0, 0, &counts)
            }
        };
        let text = text.get(..TEXT).unwrap_or(text);
        let mut bytes = [0; RECORD];
        bytes[0] = kind;
        bytes[1] = detail;
        if let Ok(length) = u16::try_from(text.len()) {
            bytes[2..4].copy_from_slice(&length.to_le_bytes());
        }
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..8 + text.len()].copy_from_slice(text);
        bytes
    }

    /// Reads a record; `None` for what no worker of ours writes.
    pub fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let [kind, detail, l0, l1, n0, n1, n2, n3, text @ ..] = bytes;
        let detail = *detail;
        let number = u32::from_le_bytes([*n0, *n1, *n2, *n3]);
        let text = text.get(..usize::from(u16::from_le_bytes([*l0, *l1])))?;
        let lossy = || String::from_utf8_lossy(text).into_owned();
        let record = match kind {
            1 => Self::Sealed(detail, RawFd::try_from(number).ok()),
            2 => Self::Entered,
            3 => Self::VmEnded(VmEnd::PowerOff, number),
            4 => Self::VmEnded(VmEnd::Reset, number),
            5 => Self::VmEnded(VmEnd::TripleFault, number),
            6 => Self::VmEnded(VmEnd::Exit(detail), number),
            7 => Self::AgentUp,
            8 => Self::CommandStarted,
            9 => Self::CommandEnded(End::Exited(detail)),
            10 if (1..=64).contains(&detail) => Self::CommandEnded(End::Signaled(detail)),
            11 => Self::CommandEnded(End::Failed(failure(detail)?, lossy())),
            12 => Self::KernelLog(text.to_vec()),
            13 => Self::KernelPanic,
            14 => Self::Violation(Violation::from_number(detail)?),
            15 => Self::Failed(lossy()),
            16 => Self::Boot(lossy()),
            17 => Self::Dropped(dropped(text)?),
            18 => {
                let [held, held_ms, full] = counts(text)?;
                Self::Limited(Limited { held, held_ms, full })
            }
            24 => Self::Early(text.to_vec()),
            25 => Self::Recorded(recorded(text)?),
            _ => return None,
        };
        Some(record)
    }
}

/// Three numbers for each output: bytes beyond, bytes that failed, and why.
fn losses(dropped: &Dropped) -> Vec<u8> {
    let Dropped { stdout, stderr, console } = dropped;
    let numbers = |loss: &Loss| [loss.beyond, loss.failed, u64::from(loss.errno.unsigned_abs())];
    let numbers = [stdout, stderr, console].map(numbers).concat();
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn dropped(text: &[u8]) -> Option<Dropped> {
    let numbers = counts::<9>(text)?;
    let ([stdout, stderr, console], []) = numbers.as_chunks() else { return None };
    let loss = |[beyond, failed, errno]: [u64; 3]| {
        Some(Loss { beyond, failed, errno: i32::try_from(errno).ok()? })
    };
    Some(Dropped { stdout: loss(*stdout)?, stderr: loss(*stderr)?, console: loss(*console)? })
}

/// Four counts, and whether it goes on: 0, 1, or 2 and more for an error.
fn recorded_to_bytes(recorded: &Recorded) -> Vec<u8> {
    let Recorded { clipped, input_room, other_devices, odd_widths, stopped } = *recorded;
    let stopped = match stopped {
        Stopped::No => 0,
        Stopped::Full => 1,
        Stopped::Failed(errno) => 2 + u64::from(errno.unsigned_abs()),
    };
    let numbers = [clipped, input_room, other_devices, odd_widths, stopped];
    numbers.map(u64::to_le_bytes).concat()
}

fn recorded(text: &[u8]) -> Option<Recorded> {
    let [clipped, input_room, other_devices, odd_widths, stopped] = counts(text)?;
    let stopped = match stopped {
        0 => Stopped::No,
        1 => Stopped::Full,
        errno => Stopped::Failed(i32::try_from(errno - 2).ok()?),
    };
    Some(Recorded { clipped, input_room, other_devices, odd_widths, stopped })
}

fn counts<const N: usize>(text: &[u8]) -> Option<[u64; N]> {
    let (counts, []) = text.as_chunks() else { return None };
    let counts: [[u8; 8]; N] = counts.try_into().ok()?;
    Some(counts.map(u64::from_le_bytes))
}

fn failure(detail: u8) -> Option<Failure> {
    [Failure::Setup, Failure::NotFound, Failure::NotExecutable]
        .into_iter()
        .find(|failure| *failure as u8 == detail)
}

/// The worker's end of the pipe.
#[derive(Debug)]
pub struct Status(OwnedFd);

impl Status {
    /// A pipe to report on.
    pub fn new(pipe: OwnedFd) -> Self {
        Self(pipe)
    }

    /// Tells the launcher. When it is gone there is nobody to tell, and the worker is about to go too.
    pub fn tell(&self, record: &Record) {
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &record.encode()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way() {
        let records = [
            Record::Sealed(7, Some(0)),
            Record::Sealed(0, None),
            Record::Entered,
            Record::VmEnded(VmEnd::PowerOff, 0),
            Record::VmEnded(VmEnd::Reset, u32::MAX),
            Record::VmEnded(VmEnd::TripleFault, 1),
            Record::VmEnded(VmEnd::Exit(255), 7),
            Record::AgentUp,
            Record::CommandStarted,
            Record::CommandEnded(End::Exited(0)),
            Record::CommandEnded(End::Signaled(9)),
            Record::CommandEnded(End::Failed(Failure::NotFound, "no such command".into())),
            Record::KernelLog(vec![0xff; TEXT]),
            Record::KernelPanic,
            Record::Early(b"x\n".to_vec()),
            Record::Failed("x".into()),
            Record::Boot("x".into()),
            Record::Dropped(Dropped {
                stdout: Loss { beyond: 1, failed: u64::MAX, errno: i32::MAX },
                stderr: Loss { beyond: u64::MAX, ..Loss::default() },
                console: Loss::default(),
            }),
            Record::Limited(Limited { held: 1, held_ms: u64::MAX, full: 3 }),
            Record::Recorded(Recorded { clipped: 1, input_room: 2, ..Recorded::default() }),
            Record::Recorded(Recorded {
                other_devices: u64::MAX,
                odd_widths: 3,
                stopped: Stopped::Full,
                ..Recorded::default()
            }),
            Record::Recorded(Recorded {
                stopped: Stopped::Failed(i32::MAX),
                ..Recorded::default()
            }),
        ];
        for record in records {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        for violation in Violation::ALL {
            let record = Record::Violation(violation);
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_no_worker_writes_is_no_record() {
        let mut bytes = [0; RECORD];
        assert_eq!(Record::decode(&bytes), None);
        for (kind, detail) in [
            (17, 0),
            (18, 0),
            (19, 0),
            (25, 0),
            (26, 0),
            (10, 0),
            (10, 65),
            (11, 0),
            (11, 4),
            (14, 0),
            (14, 255),
        ] {
            bytes[0] = kind;
            bytes[1] = detail;
            assert_eq!(Record::decode(&bytes), None, "{kind} {detail}");
        }
        // A length beyond the record.
        bytes[0] = 15;
        bytes[2..4].copy_from_slice(&249u16.to_le_bytes());
        assert_eq!(Record::decode(&bytes), None);
    }
}
