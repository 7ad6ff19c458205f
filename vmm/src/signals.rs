//! Signals as something to read.
#![expect(unsafe_code, reason = "signalfd and the signal mask have no safe wrapper here")]

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

use anyhow::{Context, Result};

/// What is forwarded to the command.
const FORWARDED: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// The terminal has another size, which without `-t` is nobody's business: SIGWINCH.
pub const RESIZED: u8 = 28;

/// The forwarded signals, blocked and readable.
#[derive(Debug)]
pub struct Signals(File);

impl Signals {
    /// Blocks the signals and opens a descriptor that they can be read from. From here on Ctrl-Z does
    /// nothing: it would stop the launcher alone, and the console worker, which is in no job of the
    /// shell's, would go on to read what is typed into the shell.
    pub fn block() -> Result<Self> {
        let set = set();
        // SAFETY: to be ignored takes no handler.
        unsafe { libc::signal(libc::SIGTSTP, libc::SIG_IGN) };
        // SAFETY: `set` is an initialized signal set; the old mask is not asked for.
        let blocked =
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        // SAFETY: `set` is an initialized signal set, and -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if blocked != 0 || fd < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot catch signals");
        }
        // SAFETY: signalfd has just returned this descriptor and nobody else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The descriptor to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next signal's number, if one has come.
    pub fn next(&self) -> Option<u8> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut info).ok()?;
        // ssi_signo is the first field.
        let [a, b, c, d, ..] = info;
        u8::try_from(u32::from_ne_bytes([a, b, c, d])).ok()
    }
}

/// Unblocks the signals again, for a process that is about to become another program.
pub fn unblock() {
    let set = set();
    // SAFETY: `set` is an initialized signal set; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}

fn set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `set` is a place for a signal set, which sigemptyset initializes.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialized it.
    let mut set = unsafe { set.assume_init() };
    for signal in FORWARDED.into_iter().chain([i32::from(RESIZED)]) {
        // SAFETY: `set` is initialized and the number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}
