//! New processes, programs and credentials.

use libc::{CLONE_NEWNS, CLONE_NEWTIME, CLONE_NEWUSER, CLONE_VM, SIGCHLD};
use prober::bait::{PROGRAM, SET_ID_PROGRAM};
use prober::helper;

use super::{Attack, Attacker};
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, clone_on_stack, does, int};

pub const ATTACKS: &[(&str, Attack)] = &[
    ("execute", |attacker| execute(attacker, PROGRAM)),
    ("execute_set_id", |attacker| execute(attacker, SET_ID_PROGRAM)),
    ("execute_memfd", execute_memfd),
    ("fork", |_| fork(libc::SYS_clone, &[int(SIGCHLD), 0, 0, 0, 0])),
    ("fork_clone3", |_| {
        let mut args = [0u64; 8];
        args[4] = int(SIGCHLD);
        fork(libc::SYS_clone3, &[at(&args), 64])
    }),
    ("clone_vm", |_| {
        let pid = clone_on_stack(CLONE_VM | SIGCHLD, false)?;
        does(libc::SYS_wait4, &[int(pid), 0, 0, 0])
    }),
    ("clone_thread", clone_thread),
    ("clone_user_ns", |_| fork(libc::SYS_clone, &[int(CLONE_NEWUSER | SIGCHLD), 0, 0, 0, 0])),
    ("unshare_user_ns", |_| does(libc::SYS_unshare, &[int(CLONE_NEWUSER)])),
    ("unshare_mount_ns", |_| does(libc::SYS_unshare, &[int(CLONE_NEWNS)])),
    ("unshare_time_ns", |_| does(libc::SYS_unshare, &[int(CLONE_NEWTIME)])),
    ("become_other_user", |_| does(libc::SYS_setresuid, &[12345, 12345, 12345])),
    ("become_other_group", |_| does(libc::SYS_setresgid, &[12345, 12345, 12345])),
    ("set_groups", |_| does(libc::SYS_setgroups, &[1, at(&12345u32)])),
    ("raise_capability", raise_capability),
    ("raise_ambient", |_| does(libc::SYS_prctl, &[int(libc::PR_CAP_AMBIENT), 2, 21, 0, 0])),
    ("become_dumpable", |_| {
        does(libc::SYS_prctl, &[int(libc::PR_SET_DUMPABLE), 1])?;
        match call(libc::SYS_prctl, &[int(libc::PR_GET_DUMPABLE)])? {
            1 => Ok(()),
            _ => Err(IN_VAIN),
        }
    }),
    ("ignore_sigsys", |_| {
        // The kernel's own struct: handler (1: ignore), flags, restorer, mask.
        does(libc::SYS_rt_sigaction, &[int(libc::SIGSYS), at(&[1u64, 0, 0, 0]), 0, 8])
    }),
    ("clear_death_signal", |_| does(libc::SYS_prctl, &[int(libc::PR_SET_PDEATHSIG), 0])),
    ("add_filter", add_filter),
];

/// In the child, 0; it leaves by the only call that it makes.
fn fork(number: i64, args: &[u64]) -> Attempt {
    match call(number, args)? {
        0 => loop {
            let _ = call(libc::SYS_exit_group, &[0]);
        },
        pid => does(libc::SYS_wait4, &[pid, 0, 0, 0]),
    }
}

fn clone_thread(_: &Attacker) -> Attempt {
    let flags = CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND;
    let flags = flags | libc::CLONE_THREAD | libc::CLONE_SYSVSEM;
    clone_on_stack(flags, false).map(drop)
}

/// What is executed answers in our place.
fn execute(attacker: &Attacker, name: &str) -> Attempt {
    let path = attacker.bait.path(name);
    let none = [0u64];
    let args = [at(path.as_bytes_with_nul()), at(&none), at(&none)];
    does(libc::SYS_execve, &args)
}

fn execute_memfd(_: &Attacker) -> Attempt {
    let program = helper::elf();
    let name = c"x".to_bytes_with_nul();
    let memfd = call(libc::SYS_memfd_create, &[at(name), 0])?;
    let len = program.len() as u64;
    does(libc::SYS_write, &[memfd, at(program.as_slice()), len])?;
    let empty = c"".to_bytes_with_nul();
    let none = [0u64];
    does(libc::SYS_execveat, &[memfd, at(empty), at(&none), at(&none), int(libc::AT_EMPTY_PATH)])
}

/// CAP_SYS_ADMIN, bit 21, in all three sets.
fn raise_capability(_: &Attacker) -> Attempt {
    let header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    does(libc::SYS_capget, &[at(&header), at_mut(&mut sets)])?;
    for set in sets.iter_mut().take(2) {
        *set |= 1 << 21;
    }
    does(libc::SYS_capset, &[at(&header), at(&sets)])
}

/// One instruction: allow.
fn add_filter(_: &Attacker) -> Attempt {
    let allow = [0x0006u16, 0, 0, 0x7fff];
    let program = [1u64, at(&allow)];
    const LISTEN: u64 = 8;
    // A second listener is refused for being the second: without one then.
    does(libc::SYS_seccomp, &[1, LISTEN, at(&program)])
        .or_else(|_| does(libc::SYS_seccomp, &[1, 0, at(&program)]))
}
