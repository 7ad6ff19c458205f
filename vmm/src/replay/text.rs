//! What `replay` says: for people, and as JSON.

use anyhow::Result;
use serde::Serialize;
use steps::play::Knobs;

use super::script::{Done, LeftOut, NOT_SERVED};
use crate::outcome::Outcome;
use crate::report::End;

/// What was replayed.
#[derive(Debug)]
pub struct Replay {
    /// What the program says before its first step.
    pub knobs: Knobs,
    /// What the guest was told to do.
    pub done: Done,
    /// What it could not be told to do.
    pub left_out: LeftOut,
    /// The disk afterwards.
    pub image: Left,
    /// What came from the console.
    pub output: Left,
}

/// What is in a file afterwards.
#[derive(Debug, Serialize)]
pub struct Left {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

#[derive(Serialize)]
struct Json<'a> {
    /// As in the report of a run.
    outcome: &'static str,
    exit_status: u8,
    worker: Option<&'a str>,
    reason: Option<String>,
    /// A plain request was not served after a reset.
    not_served: bool,
    done: Done,
    left_out: LeftOut,
    /// The program's console is the kernel's log; the guest has a raw one.
    log_as_raw: bool,
    disk: &'a Left,
    console: &'a Left,
}

impl Replay {
    /// One JSON object.
    pub fn json(&self, end: &End) -> Result<String> {
        let json = Json {
            outcome: end.outcome.kind(),
            exit_status: end.outcome.exit_status(),
            worker: end.outcome.worker(),
            reason: end.outcome.message(),
            not_served: not_served(end),
            done: self.done,
            left_out: self.left_out,
            log_as_raw: self.knobs.log,
            disk: &self.image,
            console: &self.output,
        };
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }

    /// Some lines.
    pub fn text(&self, end: &End) -> String {
        let Done { register_writes, memory_writes, kicks, moved, typed } = self.done;
        let mut text = format!(
            "did: {register_writes} register writes, {memory_writes} memory writes, {kicks} kicks; \
             {moved} addresses moved past the end of memory; {typed} bytes typed before the start\n"
        );
        text += &self.left_out_in_words();
        let outcome = end.outcome.kind();
        let status = end.outcome.exit_status();
        let reason = end.outcome.message().map(|reason| format!(": {reason}")).unwrap_or_default();
        text += &format!("outcome: {outcome}, exit status {status}{reason}\n");
        if not_served(end) {
            text += "a device did not serve a plain request after a reset\n";
        }
        for (what, Left { bytes, sha256 }) in [("disk", &self.image), ("console", &self.output)] {
            text += &format!("{what} afterwards: {bytes} bytes, sha256 {sha256}\n");
        }
        text
    }

    fn left_out_in_words(&self) -> String {
        let LeftOut { control_messages, failing_images, racing_writes, gone_readers, typed } =
            self.left_out;
        let mut words: Vec<String> = [
            (control_messages, "messages of a vcpu worker that was taken over"),
            (failing_images, "images that fail or are short"),
            (racing_writes, "memory writes while the image is used"),
            (gone_readers, "readers of the console that go away"),
            (typed, "bytes typed after the end of input, or on a log"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        words.extend(self.knobs.log.then(|| "that the console is the kernel's log".to_owned()));
        match words.is_empty() {
            true => "left out: nothing\n".to_owned(),
            false => format!("left out, since no guest can do it: {}\n", words.join("; ")),
        }
    }
}

fn not_served(end: &End) -> bool {
    end.outcome == Outcome::Exited(NOT_SERVED)
}
