//! The task: what the agent shall do, as a file in the initramfs.
//!
//! A sequence of `key=value` entries, each ended by a NUL byte; values are bytes without NUL, so
//! there is neither quoting nor a limit on length. Keys that may come more than once keep their order.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Where the initramfs keeps the task.
pub const PATH: &str = "/task";

/// What the agent shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Kernel modules to load, in this order: paths in the initramfs.
    pub modules: Vec<OsString>,
    /// The command and its arguments.
    pub argv: Vec<OsString>,
    /// Environment, each `NAME=value`, on top of the agent's default one.
    pub env: Vec<OsString>,
    /// Working directory; `/` when absent.
    pub workdir: Option<OsString>,
    /// Who to run as, `USER` or `USER:GROUP`, each a name that the guest knows or a number; root when
    /// absent.
    pub user: Option<OsString>,
    /// Host name; `casemate` when absent.
    pub hostname: Option<OsString>,
    /// Rows and columns of the terminal that the command gets; pipes when absent.
    pub terminal: Option<(u16, u16)>,
    /// The disk that what is written to the root goes to, an empty ext4; memory when absent.
    pub scratch: Option<OsString>,
    /// Disks of files from the host, and where they are mounted for reading.
    pub inputs: Vec<(OsString, OsString)>,
    /// Disks for what comes out, and the directories that it comes from.
    pub outputs: Vec<(OsString, OsString)>,
}

/// What makes bytes not a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed task entry {:?}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Task {
    /// The task as bytes. Values hold no NUL byte: they come from an argument vector.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |key: &str, value: &OsStr| {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        };
        self.modules.iter().for_each(|module| put("module", module));
        self.argv.iter().for_each(|arg| put("arg", arg));
        self.env.iter().for_each(|entry| put("env", entry));
        if let Some(dir) = &self.workdir {
            put("workdir", dir);
        }
        if let Some(user) = &self.user {
            put("user", user);
        }
        if let Some(name) = &self.hostname {
            put("hostname", name);
        }
        if let Some((rows, columns)) = self.terminal {
            put("terminal", OsStr::new(&format!("{rows}:{columns}")));
        }
        if let Some(disk) = &self.scratch {
            put("scratch", disk);
        }
        for (key, places) in [("in", &self.inputs), ("out", &self.outputs)] {
            for (disk, place) in places {
                put(key, &[disk, place].map(OsString::as_os_str).join(OsStr::new(":")));
            }
        }
        bytes
    }

    /// Reads a task back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut task = Self::default();
        let Some(entries) = bytes.strip_suffix(&[0]) else {
            return Err(Malformed(String::from_utf8_lossy(bytes).into_owned()));
        };
        for entry in entries.split(|&byte| byte == 0) {
            let malformed = || Malformed(String::from_utf8_lossy(entry).into_owned());
            let at = entry.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
            let value = OsString::from_vec(entry[at + 1..].to_vec());
            match &entry[..at] {
                b"module" => task.modules.push(value),
                b"arg" => task.argv.push(value),
                b"env" => task.env.push(value),
                b"workdir" => task.workdir = Some(value),
                b"user" => task.user = Some(value),
                b"hostname" => task.hostname = Some(value),
                b"terminal" => task.terminal = Some(pair(&value).ok_or_else(malformed)?),
                b"scratch" => task.scratch = Some(value),
                b"in" => task.inputs.push(place(&value).ok_or_else(malformed)?),
                b"out" => task.outputs.push(place(&value).ok_or_else(malformed)?),
                _ => return Err(malformed()),
            }
        }
        Ok(task)
    }
}

/// Two numbers with a colon in between.
fn pair<T: std::str::FromStr>(value: &OsStr) -> Option<(T, T)> {
    let (first, second) = value.to_str()?.split_once(':')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// A disk and a place; a device's name holds no colon.
fn place(value: &OsStr) -> Option<(OsString, OsString)> {
    let value = value.as_bytes();
    let at = value.iter().position(|&byte| byte == b':')?;
    let part = |part: &[u8]| OsString::from_vec(part.to_vec());
    Some((part(&value[..at]), part(&value[at + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_the_way() {
        let odd = OsString::from_vec(vec![b'a', b'=', b'\n', 0xff, b' ']);
        let full = Task {
            modules: vec!["/modules/virtio_mmio.ko".into(), "/modules/ext4.ko".into()],
            argv: vec!["sh".into(), "-c".into(), "exit 7".into(), "".into(), odd.clone()],
            env: vec!["A=b=c".into(), odd],
            workdir: Some("/tmp".into()),
            user: Some("app:1000".into()),
            hostname: Some("x".into()),
            terminal: Some((24, u16::MAX)),
            scratch: Some("/dev/vdb".into()),
            inputs: vec![("/dev/vdc".into(), "/in".into()), ("/dev/vdd".into(), "/a:b".into())],
            outputs: vec![("/dev/vde".into(), "/out".into())],
        };
        let least = Task { argv: vec!["true".into()], ..Task::default() };
        for task in [full, least] {
            assert_eq!(Task::decode(&task.encode()), Ok(task));
        }
    }

    #[test]
    fn what_is_not_a_task_is_refused() {
        for bytes in [
            &b""[..],
            b"arg=x",
            b"arg\0",
            b"verb=x\0",
            b"in=x\0",
            b"out=\0",
            b"terminal=24\0",
            b"terminal=1:65536\0",
        ] {
            assert!(Task::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
