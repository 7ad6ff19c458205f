//! No error takes a backtrace, whatever the environment asks for: nobody is shown one, and in a confined
//! launcher that would be a system call too many, and so the end without a word.
#![expect(unsafe_code, reason = "to change the environment is unsafe where there are threads")]

/// Turns backtraces of errors off. The first thing that the process does: the standard library remembers
/// what it found when it first looked.
pub fn never() {
    // SAFETY: main has just begun, and there is no other thread that could read the environment.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}
