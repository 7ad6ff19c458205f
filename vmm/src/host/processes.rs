//! The processes of the host, as /proc tells everybody about them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};

use super::read_proc;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: libc::pid_t,
    /// Its parent's.
    pub parent: libc::pid_t,
    /// Its name, as it may have set it.
    pub name: String,
    /// Its state's letter: `R`, `S`, `T`, `Z`, …
    pub state: char,
    /// When it began, in clock ticks since the host did.
    pub begun: u64,
}

impl Process {
    /// This process.
    pub fn own() -> Result<Self> {
        let stat = super::read_own("stat")?;
        Self::parse(&stat).with_context(|| format!("cannot make sense of /proc/self/stat: {stat}"))
    }

    /// All that there are; one that ends meanwhile may be left out.
    pub fn all() -> Result<Vec<Self>> {
        let entries = std::fs::read_dir("/proc").context("cannot list /proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(|pid| Self::parse(&read_proc(pid, "stat").ok()?)).collect())
    }

    /// The line of /proc/PID/stat (proc(5)). The name in parentheses may have anything in it.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields 3, 4 and 22 of the line.
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            begun: fields.get(19)?.parse().ok()?,
        })
    }

    /// Its arguments, its name for itself first; none when it has ended.
    pub fn words(&self) -> Vec<OsString> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let mut words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        // Each word ends with a NUL.
        words.pop();
        words.into_iter().map(|word| OsString::from_vec(word.to_vec())).collect()
    }

    /// The user whose it is; none when it has ended.
    pub fn user(&self) -> Option<u32> {
        let status = read_proc(self.pid, "status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }
}

/// Seconds since the host began.
pub fn uptime() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?;
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    first.with_context(|| format!("cannot make sense of /proc/uptime: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_disguise_the_fields_behind_it() {
        let tail = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        for name in ["casemate", "a) R 1 (b", ") ", ""] {
            let process = Process::parse(&format!("12 ({name}) {tail}")).unwrap();
            let expected =
                Process { pid: 12, parent: 7, name: name.to_owned(), state: 'S', begun: 4242 };
            assert_eq!(process, expected);
        }
        for line in ["", "12 (x", "12 (x) S", "x (y) S 1", "12 (x) S 7 1 1 0"] {
            assert_eq!(Process::parse(line), None, "{line}");
        }
    }

    #[test]
    fn this_process_is_among_all() {
        let own = Process::own().unwrap();
        let found = Process::all().unwrap().into_iter().find(|process| process.pid == own.pid);
        let found = found.unwrap();
        assert_eq!((found.begun, found.parent), (own.begun, own.parent));
        assert_eq!(found.user(), Some(rustix::process::getuid().as_raw()));
        let words: Vec<OsString> = std::env::args_os().collect();
        assert_eq!(found.words(), words);
    }
}
