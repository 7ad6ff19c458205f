//! Operations that take privilege.
//!
//! "As far as": the call is made with an argument that the kernel refuses only after it has looked at
//! the caller's privilege, so nothing happens to the host. EPERM is the answer that stops an attacker.

use std::ffi::CStr;

use libc::{AT_FDCWD, MNT_DETACH, O_DIRECTORY, O_RDONLY};
use prober::bait::MOUNT_POINT;

use super::files::{open, read_byte};
use super::{Attack, Attacker};
use crate::raw::{Attempt, at, at_mut, call, does, int};

pub const ATTACKS: &[(&str, Attack)] = &[
    ("mount", mount),
    ("mount_detached", |_| {
        const CREATE: u64 = 6;
        let context = call(libc::SYS_fsopen, &[text(c"tmpfs"), 0])?;
        does(libc::SYS_fsconfig, &[context, CREATE, 0, 0, 0])?;
        does(libc::SYS_fsmount, &[context, 0, 0])
    }),
    ("clone_tree", |_| does(libc::SYS_open_tree, &[int(AT_FDCWD), text(c"/"), 1])),
    ("chroot", |_| does(libc::SYS_chroot, &[text(c"/")])),
    ("chroot_escape", chroot_escape),
    ("set_host_name", set_host_name),
    ("reboot", |_| reached(libc::SYS_reboot, &[0, 0, 0, 0], &[libc::EINVAL])),
    ("accounting", |_| reached(libc::SYS_acct, &[text(c"/no/such/file")], &[libc::ENOENT])),
    ("swap_off", |_| reached(libc::SYS_swapoff, &[text(c"/no/such/file")], &[libc::ENOENT])),
    ("load_module", |_| {
        let late = &[libc::EFAULT, libc::ENOEXEC, libc::EINVAL];
        reached(libc::SYS_init_module, &[0, 1, text(c"")], late)
    }),
    ("unload_module", |_| {
        reached(libc::SYS_delete_module, &[text(c"no_such_module"), 0], &[libc::ENOENT])
    }),
    ("kexec", |_| reached(libc::SYS_kexec_load, &[0, 0, 0, 0xf000_0000], &[libc::EINVAL])),
    ("set_clock", |_| {
        // struct timex: modes is ADJ_TICK, the tick is none that a clock may have.
        const ADJ_TICK: u64 = 0x4000;
        let mut timex = [0u64; 26];
        timex[0] = ADJ_TICK;
        reached(libc::SYS_adjtimex, &[at_mut(&mut timex)], &[libc::EINVAL])
    }),
    ("read_kernel_log", |_| {
        const READ_ALL: u64 = 3;
        let mut buffer = [0u8; 64];
        does(libc::SYS_syslog, &[READ_ALL, at_mut(&mut buffer), 64])
    }),
    ("io_privilege", |_| does(libc::SYS_iopl, &[3])),
    ("io_ports", |_| does(libc::SYS_ioperm, &[0x80, 1, 1])),
];

fn text(text: &CStr) -> u64 {
    at(text.to_bytes_with_nul())
}

/// A call that was refused for its argument got past the look at the caller.
fn reached(number: i64, args: &[u64], late: &[i32]) -> Attempt {
    match call(number, args) {
        Ok(_) => Ok(()),
        Err(errno) if late.contains(&errno.into()) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn mount(attacker: &Attacker) -> Attempt {
    let place = attacker.bait.path(MOUNT_POINT);
    let on = |place: &CStr| {
        does(libc::SYS_mount, &[text(c"none"), text(place), text(c"tmpfs"), 0, 0])?;
        does(libc::SYS_umount2, &[text(place), int(MNT_DETACH)])
    };
    match on(&place) {
        // Behind an empty root there is no such place, but there is the root itself.
        Err(errno) if i32::from(errno) == libc::ENOENT => on(c"/"),
        result => result,
    }
}

/// A process whose working directory is outside its root is not held by it.
fn chroot_escape(attacker: &Attacker) -> Attempt {
    let outside = open(c"/", O_RDONLY | O_DIRECTORY)?;
    let inside = attacker.bait.path(MOUNT_POINT);
    does(libc::SYS_chroot, &[text(&inside)])?;
    does(libc::SYS_fchdir, &[outside])?;
    for _ in 0..8 {
        does(libc::SYS_chdir, &[text(c"..")])?;
    }
    does(libc::SYS_chroot, &[text(c".")])?;
    read_byte(open(c"/etc/passwd", O_RDONLY)?)
}

/// To the name that it has.
fn set_host_name(_: &Attacker) -> Attempt {
    let mut names = [0u8; 390];
    does(libc::SYS_uname, &[at_mut(&mut names)])?;
    let name = names.get(65..130).unwrap_or_default();
    let len = name.iter().take_while(|byte| **byte != 0).count();
    does(libc::SYS_sethostname, &[at(name), len as u64])
}
