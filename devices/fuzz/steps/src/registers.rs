//! Registers and values that programs are likely to name.

use crate::bytes::Bytes;

/// Registers that a program is likely to name.
pub const OFFSETS: [u64; 32] = [
    0x000, 0x004, 0x008, 0x00c, 0x010, 0x014, 0x020, 0x024, 0x030, 0x034, 0x038, 0x044, 0x044,
    0x050, 0x060, 0x064, 0x070, 0x070, 0x070, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0ac,
    0x0b0, 0x0bc, 0x0c0, 0x0fc, 0x100, 0x108,
];
/// Values that they are likely to be given.
pub const VALUES: [u32; 16] =
    [0, 1, 2, 3, 4, 8, 11, 15, 64, 128, 139, 256, 257, 0x8000, 0x1_0001, u32::MAX];

/// A value for a register.
pub fn value(program: &mut Bytes<'_>) -> u32 {
    if program.rarely() { program.word() } else { program.one_of(&VALUES) }
}
