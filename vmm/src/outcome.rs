//! How a run ended, in words and as an exit status.

use devices::violation::Violation;

use crate::breach::Call;
use crate::companion::Stopped;

/// The command line cannot be.
pub const USAGE: u8 = 2;
/// The guest ended without a status.
pub const NO_STATUS: u8 = 118;
/// The guest broke the device contract.
pub const VIOLATION: u8 = 119;
/// The jail stopped a worker.
pub const BREACH: u8 = 120;
/// The time was up.
pub const TIMEOUT: u8 = 124;
/// casemate could not do its part.
pub const FAILED: u8 = 125;
/// The command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// A command line that cannot be, as far as its files say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited, or a bare guest wrote an exit code.
    Exited(u8),
    /// A signal ended the command.
    Signaled(u8),
    /// The command was not found.
    NotFound(String),
    /// The command cannot be executed.
    NotExecutable(String),
    /// The guest could not be set up for the command.
    Setup(String),
    /// The guest powered off without a status.
    PowerOff,
    /// The guest reset itself.
    Reset,
    /// The guest's CPU gave up: a fault while handling a fault while handling a fault.
    TripleFault,
    /// The guest's kernel panicked.
    Panic,
    /// The time was up.
    Timeout,
    /// The guest did not start the command in time; how far it came.
    BootTimeout(String),
    /// Signals ended the run.
    Interrupted(u8),
    /// The guest broke the device contract, as this worker found.
    Violation(String, Violation),
    /// The jail stopped this worker when it made this call.
    Breach(String, Option<Call>),
    /// casemate would not or could not start the guest.
    Refused(String),
    /// The command succeeded, and what it left could not be collected.
    Uncollected(String),
    /// The command line cannot be.
    Usage(String),
    /// This worker could not do its part, for this reason.
    Failed(String, String),
}

impl Outcome {
    /// The end of what never began, for this reason.
    pub fn of_error(error: &anyhow::Error) -> Self {
        let text = in_words(error);
        match (error.downcast_ref::<Stopped>(), error.is::<Usage>()) {
            (Some(stopped), _) => Self::Breach(stopped.name.to_owned(), Some(stopped.call)),
            (None, true) => Self::Usage(text),
            (None, false) => Self::Refused(text),
        }
    }

    /// The exit status that says so.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Signaled(signal) | Self::Interrupted(signal) => 128u8.saturating_add(*signal),
            Self::NotFound(_) => NOT_FOUND,
            Self::NotExecutable(_) => NOT_EXECUTABLE,
            Self::PowerOff | Self::Reset | Self::TripleFault | Self::Panic => NO_STATUS,
            Self::BootTimeout(_) => NO_STATUS,
            Self::Timeout => TIMEOUT,
            Self::Violation(..) => VIOLATION,
            Self::Breach(..) => BREACH,
            Self::Setup(_) | Self::Refused(_) | Self::Uncollected(_) | Self::Failed(..) => FAILED,
            Self::Usage(_) => USAGE,
        }
    }

    /// The outcome's name in the report.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signaled(_) => "signaled",
            Self::NotFound(_) => "not-found",
            Self::NotExecutable(_) => "not-executable",
            Self::Setup(_) => "setup",
            Self::PowerOff => "power-off",
            Self::Reset => "reset",
            Self::TripleFault => "triple-fault",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::BootTimeout(_) => "boot-timeout",
            Self::Interrupted(_) => "interrupted",
            Self::Violation(..) => "violation",
            Self::Breach(..) => "breach",
            Self::Refused(_) => "refused",
            Self::Uncollected(_) => "uncollected",
            Self::Usage(_) => "usage",
            Self::Failed(..) => "failed",
        }
    }

    /// True when the kernel's last words may explain the outcome.
    pub fn wants_kernel_log(&self) -> bool {
        !matches!(
            self,
            Self::Exited(_) | Self::Signaled(_) | Self::NotFound(_) | Self::Uncollected(_)
        )
    }

    /// The worker that it was about.
    pub fn worker(&self) -> Option<&str> {
        match self {
            Self::Violation(worker, _) | Self::Breach(worker, _) | Self::Failed(worker, _) => {
                Some(worker)
            }
            _ => None,
        }
    }

    /// One line for the user, when the exit status alone could be the command's own.
    pub fn message(&self) -> Option<String> {
        let line = match self {
            Self::Exited(_) | Self::Signaled(_) => return None,
            Self::NotFound(text)
            | Self::NotExecutable(text)
            | Self::Setup(text)
            | Self::Uncollected(text)
            | Self::BootTimeout(text)
            | Self::Refused(text)
            | Self::Usage(text) => text.clone(),
            Self::PowerOff => "the guest powered off before the command ended".to_owned(),
            Self::Reset => "the guest reset itself before the command ended".to_owned(),
            Self::TripleFault => "the guest's CPU stopped in a triple fault".to_owned(),
            Self::Panic => {
                "the guest's kernel panicked (--console FILE keeps its words)".to_owned()
            }
            Self::Timeout => "the time was up (--timeout)".to_owned(),
            Self::Interrupted(signal) => format!("ended by signal {signal}"),
            Self::Violation(worker, violation) => {
                format!("the guest broke the device contract: {violation} (found by {worker})")
            }
            Self::Breach(worker, Some(call)) => {
                format!("the jail stopped the {worker} worker: it tried {call}")
            }
            Self::Breach(worker, None) => {
                format!("the jail stopped the {worker} worker: a filter killed it")
            }
            Self::Failed(worker, reason) => format!("the {worker} worker failed: {reason}"),
        };
        Some(line)
    }
}

/// An error with its causes as one line, without the numbers that the standard library adds.
pub fn in_words(error: &anyhow::Error) -> String {
    let line = format!("{error:#}");
    let mut text = String::new();
    let mut rest = line.as_str();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_in_words() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(cause).context("cannot open \"a (os error b\"");
        assert_eq!(in_words(&anyhow::anyhow!("plain (os error 2), more")), "plain, more");
        assert!(in_words(&error).starts_with("cannot open \"a"));
    }
}
