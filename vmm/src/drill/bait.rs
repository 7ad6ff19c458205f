//! What the attackers of a drill find on the host, laid out in a directory of the drill's own and gone
//! with it: files, sockets, a victim, descriptors that a careless launcher would have leaked.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions, Permissions, set_permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use prober::bait::{
    Bait, DATAGRAM, MOUNT_POINT, NEW, PROGRAM, PUBLIC, SECRET, SET_ID, SET_ID_PROGRAM, STREAM,
    leaked,
};
use prober::helper;
use rustix::fs::SeekFrom;
use rustix::mount::{UnmountFlags, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::foreign::Foreign;
use crate::host;
use crate::spawn::{Child, clone, reap};

/// Everything that is laid out.
pub struct Laid {
    /// Where it is, as the prober is told.
    pub bait: Bait,
    dir: TempDir,
    leaked: Vec<(RawFd, OwnedFd)>,
    victim: Child,
    /// Its end is what the victim waits for.
    alive: Option<OwnedFd>,
    ears: Ears,
    _terminal: OwnedFd,
    _foreign: Option<Foreign>,
}

/// Sockets that an attacker may reach.
struct Ears {
    stream: UnixListener,
    by_name: UnixListener,
    datagram: UnixDatagram,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Ears {
    fn open(dir: &Path, abstract_name: &str) -> Result<Self> {
        let by_name = SocketAddr::from_abstract_name(abstract_name)?;
        let ears = Self {
            stream: UnixListener::bind(dir.join(STREAM))?,
            by_name: UnixListener::bind_addr(&by_name)?,
            datagram: UnixDatagram::bind(dir.join(DATAGRAM))?,
            tcp: TcpListener::bind(("127.0.0.1", 0))?,
            udp: UdpSocket::bind(("127.0.0.1", 0))?,
        };
        ears.stream.set_nonblocking(true)?;
        ears.by_name.set_nonblocking(true)?;
        ears.datagram.set_nonblocking(true)?;
        ears.tcp.set_nonblocking(true)?;
        ears.udp.set_nonblocking(true)?;
        Ok(ears)
    }

    /// Takes what has come, or the next attacker would find a queue full, which stops nobody.
    fn hear_out(&self) {
        let mut byte = [0];
        while self.stream.accept().is_ok() {}
        while self.by_name.accept().is_ok() {}
        while self.datagram.recv(&mut byte).is_ok() {}
        while self.tcp.accept().is_ok() {}
        while self.udp.recv(&mut byte).is_ok() {}
    }
}

/// A word that the victim has at the same address as the drill, being its clone.
static WORD: AtomicU64 = AtomicU64::new(0x6361_7365_6d61_7465);

impl Laid {
    /// Lays everything out.
    pub fn out() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("casemate-drill-").tempdir();
        let dir = dir.context("cannot make a directory for the drill")?;
        set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let abstract_name = format!("casemate-drill-{}", std::process::id());
        let ears = Ears::open(dir.path(), &abstract_name)?;
        make_programs(dir.path())?;
        let (gone, alive) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let Some(victim) = clone(libc::CLONE_PIDFD, None)? else { wait_for(&gone) };
        let bait = Bait {
            dir: dir.path().into(),
            victim: victim.pid,
            address: WORD.as_ptr().addr() as u64,
            descriptor: gone.as_raw_fd(),
            abstract_name,
            tcp: ears.tcp.local_addr()?.port(),
            udp: ears.udp.local_addr()?.port(),
            disk: std::fs::metadata("/")?.dev(),
            cgroup: own_group(),
            handle: handle_of_passwd(),
        };
        let (terminal, user_side) = terminal()?;
        let foreign = Foreign::machine().ok();
        refresh(dir.path())?;
        let leaked = leak(dir.path(), user_side, foreign.as_ref())?;
        Ok(Self {
            bait,
            dir,
            leaked,
            victim,
            alive: Some(alive),
            ears,
            _terminal: terminal,
            _foreign: foreign,
        })
    }

    /// Puts back what an attacker may have changed.
    pub fn refresh(&self) -> Result<()> {
        self.ears.hear_out();
        for (number, fd) in &self.leaked {
            if *number == leaked::SECRET {
                rustix::fs::seek(fd, SeekFrom::Start(0))?;
            }
        }
        refresh(self.dir.path())
    }

    /// The descriptors to leak, by their numbers.
    pub fn leaked(&self) -> Vec<(RawFd, BorrowedFd<'_>)> {
        self.leaked.iter().map(|(number, fd)| (*number, fd.as_fd())).collect()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        drop(self.alive.take());
        reap(&self.victim);
        // Nothing is there unless an attacker was ended between mounting and unmounting.
        let _ = unmount(self.dir.path().join(MOUNT_POINT), UnmountFlags::DETACH);
    }
}

/// The victim: holds nothing and waits for the drill's end.
fn wait_for(gone: &OwnedFd) -> ! {
    if worker::jail::keep_only(&[gone.as_raw_fd()]).is_ok() {
        while !matches!(rustix::io::read(gone, &mut [0]), Ok(0)) {}
    }
    worker::jail::leave(0)
}

fn make_programs(dir: &Path) -> Result<()> {
    for (name, mode) in [(PROGRAM, 0o755), (SET_ID_PROGRAM, 0o4755)] {
        let path = dir.join(name);
        std::fs::write(&path, helper::elf())?;
        if name == SET_ID_PROGRAM && chown(&path, Some(SET_ID), Some(SET_ID)).is_err() {
            // No one but root can: the technique is then not to be had on this host.
        }
        set_permissions(&path, Permissions::from_mode(mode))?;
    }
    std::fs::create_dir(dir.join(MOUNT_POINT))?;
    Ok(())
}

fn refresh(dir: &Path) -> Result<()> {
    let new = dir.join(NEW);
    if let Ok(found) = std::fs::symlink_metadata(&new) {
        if found.is_dir() { std::fs::remove_dir(&new)? } else { std::fs::remove_file(&new)? }
    }
    for (name, mode) in [(SECRET, 0o600), (PUBLIC, 0o644)] {
        let path = dir.join(name);
        // In place, so that leaked descriptors stay those of the file.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        std::io::Write::write_all(&mut &file, b"bait\n")?;
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn leak(dir: &Path, terminal: OwnedFd, foreign: Option<&Foreign>) -> Result<Vec<(RawFd, OwnedFd)>> {
    let mut leaked = vec![
        (leaked::ROOT, File::open("/")?.into()),
        (leaked::SECRET, File::open(dir.join(SECRET))?.into()),
        (leaked::KVM, host::kvm()?.into()),
        (leaked::TERMINAL, terminal),
        (leaked::PUBLIC, OpenOptions::new().read(true).write(true).open(dir.join(PUBLIC))?.into()),
    ];
    if let Some(foreign) = foreign {
        leaked.push((leaked::VM, foreign.vm().try_clone_to_owned()?));
        leaked.push((leaked::VCPU, foreign.vcpu().try_clone_to_owned()?));
    }
    Ok(leaked)
}

/// A terminal's two sides.
fn terminal() -> Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context("cannot make a terminal")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes());
    let user_side = OpenOptions::new().read(true).write(true).open(path)?;
    Ok((master, user_side.into()))
}

/// The directory of the drill's own control group, in whichever hierarchy has processes in limits.
fn own_group() -> OsString {
    let mounts = host::cgroup_mounts().unwrap_or_default();
    let has = |mount: &&host::CgroupMount| {
        mount.controllers.is_empty() || mount.controllers.iter().any(|name| name == "pids")
    };
    mounts.iter().find(has).map(|mount| mount.own.clone().into()).unwrap_or_default()
}

/// Type and bytes of the handle of /etc/passwd; empty where the file system has none.
#[expect(unsafe_code, reason = "name_to_handle_at has no safe wrapper")]
fn handle_of_passwd() -> Vec<u8> {
    const MOST: u32 = 128;
    let mut handle = [0u32; 2 + MOST as usize / 4];
    handle[0] = MOST;
    let mut mount = 0;
    let path = CString::from(c"/etc/passwd");
    // SAFETY: the kernel writes at most as many bytes behind the two numbers as the first one says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    let length = usize::try_from(handle[0]).unwrap_or(0);
    let bytes = handle.iter().skip(1).flat_map(|word| word.to_le_bytes());
    if result == 0 { bytes.take(4 + length).collect() } else { Vec::new() }
}
