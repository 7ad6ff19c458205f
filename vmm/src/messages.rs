//! What casemate itself says: one line at a time, on stderr.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use devices::visible::{self, Filter, Form};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stderr;

use crate::host;
use crate::streams;

/// A terminal behind stderr: opened anew, if it can be, so that no write to it blocks; and what it can show.
static TERMINAL: OnceLock<(Option<OwnedFd>, Form)> = OnceLock::new();

/// Looks at what messages go to, while paths may be opened.
pub fn open() {
    let form = streams::form_of(stderr());
    if form != Form::Exact {
        // Only the first one counts, and there is only one.
        let _ = TERMINAL.set((host::terminal::for_writing(stderr()).ok(), form));
    }
}

/// One line on stderr, if it takes it now: a guest may have filled it, and nobody may read it. Whatever
/// a guest has a say in, a terminal only shows.
pub fn complain(line: &str) {
    let (terminal, form) =
        TERMINAL.get().map_or((None, Form::Exact), |(fd, form)| (fd.as_ref(), *form));
    let fd = terminal.map_or_else(stderr, AsFd::as_fd);
    let mut line = format!("casemate: {}\n", visible::line(line));
    if let Some(mut filter) = Filter::new(form) {
        let mut shown = String::new();
        filter.push(line.as_bytes(), &mut shown);
        line = shown;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
        // Not read by anybody any more is as good as read.
        let _ = rustix::io::write(fd, line.as_bytes());
    }
}
