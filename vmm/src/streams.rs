//! The user's own streams, which the console worker gets: when stdin is not for it, what is shown of the
//! guest on a terminal, and how far the files behind the others may grow.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use devices::bounds::Bounds;
use devices::kernel_log;
use devices::visible::Form;
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::getpgrp;
use rustix::stdio;
use rustix::termios::{InputModes, isatty, tcgetattr, tcgetpgrp};

use crate::guest::Guest;
use crate::host;

/// What may be written besides the guest's own output: a line on what was dropped.
const SLACK: u64 = 64 << 10;

/// The streams as the console worker gets them.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub stdin: OwnedFd,
    /// What it writes the command's output to.
    pub stdout: OwnedFd,
    /// What it writes the command's errors to.
    pub stderr: OwnedFd,
}

impl Streams {
    /// The guest's own, or else those of this process: terminals opened anew where they can be, so that
    /// none blocks and each is for one direction, everything else as it is. `null`: what stdin is when it
    /// is not for the guest.
    pub fn of(guest: &Guest, null: BorrowedFd<'_>) -> Result<Self> {
        let input = match &guest.streams {
            Some(streams) => streams.input.as_fd(),
            None if in_background() => null,
            None => stdio::stdin(),
        };
        let output = |fd| anew(fd, host::terminal::for_writing);
        anew(input, host::terminal::for_reading)
            .and_then(|stdin| {
                Ok(Self { stdin, stdout: output(stdout(guest))?, stderr: output(stdio::stderr())? })
            })
            .context("cannot duplicate the standard streams")
    }
}

/// A terminal as `open` opens it, or else `fd` itself once more.
fn anew(
    fd: BorrowedFd<'_>,
    open: fn(BorrowedFd<'_>) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match isatty(fd).then(|| open(fd)) {
        Some(Ok(terminal)) => Ok(terminal),
        // It may be somebody else's by name, though it was given to us.
        Some(Err(_)) | None => fcntl_dupfd_cloexec(fd, 0),
    }
}

/// How stdout, stderr and the kernel's console in its file are written. A terminal that is the command's,
/// as was asked for, gets everything.
pub fn forms(guest: &Guest) -> [Form; 3] {
    let stdout = if guest.terminal { Form::Exact } else { form_of(stdout(guest)) };
    let console = guest.console.as_ref().map_or(Form::Exact, |file| form_of(file.as_fd()));
    [stdout, form_of(stdio::stderr()), console]
}

/// How the guest's output is written to `fd`: a terminal only shows it.
pub fn form_of(fd: BorrowedFd<'_>) -> Form {
    match tcgetattr(fd) {
        Err(_) => Form::Exact,
        Ok(settings) if settings.input_modes.contains(InputModes::IUTF8) => Form::Utf8,
        Ok(_) => form_of_locale(|name| std::env::var(name).ok()),
    }
}

/// What a terminal can show, which does not say so itself, by the locale (POSIX, section 8.2).
fn form_of_locale(variable: impl Fn(&str) -> Option<String>) -> Form {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let locale = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { Form::Utf8 } else { Form::Ascii }
}

/// True when stdin is a terminal on which another job is in front. What is typed there is not for the
/// guest, and the console worker, being in a session of its own, would not be stopped for reading it.
pub fn in_background() -> bool {
    tcgetpgrp(stdio::stdin()).is_ok_and(|front| front != getpgrp())
}

/// The size that no file behind the console worker's outputs grows beyond, in bytes: the worker keeps
/// `output` itself, and this holds when it has been taken over. `u64::MAX`: no bound, as was asked for.
pub fn most_file_size(guest: &Guest) -> u64 {
    most(stdout(guest), guest.console.as_ref(), guest.output)
}

/// What a guest's output goes to.
fn stdout(guest: &Guest) -> BorrowedFd<'_> {
    match &guest.streams {
        Some(streams) => streams.output.as_fd(),
        None => stdio::stdout(),
    }
}

fn most(stdout: BorrowedFd<'_>, console: Option<&File>, output: Bounds) -> u64 {
    let outputs = [end_of(stdout), end_of(stdio::stderr())].into_iter().flatten();
    // Both may be the same file.
    let outputs = outputs.max().map(|end| end.saturating_add(output.bytes.saturating_mul(2)));
    let console = console.and_then(|file| end_of(file.as_fd()));
    let console = console.map(|end| end.saturating_add(kernel_log::MAX_FILE as u64));
    let most = outputs.max(console).unwrap_or(0);
    most.saturating_add(SLACK)
}

/// Where a regular file ends, or where it is written if that is further.
fn end_of(fd: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstat(fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let size = u64::try_from(stat.st_size).ok()?;
    Some(size.max(seek(fd, SeekFrom::Current(0)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_has_an_end_and_a_pipe_has_none() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 100]).unwrap();
        assert_eq!(end_of(file.as_fd()), Some(100));
        seek(&file, SeekFrom::Start(5000)).unwrap();
        assert_eq!(end_of(file.as_fd()), Some(5000));
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(end_of(pipe.as_fd()), None);
    }

    #[test]
    fn a_terminal_that_does_not_know_utf8_is_told_by_the_locale() {
        let rows: [(&[(&str, &str)], Form); 6] = [
            (&[], Form::Ascii),
            (&[("LANG", "de_DE.UTF-8")], Form::Utf8),
            (&[("LANG", "C"), ("LC_CTYPE", "C.utf8")], Form::Utf8),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "POSIX")], Form::Ascii),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "")], Form::Utf8),
            (&[("LANG", "de_DE.ISO-8859-1")], Form::Ascii),
        ];
        for (variables, expected) in rows {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(form_of_locale(variable), expected, "{variables:?}");
        }
        assert_eq!(form_of(tempfile::tempfile().unwrap().as_fd()), Form::Exact);
    }

    #[test]
    fn the_console_file_counts_with_its_own_bound() {
        let file = tempfile::tempfile().unwrap();
        let bounds = Bounds { bytes: 0, per_second: u64::MAX };
        let most = most(stdio::stdout(), Some(&file), bounds);
        assert!(most >= kernel_log::MAX_FILE as u64 + SLACK, "{most}");
    }
}
