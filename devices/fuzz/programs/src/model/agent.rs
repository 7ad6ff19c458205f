//! Both ends of the agent's channel, by the table in [`protocol::frame`].

use devices::channel::{End, Life};
use devices::violation::Violation;
use devices::visible;
use protocol::frame::{Failure, FromHost, VERSION, WINDOW};

use crate::streams::Pipe;

/// What both ends know.
#[derive(Debug, Default)]
pub struct Agent {
    /// How far the command is, as the worker has to tell it.
    pub lives: Vec<Life>,
    /// Bytes of stdout and stderr that the host granted.
    pub granted: [u32; 2],
    /// What was sent of them.
    pub sent: [Vec<u8>; 2],
    /// Bytes of stdin that the agent granted, less what came.
    pub credit: u32,
    /// The command wants no more input.
    pub closed: bool,
    /// Bytes that are not a frame yet.
    pub partial: Vec<u8>,
    /// What was typed.
    pub typed: Vec<u8>,
    /// How much of what was typed has come.
    pub heard: usize,
    /// Signals that were sent to the host and did not come yet, bit n−1 for signal n.
    pub signals: u64,
    /// The size of the terminal that was told to the host and did not come yet.
    pub size: Option<(u16, u16)>,
    /// The host said that nobody reads the stream.
    pub told_closed: [bool; 2],
    /// The host said that there is no more input.
    pub told_end: bool,
}

impl Agent {
    /// What the frames in `bytes` are, by the table in [`protocol::frame`].
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.partial.extend_from_slice(bytes);
        while let [kind, detail, low, high, rest @ ..] = &self.partial[..] {
            let len = usize::from(u16::from_le_bytes([*low, *high]));
            if len > 4092 {
                return Err(Violation::Frame);
            }
            let Some(payload) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(()) };
            let (kind, detail) = (*kind, *detail);
            self.partial.drain(..4 + len);
            self.obey(kind, detail, &payload)?;
        }
        Ok(())
    }

    fn obey(&mut self, kind: u8, detail: u8, payload: &[u8]) -> Result<(), Violation> {
        let stage = match self.lives.last() {
            None => 0,
            Some(Life::Up) => 1,
            Some(Life::Running) => 2,
            _ => 3,
        };
        let failure = match detail {
            1 => Some(Failure::Setup),
            2 => Some(Failure::NotFound),
            3 => Some(Failure::NotExecutable),
            _ => None,
        };
        match (kind, stage, payload.len()) {
            (1, 0, 0) if detail == VERSION => self.lives.push(Life::Up),
            (2, 1, 0) => self.lives.push(Life::Running),
            (5, 2, 0) => self.lives.push(Life::Ended(End::Exited(detail))),
            (6, 2, 0) if (1..=64).contains(&detail) => {
                self.lives.push(Life::Ended(End::Signaled(detail)));
            }
            (7, 1 | 2, _) if failure.is_some() => {
                let text = std::str::from_utf8(payload).map_err(|_| Violation::Frame)?;
                let mut kept = String::new();
                for char in text.chars() {
                    let shown = visible::line(&char.to_string());
                    if kept.len() + shown.len() > 200 {
                        break;
                    }
                    kept.push_str(&shown);
                }
                self.lives.push(Life::Ended(End::Failed(failure.unwrap(), kept)));
            }
            (3, 2, len) if (1..=2).contains(&detail) => {
                let stream = usize::from(detail - 1);
                let len = u32::try_from(len).unwrap();
                self.granted[stream] =
                    self.granted[stream].checked_sub(len).ok_or(Violation::Credit)?;
                self.sent[stream].extend_from_slice(payload);
            }
            (4, 1 | 2, 4) => {
                let bytes = u32::from_le_bytes(payload.try_into().unwrap());
                let credit = self.credit.checked_add(bytes).filter(|sum| *sum <= WINDOW);
                self.credit = credit.ok_or(Violation::Credit)?;
            }
            (8, 2, 0) if !self.closed => self.closed = true,
            _ => return Err(Violation::Frame),
        }
        Ok(())
    }

    /// What the host says has to be allowed.
    pub fn said(&mut self, frame: &FromHost<'_>, pipes: &[Pipe; 4]) {
        match *frame {
            FromHost::Data(bytes) => {
                let len = u32::try_from(bytes.len()).unwrap();
                self.credit = self.credit.checked_sub(len).expect("stdin beyond its credit");
                assert!(!self.told_end && self.typed[self.heard..].starts_with(bytes));
                self.heard += bytes.len();
            }
            FromHost::End => {
                assert!(
                    !std::mem::replace(&mut self.told_end, true) && self.heard == self.typed.len()
                );
            }
            FromHost::Credit(stream, bytes) => {
                let granted = &mut self.granted[stream as usize - 1];
                *granted += bytes;
                assert!(*granted <= WINDOW);
            }
            FromHost::Closed(stream) => {
                let index = stream as usize - 1;
                assert!(!pipes[index].is_read());
                assert!(!std::mem::replace(&mut self.told_closed[index], true));
            }
            FromHost::Signal(number) => {
                assert!(self.signals >> (number - 1) & 1 == 1, "signal {number}");
                self.signals &= !(1 << (number - 1));
            }
            FromHost::Resize(rows, columns) => {
                assert_eq!(self.size.take(), Some((rows, columns)));
            }
        }
    }
}
