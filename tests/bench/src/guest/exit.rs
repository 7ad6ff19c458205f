//! The end of a guest, in casemate and in QEMU.
#![expect(unsafe_code, reason = "an I/O port is what ends a guest")]

/// casemate's exit port, and where QEMU is told to have one.
const EXIT_PORT: u16 = 0x603;
/// What is written there.
const CODE: u8 = 21;

/// Ends the guest. What it returns is for `main` to return, if that did not succeed.
pub fn exit() -> libc::c_int {
    // SAFETY: only grants this thread the access.
    if unsafe { libc::ioperm(EXIT_PORT.into(), 1, 1) } != 0 {
        return 1;
    }
    // SAFETY: writing a port touches no memory of this process, and the access has been granted.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") EXIT_PORT, in("al") CODE, options(nomem, nostack, preserves_flags));
    }
    2
}
