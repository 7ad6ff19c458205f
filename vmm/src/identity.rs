//! Who the workers are: one unprivileged user of the host for each sandbox.
//!
//! Started as root, a sandbox gets a user id of its own, far from any that a host gives out, so that
//! it shares nothing with the host's users nor with another sandbox. Started as a user, it can be no
//! other user than that; it loses everything else.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use rustix::process::{getegid, geteuid};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::host;

/// First id of the range for sandboxes: above what systemd and container tools hand out, below 2³¹.
const FIRST: u32 = 0x7000_0000;
/// Number of ids in the range: up to 2³¹.
const COUNT: u32 = 0x1000_0000;

/// The user and group that a sandbox's workers are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
    /// The launcher is root, and may map an id that is not its own.
    privileged: bool,
}

impl Identity {
    /// The identity of this process's sandbox. For root, drawn by lot: process ids are the same in
    /// containers that share their users.
    pub fn of_sandbox() -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::own());
        }
        let mut random = [0; 4];
        getrandom(&mut random, GetRandomFlags::empty()).context("cannot get random bytes")?;
        let id = FIRST + u32::from_ne_bytes(random) % COUNT;
        Ok(Self { uid: id, gid: id, privileged: true })
    }

    /// The identity of this process.
    pub fn own() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), privileged: false }
    }

    /// The identity that makes files as the owner of `file` would. An unprivileged launcher has its own
    /// alone.
    pub fn of_owner(file: &File) -> Result<Self> {
        let own = Self::of_sandbox()?;
        if !own.privileged {
            return Ok(own);
        }
        let owner = file.metadata().context("cannot look at a directory")?;
        Ok(Self { uid: owner.uid(), gid: owner.gid(), ..own })
    }

    /// Maps root of `pid`'s new user namespace to this identity, and nobody else to anything.
    pub fn map(&self, pid: libc::pid_t) -> Result<()> {
        if !self.privileged {
            host::write_proc(pid, "setgroups", "deny")?;
        }
        host::write_proc(pid, "uid_map", &format!("0 {} 1", self.uid))?;
        host::write_proc(pid, "gid_map", &format!("0 {} 1", self.gid))
    }
}
