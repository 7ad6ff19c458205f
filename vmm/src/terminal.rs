//! The user's terminal while it is the guest's (`-t`), and how it comes back.
//!
//! A process of its own, the keeper, makes the terminal raw once the command runs, and puts it back as it
//! was when the launcher says so or is gone, however it went: nothing else could do that after `kill -9`.
//! It is there before the terminal is touched. It holds the terminal and one pipe, and has five calls: it
//! reads the pipe, reads and sets the terminal's settings, throws away what was typed, and ends.
//!
//! What was typed and not read is thrown away at the end: it may be what the terminal answered to a
//! question of the guest's, and is not to be read by the shell.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::setsid;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use worker::jail;
use worker::jail::seccomp::rules::{Pin, Rule};

use crate::outcome::Usage;
use crate::spawn::{Child, clone, reap};
use crate::streams;
use crate::watched::readable_within;

/// How long the keeper may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Refuses to give a command the user's terminal, if it is `wanted` and cannot be.
pub fn check(wanted: bool) -> Result<()> {
    match unusable().filter(|_| wanted) {
        Some(reason) => bail!(Usage(reason.to_owned())),
        None => Ok(()),
    }
}

/// Why the user's terminal cannot be given to a command, if it cannot.
fn unusable() -> Option<&'static str> {
    if !isatty(stdin()) || !isatty(stdout()) {
        return Some(
            "-t takes a terminal as stdin and stdout (leave it out to use pipes and files)",
        );
    }
    streams::in_background().then_some(
        "-t takes the terminal, on which another job is in front (use fg, or leave out -t)",
    )
}

/// Rows and columns of the user's terminal; 0 and 0 if it has no size.
pub fn size() -> (u16, u16) {
    tcgetwinsize(stdout()).map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// The keeper, as the launcher has it.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    /// A byte means that the terminal is the guest's; the end, that it is not any more.
    says: OwnedFd,
    lent: bool,
}

impl Keeper {
    /// Starts a keeper of the terminal as it is now.
    pub fn start() -> Result<Self> {
        let (hears, says) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        match clone(libc::CLONE_PIDFD, None).context("cannot keep the terminal")? {
            Some(child) => Ok(Self { child, says, lent: false }),
            None => {
                drop(says);
                let _ = keep(&hears);
                jail::leave(0)
            }
        }
    }

    /// The terminal is the guest's.
    pub fn lend(&mut self) {
        if !std::mem::replace(&mut self.lent, true) {
            // If there is no keeper any more, the terminal stays as it is.
            let _ = rustix::io::write(&self.says, &[1]);
        }
    }

    /// The terminal is as it was when this returns.
    pub fn take_back(self) {
        drop(self.says);
        if readable_within(&self.child.pidfd, PATIENCE) {
            reap(&self.child);
        }
    }
}

/// The keeper's life.
fn keep(hears: &OwnedFd) -> Result<()> {
    // In the launcher's session it would be stopped for touching the terminal once the launcher is gone.
    setsid()?;
    // It holds copies of everything that the launcher had open, whose ends others wait for.
    jail::keep_only(&[stdin().as_raw_fd(), hears.as_raw_fd()])?;
    let before = tcgetattr(stdin())?;
    jail::confine(&rules(hears))?;
    let mut lent = None;
    loop {
        match rustix::io::read(hears, &mut [0]) {
            Err(Errno::INTR) => {}
            Ok(1) => lent = Some(make_raw(&before)?),
            Ok(_) | Err(_) => break,
        }
    }
    // Whoever has changed it since, as a shell does that is in front again, has the last word.
    if let Some(lent) = lent
        && are_same(&tcgetattr(stdin())?, &lent)
    {
        tcsetattr(stdin(), OptionalActions::Now, &before)?;
        tcflush(stdin(), QueueSelector::IFlush)?;
    }
    Ok(())
}

/// Makes the terminal raw: every key is the guest's. Returns its settings as the kernel has taken them.
fn make_raw(before: &Termios) -> Result<Termios> {
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(stdin(), OptionalActions::Now, &raw)?;
    Ok(tcgetattr(stdin())?)
}

fn are_same(one: &Termios, other: &Termios) -> bool {
    one.input_modes == other.input_modes
        && one.output_modes == other.output_modes
        && one.control_modes == other.control_modes
        && one.local_modes == other.local_modes
}

/// What the keeper may call.
fn rules(hears: &OwnedFd) -> Vec<Rule> {
    let fd = |fd: &dyn AsRawFd| u64::from(fd.as_raw_fd().unsigned_abs());
    let rule = |number, name, pins: &[(u8, u64)], reason| {
        let pins = pins.iter().map(|&(argument, value)| Pin { argument, value }).collect();
        Rule { number, name, pins, reason }
    };
    let terminal = fd(&stdin());
    let ioctl =
        |request, reason| rule(libc::SYS_ioctl, "ioctl", &[(0, terminal), (1, request)], reason);
    vec![
        rule(libc::SYS_read, "read", &[(0, fd(hears))], "wait for the launcher"),
        ioctl(libc::TCGETS2, "look whether the settings are still ours"),
        ioctl(libc::TCSETS2, "make the terminal raw and put it back"),
        ioctl(libc::TCFLSH, "throw away what was typed"),
        rule(libc::SYS_exit_group, "exit_group", &[], "end"),
    ]
}
