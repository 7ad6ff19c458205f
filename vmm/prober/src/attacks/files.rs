//! Paths, /proc and /sys.

use std::ffi::CStr;

use libc::{AT_FDCWD, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY, S_IFBLK, S_IFIFO};
use prober::bait::{NEW, PUBLIC, leaked};

use super::{Attack, Attacker};
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, does, int};

pub const ATTACKS: &[(&str, Attack)] = &[
    ("open_passwd", |_| read_first(c"/etc/passwd")),
    ("openat2_passwd", openat2),
    ("openat_dotdot", |_| read_first(c"../../../../../../../../etc/passwd")),
    ("proc_self_root", |_| read_first(c"/proc/self/root/etc/passwd")),
    ("stat_path", stat),
    ("access_path", |_| {
        let args = [int(AT_FDCWD), path(c"/etc/passwd"), 0, 0];
        does(libc::SYS_faccessat2, &args).or_else(|_| does(libc::SYS_faccessat, &args))
    }),
    ("list_root", list_root),
    ("watch_path", |_| {
        let watcher = call(libc::SYS_inotify_init1, &[0])?;
        does(libc::SYS_inotify_add_watch, &[watcher, path(c"/etc"), libc::IN_ALL_EVENTS.into()])
    }),
    ("create_file", |attacker| {
        open(&attacker.bait.path(NEW), O_WRONLY | O_CREAT | O_EXCL).map(drop)
    }),
    ("make_directory", |attacker| at_new(attacker, libc::SYS_mkdirat, &[0o700])),
    ("link_file", |attacker| {
        let (from, to) = (attacker.bait.path(PUBLIC), attacker.bait.path(NEW));
        does(libc::SYS_linkat, &[int(AT_FDCWD), path(&from), int(AT_FDCWD), path(&to), 0])
    }),
    ("make_symlink", |attacker| {
        let to = attacker.bait.path(NEW);
        does(libc::SYS_symlinkat, &[path(c"/etc/passwd"), int(AT_FDCWD), path(&to)])
    }),
    ("rename_file", |attacker| {
        let (from, to) = (attacker.bait.path(PUBLIC), attacker.bait.path(NEW));
        does(libc::SYS_renameat2, &[int(AT_FDCWD), path(&from), int(AT_FDCWD), path(&to), 0])
    }),
    ("unlink_file", |attacker| at_public(attacker, libc::SYS_unlinkat, &[0])),
    ("truncate_path", |attacker| does(libc::SYS_truncate, &[path(&attacker.bait.path(PUBLIC)), 0])),
    ("chmod_path", |attacker| at_public(attacker, libc::SYS_fchmodat, &[0o777])),
    ("set_times", |attacker| at_public(attacker, libc::SYS_utimensat, &[0, 0])),
    ("make_fifo", |attacker| at_new(attacker, libc::SYS_mknodat, &[u64::from(S_IFIFO | 0o600), 0])),
    ("make_device", |attacker| {
        let disk = attacker.bait.disk;
        at_new(attacker, libc::SYS_mknodat, &[u64::from(S_IFBLK | 0o600), disk])?;
        open(&attacker.bait.path(NEW), O_RDONLY).map(drop)
    }),
    ("open_kvm", |_| open(c"/dev/kvm", O_RDWR).map(drop)),
    ("write_sysfs", |_| open(c"/sys/kernel/mm/ksm/run", O_WRONLY).map(drop)),
    ("write_core_pattern", |_| open(c"/proc/sys/kernel/core_pattern", O_WRONLY).map(drop)),
    ("leave_cgroup", leave_cgroup),
    ("open_by_handle", open_by_handle),
    ("reopen_writable", |_| {
        let path = format!("/proc/self/fd/{}\0", leaked::SECRET);
        let path = CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| IN_VAIN)?;
        open(path, O_WRONLY).map(drop)
    }),
    ("own_memory_file", |_| open(c"/proc/self/mem", O_RDWR).map(drop)),
];

fn path(path: &CStr) -> u64 {
    at(path.to_bytes_with_nul())
}

/// Opens a path by whichever call is let through.
pub(super) fn open(name: &CStr, flags: i32) -> Attempt<u64> {
    call(libc::SYS_openat, &[int(AT_FDCWD), path(name), int(flags), 0o600])
        .or_else(|_| call(libc::SYS_open, &[path(name), int(flags), 0o600]))
}

/// Reads a byte of an open file.
pub(super) fn read_byte(fd: u64) -> Attempt {
    let mut byte = [0u8];
    match call(libc::SYS_read, &[fd, at_mut(&mut byte), 1])? {
        1 => Ok(()),
        _ => Err(IN_VAIN),
    }
}

fn read_first(name: &CStr) -> Attempt {
    read_byte(open(name, O_RDONLY)?)
}

fn openat2(_: &Attacker) -> Attempt {
    let how = [0u64; 3];
    let args = [int(AT_FDCWD), path(c"/etc/passwd"), at(&how), 24];
    read_byte(call(libc::SYS_openat2, &args)?)
}

fn stat(_: &Attacker) -> Attempt {
    let mut buffer = [0u64; 64];
    let place = at_mut(&mut buffer);
    does(libc::SYS_newfstatat, &[int(AT_FDCWD), path(c"/etc/passwd"), place, 0])
        .or_else(|_| does(libc::SYS_statx, &[int(AT_FDCWD), path(c"/etc/passwd"), 0, 1, place]))
}

/// An empty directory has entries for itself and its parent alone, 24 bytes each.
fn list_root(_: &Attacker) -> Attempt {
    let mut buffer = [0u64; 512];
    let root = open(c"/", O_RDONLY)?;
    match call(libc::SYS_getdents64, &[root, at_mut(&mut buffer), 4096])? {
        0..=48 => Err(IN_VAIN),
        _ => Ok(()),
    }
}

fn at_new(attacker: &Attacker, number: i64, rest: &[u64]) -> Attempt {
    at_name(attacker, NEW, number, rest)
}

fn at_public(attacker: &Attacker, number: i64, rest: &[u64]) -> Attempt {
    at_name(attacker, PUBLIC, number, rest)
}

/// A call whose first arguments are a directory's descriptor and a path.
fn at_name(attacker: &Attacker, name: &str, number: i64, rest: &[u64]) -> Attempt {
    let name = attacker.bait.path(name);
    let mut args = vec![int(AT_FDCWD), path(&name)];
    args.extend(rest);
    does(number, &args)
}

fn leave_cgroup(attacker: &Attacker) -> Attempt {
    let mut name = attacker.bait.cgroup.as_encoded_bytes().to_vec();
    name.extend(b"/cgroup.procs\0");
    let name = CStr::from_bytes_with_nul(&name).map_err(|_| IN_VAIN)?;
    open(name, O_WRONLY).map(drop)
}

/// The break-out of early Docker: a handle names a file of the whole file system.
fn open_by_handle(attacker: &Attacker) -> Attempt {
    let (kind, bytes) = attacker.bait.handle.split_at_checked(4).ok_or(IN_VAIN)?;
    let mut handle = u32::try_from(bytes.len()).map_err(|_| IN_VAIN)?.to_le_bytes().to_vec();
    handle.extend(kind);
    handle.extend(bytes);
    let args = [int(leaked::ROOT), at(handle.as_slice()), int(O_RDONLY)];
    read_byte(call(libc::SYS_open_by_handle_at, &args)?)
}
