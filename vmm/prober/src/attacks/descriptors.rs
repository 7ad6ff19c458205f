//! Descriptors that the worker has, and those that a careless launcher would have leaked into it.

use libc::{F_RDLCK, F_SETFL, F_SETLEASE, F_SETLK, F_UNLCK, O_APPEND, O_RDONLY};
use prober::bait::leaked;
use worker::fds;

use super::Attack;
use super::files::read_byte;
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, does, int};

/// Far behind the end of the bait and of the image, and nothing to the host's disk: a hole.
const FAR: u64 = 1 << 30;

pub const ATTACKS: &[(&str, Attack)] = &[
    ("leaked_directory", |_| {
        let name = c"etc/passwd".to_bytes_with_nul();
        let args = [int(leaked::ROOT), at(name), int(O_RDONLY), 0];
        read_byte(call(libc::SYS_openat, &args)?)
    }),
    ("leaked_file", |_| {
        let mut byte = [0u8];
        match call(libc::SYS_pread64, &[int(leaked::SECRET), at_mut(&mut byte), 1, 0])? {
            1 => Ok(()),
            _ => Err(IN_VAIN),
        }
    }),
    ("leaked_terminal", |_| {
        does(libc::SYS_ioctl, &[int(leaked::TERMINAL), libc::TIOCSTI, at(&b' ')])
    }),
    ("chmod_leaked", |_| does(libc::SYS_fchmod, &[int(leaked::SECRET), 0o600])),
    ("grow_leaked", |_| does(libc::SYS_ftruncate, &[int(leaked::PUBLIC), FAR])),
    // Lock and lease belong to what the drill has open too, and would outlive the attacker.
    ("lock_leaked", |_| {
        does(libc::SYS_flock, &[int(leaked::SECRET), int(libc::LOCK_SH)])?;
        does(libc::SYS_flock, &[int(leaked::SECRET), int(libc::LOCK_UN)])
    }),
    ("lease_leaked", |_| {
        does(libc::SYS_fcntl, &[int(leaked::SECRET), int(F_SETLEASE), int(F_RDLCK)])?;
        does(libc::SYS_fcntl, &[int(leaked::SECRET), int(F_SETLEASE), int(F_UNLCK)])
    }),
    ("splice_leaked", |_| {
        let mut ends = [0u32; 2];
        does(libc::SYS_pipe2, &[at_mut(&mut ends), 0])?;
        does(libc::SYS_splice, &[int(leaked::SECRET), 0, ends[1].into(), 0, 1, 0])
    }),
    ("map_leaked", |_| {
        let (read, private) = (1, 2);
        does(libc::SYS_mmap, &[0, 4096, read, private, int(leaked::SECRET), 0])
    }),
    ("duplicate", |_| does(libc::SYS_dup, &[int(fds::STATUS)])),
    ("set_flags", |_| does(libc::SYS_fcntl, &[int(fds::STATUS), int(F_SETFL), int(O_APPEND)])),
    ("any_ioctl", |_| {
        let mut count = 0u32;
        let request = libc::FIONREAD;
        does(libc::SYS_ioctl, &[int(fds::STATUS), request, at_mut(&mut count)])
    }),
    ("read_unpinned", |_| read_byte(int(leaked::SECRET))),
    ("forge_kick", |attacker| does(libc::SYS_write, &[int(attacker.kick), at(&1u64), 8])),
    ("write_read_only", |_| write_image(0)),
    ("grow_image", |_| does(libc::SYS_ftruncate, &[int(fds::IMAGE), FAR])),
    ("punch_image", |_| {
        const PUNCH_HOLE_KEEP_SIZE: u64 = 3;
        does(libc::SYS_fallocate, &[int(fds::IMAGE), PUNCH_HOLE_KEEP_SIZE, 0, 512])
    }),
    ("write_past_image", |_| write_image(FAR)),
    ("lock_image", |_| {
        // struct flock: type F_RDLCK, from the start, of all bytes.
        let lock = [0u64; 4];
        does(libc::SYS_fcntl, &[int(fds::IMAGE), int(F_SETLK), at(&lock)])
    }),
    ("chmod_image", |_| does(libc::SYS_fchmod, &[int(fds::IMAGE), 0o600])),
];

/// By the call that the blk worker itself makes.
fn write_image(offset: u64) -> Attempt {
    let byte = [0u8];
    let vector = [at(&byte), 1];
    match call(libc::SYS_pwritev, &[int(fds::IMAGE), at(&vector), 1, offset, 0])? {
        1 => Ok(()),
        _ => Err(IN_VAIN),
    }
}
