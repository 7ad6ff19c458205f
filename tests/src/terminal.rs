//! A terminal, of which the test is keyboard, window and screen.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};

/// The settings of a terminal: input, output, control and local modes.
pub type Settings = [u32; 4];

/// A terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The side of the screen and the keys.
    screen: OwnedFd,
    /// The side of the programs; held open, as a shell does.
    line: OwnedFd,
    seen: Vec<u8>,
    /// How much of what was seen was looked for and found.
    found: usize,
}

impl Terminal {
    /// A terminal of this size that knows UTF-8.
    pub fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).unwrap();
        unlockpt(&screen).unwrap();
        let line = ioctl_tiocgptpeer(&screen, flags).unwrap();
        let mut settings = tcgetattr(&line).unwrap();
        settings.input_modes |= InputModes::IUTF8;
        tcsetattr(&line, OptionalActions::Now, &settings).unwrap();
        let terminal = Self { screen, line, seen: Vec::new(), found: 0 };
        terminal.resize(rows, columns);
        terminal
    }

    /// A stream of a program on this terminal.
    pub fn stream(&self) -> Stdio {
        self.line.try_clone().unwrap().into()
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.screen, size).unwrap();
    }

    /// Types.
    pub fn press(&self, keys: &str) {
        assert_eq!(rustix::io::write(&self.screen, keys.as_bytes()), Ok(keys.len()));
    }

    /// Changes its settings, as another program on it would.
    pub fn turn_echo_on(&self) {
        let mut settings = tcgetattr(&self.line).unwrap();
        settings.local_modes |= LocalModes::ECHO;
        tcsetattr(&self.line, OptionalActions::Now, &settings).unwrap();
    }

    /// Its settings now.
    pub fn settings(&self) -> Settings {
        let now = tcgetattr(&self.line).unwrap();
        [
            now.input_modes.bits(),
            now.output_modes.bits(),
            now.control_modes.bits(),
            now.local_modes.bits(),
        ]
    }

    /// How many bytes were typed that nobody has read.
    pub fn unread(&self) -> u64 {
        ioctl_fionread(&self.line).unwrap()
    }

    /// Reads the screen until it shows `text`, after what was found before.
    pub fn find(&mut self, text: &str, within: Duration) {
        let until = Instant::now() + within;
        loop {
            let new = &self.seen[self.found..];
            if let Some(at) = new.windows(text.len()).position(|part| part == text.as_bytes()) {
                self.found += at + text.len();
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            let shown = String::from_utf8_lossy(new).into_owned();
            assert!(self.read(left), "the screen does not show {text:?}, but {shown:?}");
        }
    }

    /// Everything that the screen has shown up to now.
    pub fn shown(&mut self) -> String {
        while self.read(Duration::ZERO) {}
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    fn read(&mut self, within: Duration) -> bool {
        let within = Timespec::try_from(within).ok();
        let mut fds = [PollFd::from_borrowed_fd(self.screen.as_fd(), PollFlags::IN)];
        if poll(&mut fds, within.as_ref()).unwrap() == 0 {
            return false;
        }
        let mut piece = [0; 4096];
        let count = rustix::io::read(&self.screen, &mut piece).unwrap();
        self.seen.extend_from_slice(&piece[..count]);
        true
    }
}
