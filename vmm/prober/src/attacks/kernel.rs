//! Parts of the kernel that no worker needs.

use super::files::read_byte;
use super::{Attack, Attacker};
use crate::raw::{Attempt, at, at_mut, call, call_32, does, int};

/// Marks a system call as one of the x32 ABI.
const X32: i64 = 0x4000_0000;

pub const ATTACKS: &[(&str, Attack)] = &[
    ("bpf_program", |_| {
        const PROG_LOAD: u64 = 5;
        const SOCKET_FILTER: u64 = 1;
        let program = [0xb7u64, 0x95]; // r0 = 0; exit
        let license = b"GPL\0";
        // union bpf_attr: type and length, then pointers.
        let attributes = [SOCKET_FILTER | 2 << 32, at(&program), at(license), 0, 0, 0];
        does(libc::SYS_bpf, &[PROG_LOAD, at(&attributes), 48])
    }),
    ("bpf_map", |_| {
        const MAP_CREATE: u64 = 0;
        // An array of one value of 4 bytes.
        let attributes = [2u32, 4, 4, 1];
        does(libc::SYS_bpf, &[MAP_CREATE, at(&attributes), 16])
    }),
    ("perf_events", |_| {
        // struct perf_event_attr: software, its size, the CPU's clock.
        let mut attributes = [0u64; 16];
        attributes[0] = 1 | 128 << 32;
        does(libc::SYS_perf_event_open, &[at(&attributes), int(-1), 0, int(-1), 0])
    }),
    ("io_uring", |_| {
        let mut parameters = [0u64; 15];
        does(libc::SYS_io_uring_setup, &[1, at_mut(&mut parameters)])
    }),
    ("userfaultfd", |_| does(libc::SYS_userfaultfd, &[0])),
    ("session_keyring", |_| {
        const GET_KEYRING_ID: u64 = 0;
        const SESSION: i32 = -3;
        does(libc::SYS_keyctl, &[GET_KEYRING_ID, int(SESSION), 1])
    }),
    ("add_key", |_| {
        const PROCESS: i32 = -2;
        let (kind, name) = (c"user".to_bytes_with_nul(), c"casemate".to_bytes_with_nul());
        does(libc::SYS_add_key, &[at(kind), at(name), at(b"x"), 1, int(PROCESS)])
    }),
    ("shared_memory", |_| {
        let id = call(libc::SYS_shmget, &[0, 4096, 0o600])?;
        does(libc::SYS_shmctl, &[id, 0, 0])
    }),
    ("semaphores", |_| {
        let id = call(libc::SYS_semget, &[0, 1, 0o600])?;
        does(libc::SYS_semctl, &[id, 0, 0, 0])
    }),
    ("messages", |_| {
        let id = call(libc::SYS_msgget, &[0, 0o600])?;
        does(libc::SYS_msgctl, &[id, 0, 0])
    }),
    ("posix_queue", |_| {
        let name = c"casemate-drill".to_bytes_with_nul();
        let flags = int(libc::O_CREAT | libc::O_RDWR);
        does(libc::SYS_mq_open, &[at(name), flags, 0o600, 0])?;
        does(libc::SYS_mq_unlink, &[at(name)])
    }),
    ("modify_ldt", |_| {
        let mut table = [0u64; 2];
        does(libc::SYS_modify_ldt, &[0, at_mut(&mut table), 16])
    }),
    ("int80", int80),
    ("x32", |_| {
        let path = c"/etc/passwd".to_bytes_with_nul();
        read_byte(call(libc::SYS_open | X32, &[at(path), 0, 0])?)
    }),
    ("fanotify", |_| does(libc::SYS_fanotify_init, &[0, 0])),
    ("personality", |_| does(libc::SYS_personality, &[0x040_0000])),
    ("timers", |_| {
        let mut timer = 0u64;
        does(libc::SYS_timer_create, &[1, 0, at_mut(&mut timer)])
    }),
    ("events", |_| {
        does(libc::SYS_eventfd2, &[1, 0])?;
        does(libc::SYS_epoll_create1, &[0])
    }),
    ("unmap", |attacker| does(libc::SYS_munmap, &[attacker.low.into(), 4096])),
];

fn int80(attacker: &Attacker) -> Attempt {
    const OPEN: u32 = 5;
    read_byte(call_32(OPEN, attacker.low, 0)?.into())
}
