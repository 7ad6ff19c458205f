//! One heap for all threads, grown by brk alone, so that the allow-list needs no mmap.
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

/// Sets the allocator up. glibc would give each thread a mapping of its own, and big blocks too.
pub fn keep_simple() {
    /// No block is ever so big.
    const THRESHOLD: libc::c_int = 1 << 30;
    // SAFETY: only sets a number in the allocator, before there is a second thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // SAFETY: the same.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD) };
}
