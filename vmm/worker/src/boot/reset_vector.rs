//! The first instruction of a BIOS that is not there: it writes the reset register.
//!
//! Linux with CONFIG_EFI takes a hardware-reduced machine for one with EFI, and does not look at the FADT's reset
//! register (arch/x86/kernel/reboot.c, `efi_reboot_required`). Without EFI services its next way is the BIOS: a
//! jump to the reset vector in real mode. Debian's kernels reboot, and end a panic, that way.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

pub fn write(mem: &GuestMemoryMmap<()>) -> Result<(), GuestMemoryError> {
    let [low, high] = layout::RESET_PORT.to_le_bytes();
    // mov dx, RESET_PORT; mov al, RESET; out dx, al; hlt; jmp to the hlt
    let code = [0xBA, low, high, 0xB0, layout::RESET, 0xEE, 0xF4, 0xEB, 0xFD];
    mem.write_slice(&code, GuestAddress(layout::RESET_VECTOR))
}
