//! The record of a guest's accesses, as the report has it: what is not in it.

use serde::Serialize;
use worker::recorder::MOST;
use worker::status::{Recorded, Stopped};

/// What the vcpu worker told last, which is at least half of what there was.
#[derive(Debug, Serialize)]
pub struct RecordReport {
    /// Buffers of which there is a part.
    clipped_buffers: u64,
    /// Room for input that was made available again.
    left_out_room: u64,
    /// Writes to the registers of other devices.
    left_out_devices: u64,
    /// Writes of another width than 32 bits, which change no register.
    left_out_widths: u64,
    /// Why it ends before the run; null: it does not.
    stopped: Option<String>,
}

impl RecordReport {
    /// The report of a record.
    pub fn new(recorded: &Recorded) -> Self {
        let Recorded { clipped, input_room, other_devices, odd_widths, stopped } = *recorded;
        let stopped = match stopped {
            Stopped::No => None,
            Stopped::Full => Some(format!("it is as long as it may be, {} MiB", MOST >> 20)),
            Stopped::Failed(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                Some(format!("it could not be written: {error}"))
            }
        };
        Self {
            clipped_buffers: clipped,
            left_out_room: input_room,
            left_out_devices: other_devices,
            left_out_widths: odd_widths,
            stopped,
        }
    }

    /// A line about what is not in it, if there is something.
    pub fn in_words(&self) -> Option<String> {
        let Self { clipped_buffers, left_out_room, left_out_devices, left_out_widths, .. } = self;
        let mut words: Vec<String> = [
            (clipped_buffers, "buffers are clipped"),
            (left_out_devices, "accesses to other devices are left out"),
            (left_out_room, "buffers for input are left out"),
            (left_out_widths, "accesses of other widths than 32 bits are left out"),
        ]
        .into_iter()
        .filter(|(count, _)| **count > 0)
        .map(|(count, what)| format!("at least {count} {what}"))
        .collect();
        words.extend(self.stopped.clone());
        (!words.is_empty()).then(|| format!("the record is a part: {}", words.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_nothing_else() {
        let none = Recorded::default();
        for (recorded, words) in [
            (none, vec![]),
            (Recorded { clipped: 3, ..none }, vec!["3 buffers are clipped"]),
            (
                Recorded { input_room: 1, odd_widths: 2, ..none },
                vec!["1 buffers for", "2 accesses"],
            ),
            (Recorded { stopped: Stopped::Full, ..none }, vec!["4 MiB"]),
            (Recorded { stopped: Stopped::Failed(28), ..none }, vec!["No space left"]),
        ] {
            let line = RecordReport::new(&recorded).in_words();
            assert_eq!(line.is_none(), words.is_empty());
            let line = line.unwrap_or_default();
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
    }
}
