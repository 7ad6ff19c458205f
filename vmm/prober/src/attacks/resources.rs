//! Resources: what one worker may use of the host.

use libc::SIGCHLD;

use super::{Attack, Attacker};
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, clone_on_stack, does, int, touch};

const MIB: u64 = 1 << 20;

pub const ATTACKS: &[(&str, Attack)] = &[
    ("use_memory", |_| {
        const READ_WRITE: u64 = 3;
        const PRIVATE_ANONYMOUS: u64 = 0x22;
        const PIECE: u64 = 16 * MIB;
        for _ in 0..32 {
            let args = [0, PIECE, READ_WRITE, PRIVATE_ANONYMOUS, int(-1), 0];
            touch(call(libc::SYS_mmap, &args)?, PIECE);
        }
        Ok(())
    }),
    ("use_heap", use_heap),
    ("use_descriptors", |_| (0..512).try_for_each(|_| does(libc::SYS_dup, &[3]))),
    ("use_processes", use_processes),
    ("use_threads", use_threads),
    ("lock_memory", |_| {
        const READ_WRITE: u64 = 3;
        const PRIVATE_ANONYMOUS: u64 = 0x22;
        let args = [0, 16 * MIB, READ_WRITE, PRIVATE_ANONYMOUS, int(-1), 0];
        let memory = call(libc::SYS_mmap, &args)?;
        does(libc::SYS_mlock, &[memory, 16 * MIB])
    }),
    ("real_time", |_| {
        const FIFO: u64 = 1;
        does(libc::SYS_sched_setscheduler, &[0, FIFO, at(&1u32)])
    }),
    ("raise_priority", |_| does(libc::SYS_setpriority, &[0, 0, int(-20)])),
    ("raise_limits", |_| {
        let limit = [u64::MAX; 2];
        does(libc::SYS_prlimit64, &[0, libc::RLIMIT_MEMLOCK.into(), at(&limit), 0])
    }),
    ("dump_core", |_| {
        let mut limit = [0u64; 2];
        let core = libc::RLIMIT_CORE.into();
        does(libc::SYS_prlimit64, &[0, core, 0, at_mut(&mut limit)])?;
        limit[0] = limit[1];
        does(libc::SYS_prlimit64, &[0, core, at(&limit), 0])?;
        let dumpable = call(libc::SYS_prctl, &[int(libc::PR_GET_DUMPABLE)])? == 1;
        if limit[1] > 0 && dumpable { Ok(()) } else { Err(IN_VAIN) }
    }),
];

/// In steps: what cannot be had is refused by the old end.
fn use_heap(_: &Attacker) -> Attempt {
    let begin = call(libc::SYS_brk, &[0])?;
    for step in 1..=8 {
        let wanted = begin + step * 16 * MIB;
        if call(libc::SYS_brk, &[wanted])? < wanted {
            return Err(u16::try_from(libc::ENOMEM).unwrap_or(IN_VAIN));
        }
        touch(wanted - 16 * MIB, 16 * MIB);
    }
    Ok(())
}

/// All at the same time; they end with the one that waits for nobody.
fn use_processes(_: &Attacker) -> Attempt {
    let mut started = Vec::with_capacity(32);
    let mut result = Ok(());
    for _ in 0..32 {
        match call(libc::SYS_clone, &[int(SIGCHLD), 0, 0, 0, 0]) {
            Ok(0) => loop {
                let _ = call(libc::SYS_pause, &[]);
            },
            Ok(pid) => started.push(pid),
            Err(errno) => {
                result = Err(errno);
                break;
            }
        }
    }
    for pid in started {
        does(libc::SYS_kill, &[pid, int(libc::SIGKILL)])?;
        does(libc::SYS_wait4, &[pid, 0, 0, 0])?;
    }
    result
}

/// All at the same time; they end with this process.
fn use_threads(_: &Attacker) -> Attempt {
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND;
    let flags = flags | libc::CLONE_THREAD | libc::CLONE_SYSVSEM;
    for _ in 0..64 {
        clone_on_stack(flags, true)?;
    }
    Ok(())
}
