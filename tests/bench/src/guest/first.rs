//! PID 1 of a guest whose boot is measured: ends it with its first instructions.
//!
//! Without the runtime of Rust's standard library, which wants the standard streams to be open: a guest
//! without a console has none.
#![no_main]

mod exit;

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the name that the C library calls")]
extern "C" fn main() -> libc::c_int {
    exit::exit()
}
