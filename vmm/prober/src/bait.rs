//! What the drill lays out for an attacker to find: told to the prober as arguments.
//!
//! | name in the directory | what |
//! |---|---|
//! | [`SECRET`] | a file that only the drill's own user may read |
//! | [`PUBLIC`] | a file of that user's |
//! | [`STREAM`], [`DATAGRAM`] | sockets that the drill listens on |
//! | [`PROGRAM`] | the [helper](crate::helper) |
//! | [`SET_ID_PROGRAM`] | the same, set-user-id to [`SET_ID`] where the drill may make one |
//! | [`MOUNT_POINT`] | an empty directory |
//! | [`NEW`] | nothing: to be made by the attacker |

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Readable for the drill's user alone.
pub const SECRET: &str = "secret";
/// Readable for everybody.
pub const PUBLIC: &str = "public";
/// A listening stream socket.
pub const STREAM: &str = "stream";
/// A datagram socket.
pub const DATAGRAM: &str = "datagram";
/// An executable.
pub const PROGRAM: &str = "program";
/// A set-user-id executable.
pub const SET_ID_PROGRAM: &str = "set-id-program";
/// An empty directory.
pub const MOUNT_POINT: &str = "mount-point";
/// A name that is free.
pub const NEW: &str = "new";

/// The user of [`SET_ID_PROGRAM`]: nobody.
pub const SET_ID: u32 = 65534;

/// Descriptors that a careless launcher would have leaked into the worker, by number.
pub mod leaked {
    use std::os::fd::RawFd;

    /// The host's root directory.
    pub const ROOT: RawFd = 100;
    /// The secret file, for reading.
    pub const SECRET: RawFd = 101;
    /// /dev/kvm.
    pub const KVM: RawFd = 102;
    /// Another process's virtual machine.
    pub const VM: RawFd = 103;
    /// Its vCPU.
    pub const VCPU: RawFd = 104;
    /// A terminal.
    pub const TERMINAL: RawFd = 105;
    /// The public file, for reading and writing.
    pub const PUBLIC: RawFd = 106;
}

/// Where the bait is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bait {
    /// The directory.
    pub dir: OsString,
    /// A process of the drill's user.
    pub victim: i32,
    /// A descriptor that it has.
    pub descriptor: i32,
    /// Where in it a word can be read and written.
    pub address: u64,
    /// Name of an abstract stream socket.
    pub abstract_name: String,
    /// A TCP port at 127.0.0.1.
    pub tcp: u16,
    /// A UDP port there.
    pub udp: u16,
    /// Device number of the disk below the root directory.
    pub disk: u64,
    /// The control group that the drill is in, as a directory.
    pub cgroup: OsString,
    /// The file handle of /etc/passwd: its type, then its bytes.
    pub handle: Vec<u8>,
}

impl Bait {
    /// The bait as arguments.
    pub fn to_args(&self) -> Vec<OsString> {
        let arg = |key: &str, value: &OsStr| {
            let mut arg = OsString::from(format!("{key}="));
            arg.push(value);
            arg
        };
        let number = |value: u64| OsString::from(value.to_string());
        let hex: String = self.handle.iter().map(|byte| format!("{byte:02x}")).collect();
        vec![
            arg("dir", &self.dir),
            arg("victim", &number(u64::from(self.victim.unsigned_abs()))),
            arg("descriptor", &number(u64::from(self.descriptor.unsigned_abs()))),
            arg("address", &number(self.address)),
            arg("abstract", self.abstract_name.as_ref()),
            arg("tcp", &number(self.tcp.into())),
            arg("udp", &number(self.udp.into())),
            arg("disk", &number(self.disk)),
            arg("cgroup", &self.cgroup),
            arg("handle", hex.as_ref()),
        ]
    }

    /// Reads back what [`Bait::to_args`] wrote; other arguments are not for here.
    pub fn from_args(args: &[OsString]) -> Option<Self> {
        let split = |arg: &OsString| {
            let bytes = arg.as_bytes();
            let at = bytes.iter().position(|byte| *byte == b'=')?;
            let value = OsString::from_vec(bytes.get(at + 1..)?.to_vec());
            Some((bytes.get(..at)?.to_vec(), value))
        };
        let fields: HashMap<Vec<u8>, OsString> = args.iter().filter_map(split).collect();
        let text = |key: &str| fields.get(key.as_bytes());
        let number = |key: &str| text(key)?.to_str()?.parse::<u64>().ok();
        let hex = text("handle")?.to_str()?;
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        Some(Self {
            dir: text("dir")?.clone(),
            victim: i32::try_from(number("victim")?).ok()?,
            descriptor: i32::try_from(number("descriptor")?).ok()?,
            address: number("address")?,
            abstract_name: text("abstract")?.to_str()?.to_owned(),
            tcp: u16::try_from(number("tcp")?).ok()?,
            udp: u16::try_from(number("udp")?).ok()?,
            disk: number("disk")?,
            cgroup: text("cgroup")?.clone(),
            handle: (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?,
        })
    }

    /// The path of a name in the directory.
    pub fn path(&self, name: &str) -> CString {
        let mut path = self.dir.clone().into_vec();
        path.push(b'/');
        path.extend(name.bytes());
        CString::new(path).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bait_survives_the_way() {
        let bait = Bait {
            dir: OsString::from_vec(b"/tmp/a b=\xff".to_vec()),
            victim: 77,
            descriptor: 5,
            address: u64::MAX,
            abstract_name: "casemate-drill-7".to_owned(),
            tcp: 65535,
            udp: 1,
            disk: 0xfe00,
            cgroup: "/sys/fs/cgroup".into(),
            handle: vec![0, 1, 0xff],
        };
        let mut args = bait.to_args();
        args.push("attack=x".into());
        assert_eq!(Bait::from_args(&args), Some(bait));
        args.remove(0);
        assert_eq!(Bait::from_args(&args), None);
    }
}
