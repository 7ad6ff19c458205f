//! Other processes.

use std::ffi::CString;

use libc::{O_RDONLY, O_RDWR};

use super::files::{open, read_byte};
use super::{Attack, Attacker};
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, does, int};

pub const ATTACKS: &[(&str, Attack)] = &[
    ("read_environment", |attacker| read_byte(open(&proc(attacker, "environ")?, O_RDONLY)?)),
    ("open_memory", |attacker| open(&proc(attacker, "mem")?, O_RDWR).map(drop)),
    ("attach", |attacker| {
        const SEIZE: u64 = 0x4206;
        const DETACH: u64 = 17;
        does(libc::SYS_ptrace, &[SEIZE, victim(attacker), 0, 0])?;
        // It has to be stopped for that; where it is not, it is let go with this process.
        let _ = call(libc::SYS_ptrace, &[DETACH, victim(attacker), 0, 0]);
        Ok(())
    }),
    ("read_memory", |attacker| copy(attacker, libc::SYS_process_vm_readv)),
    ("write_memory", |attacker| copy(attacker, libc::SYS_process_vm_writev)),
    ("enter_namespaces", |attacker| {
        let pidfd = pidfd(attacker)?;
        does(libc::SYS_setns, &[pidfd, int(libc::CLONE_NEWUTS)])
    }),
    ("signal_process", |attacker| does(libc::SYS_kill, &[victim(attacker), 0])),
    ("signal_thread", |attacker| does(libc::SYS_tgkill, &[victim(attacker), victim(attacker), 0])),
    ("signal_parent", |_| match call(libc::SYS_getppid, &[])? {
        // A process without a parent in sight would signal its own group.
        0 => Err(IN_VAIN),
        parent => does(libc::SYS_kill, &[parent, 0]),
    }),
    ("signal_all", |_| does(libc::SYS_kill, &[int(-1), 0])),
    ("signal_by_pidfd", |attacker| {
        let pidfd = pidfd(attacker)?;
        does(libc::SYS_pidfd_send_signal, &[pidfd, 0, 0, 0])
    }),
    ("open_pidfd", |attacker| pidfd(attacker).map(drop)),
    ("take_descriptor", |attacker| {
        let pidfd = pidfd(attacker)?;
        does(libc::SYS_pidfd_getfd, &[pidfd, int(attacker.bait.descriptor), 0])
    }),
    ("read_limits", |attacker| {
        let mut limits = [0u64; 2];
        let resource = u64::from(libc::RLIMIT_NOFILE);
        does(libc::SYS_prlimit64, &[victim(attacker), resource, 0, at_mut(&mut limits)])
    }),
    ("renice", |attacker| does(libc::SYS_setpriority, &[0, victim(attacker), 1])),
    ("pin_to_cpu", |attacker| {
        does(libc::SYS_sched_setaffinity, &[victim(attacker), 8, at(&u64::MAX)])
    }),
    ("own_io_signal", |attacker| {
        let (set, get) = (int(libc::F_SETOWN), int(libc::F_GETOWN));
        does(libc::SYS_fcntl, &[3, set, victim(attacker)])?;
        match call(libc::SYS_fcntl, &[3, get])? {
            owner if owner == victim(attacker) => Ok(()),
            _ => Err(IN_VAIN),
        }
    }),
];

fn victim(attacker: &Attacker) -> u64 {
    int(attacker.bait.victim)
}

fn pidfd(attacker: &Attacker) -> Attempt<u64> {
    call(libc::SYS_pidfd_open, &[victim(attacker), 0])
}

fn proc(attacker: &Attacker, file: &str) -> Attempt<CString> {
    CString::new(format!("/proc/{}/{file}", attacker.bait.victim)).map_err(|_| IN_VAIN)
}

/// Copies a word from or to the victim.
fn copy(attacker: &Attacker, number: i64) -> Attempt {
    let mut word = 1u64;
    let ours = [at_mut(&mut word), 8];
    let theirs = [attacker.bait.address, 8];
    match call(number, &[victim(attacker), at(&ours), 1, at(&theirs), 1, 0])? {
        8 => Ok(()),
        _ => Err(IN_VAIN),
    }
}
