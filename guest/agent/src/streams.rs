//! The command's standard streams: three pipes, or one terminal.

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, Uid, fchown, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::failure::{Failed, cause};

/// The command's ends.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub stdin: OwnedFd,
    /// What it writes.
    pub stdout: OwnedFd,
    /// What it writes of its troubles.
    pub stderr: OwnedFd,
}

/// The agent's ends, none of which blocks.
#[derive(Debug)]
pub struct Ends {
    /// Where stdin comes from.
    pub stdin: OwnedFd,
    /// Where stdout goes, and with a terminal stderr.
    pub stdout: OwnedFd,
    /// Where stderr goes, if it goes its own way.
    pub stderr: Option<OwnedFd>,
    /// The terminal.
    pub terminal: Option<Terminal>,
}

/// The command's terminal, which stays open when the command has closed it and will open it again.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Sets its size; the kernel tells the programs in front.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Errno> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.0, size)
    }
}

/// Makes three pipes, or a terminal of this size, which belongs to `owner` as after a login.
pub fn make(terminal: Option<(u16, u16)>, owner: Option<u32>) -> Result<(Streams, Ends), Failed> {
    match terminal {
        None => {
            pipes().map_err(|errno| Failed::setup(format!("cannot make a pipe: {}", cause(errno))))
        }
        Some(size) => new_terminal(size, owner).map_err(|errno| {
            let cause = cause(errno);
            Failed::setup(format!(
                "cannot make a terminal: {cause}; the guest kernel needs CONFIG_UNIX98_PTYS"
            ))
        }),
    }
}

fn pipes() -> Result<(Streams, Ends), Errno> {
    let (child_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, child_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    for end in [&stdin, &stdout, &stderr] {
        fcntl_setfl(end, OFlags::NONBLOCK)?;
    }
    Ok((
        Streams { stdin: child_stdin, stdout: child_stdout, stderr: child_stderr },
        Ends { stdin, stdout, stderr: Some(stderr), terminal: None },
    ))
}

fn new_terminal((rows, columns): (u16, u16), owner: Option<u32>) -> Result<(Streams, Ends), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let terminal = ioctl_tiocgptpeer(&master, flags)?;
    let mut settings = tcgetattr(&terminal)?;
    // So that backspace takes away a whole character.
    settings.input_modes |= InputModes::IUTF8;
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    if let Some(uid) = owner {
        fchown(&terminal, Some(Uid::from_raw(uid)), None)?;
    }
    let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0);
    let streams =
        Streams { stdin: copy(&terminal)?, stdout: copy(&terminal)?, stderr: copy(&terminal)? };
    let (stdin, terminal) = (copy(&master)?, Terminal(terminal));
    terminal.resize(rows, columns)?;
    Ok((streams, Ends { stdin, stdout: master, stderr: None, terminal: Some(terminal) }))
}
