//! Memory that is written and executed, moved or punched.

use super::{Attack, Attacker};
use crate::raw::{Attempt, at, call, does, int};

const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;
const SHARED: u64 = 0x01;
const PRIVATE: u64 = 0x02;
const ANONYMOUS: u64 = 0x20;

pub const ATTACKS: &[(&str, Attack)] = &[
    ("map_wx", |_| map(READ | WRITE | EXECUTE, PRIVATE).map(drop)),
    ("protect_x", |attacker| {
        does(libc::SYS_mprotect, &[attacker.low.into(), 4096, READ | EXECUTE])
    }),
    ("protect_code", |_| {
        let code = (map as fn(u64, u64) -> Attempt<u64>) as usize as u64 & !0xfff;
        does(libc::SYS_mprotect, &[code, 4096, READ | WRITE | EXECUTE])
    }),
    ("protect_pkey", |attacker| {
        does(libc::SYS_pkey_mprotect, &[attacker.low.into(), 4096, READ | EXECUTE, int(-1)])
    }),
    ("attach_x", |_| {
        const SHM_EXEC: u64 = 0o100_000;
        let id = call(libc::SYS_shmget, &[0, 4096, 0o700])?;
        let attached = does(libc::SYS_shmat, &[id, 0, SHM_EXEC]);
        does(libc::SYS_shmctl, &[id, 0, 0])?;
        attached
    }),
    ("move_mapping", |attacker| {
        const MAY_MOVE: u64 = 1;
        does(libc::SYS_mremap, &[attacker.low.into(), 4096, 1 << 20, MAY_MOVE, 0])
    }),
    ("make_memfd", |_| does(libc::SYS_memfd_create, &[at(c"x".to_bytes_with_nul()), 0])),
    ("punch_memory", punch),
];

/// Maps a page.
fn map(protection: u64, flags: u64) -> Attempt<u64> {
    call(libc::SYS_mmap, &[0, 4096, protection, flags | ANONYMOUS, int(-1), 0])
}

fn punch(_: &Attacker) -> Attempt {
    const REMOVE: u64 = 9;
    let page = map(READ | WRITE, SHARED)?;
    does(libc::SYS_madvise, &[page, 4096, REMOVE])
}
