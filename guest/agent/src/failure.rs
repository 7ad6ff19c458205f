//! Why the command could not be run, in the words that the user gets to read.

use protocol::frame::Failure;
use rustix::io::Errno;

/// What goes into the frame `Failed`.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind, from which the host makes its exit status.
    pub failure: Failure,
    /// One line that names the object and, where there is one, the fix.
    pub text: String,
}

impl Failed {
    /// The guest could not be set up.
    pub fn setup(text: impl Into<String>) -> Self {
        Self { failure: Failure::Setup, text: text.into() }
    }
}

/// The error's text without its number.
pub fn cause(errno: Errno) -> String {
    let text = errno.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
