//! The power port: how a guest ends its virtual machine.
//!
//! Four I/O ports, see [`crate::layout`]. The first three are the sleep control, sleep
//! status and reset registers of hardware-reduced ACPI (ACPI 6.5 §4.8.3.7, §4.8.3.6); the fourth is
//! casemate's own.
//!
//! | port | read | write |
//! |---|---|---|
//! | 0x600 | 0 | `SLP_EN` with `SLP_TYP` 5: power off |
//! | 0x601 | 0 | |
//! | 0x602 | 0 | 1: reset |
//! | 0x603 | 0 | end the run with this exit code |

use crate::layout::{EXIT_PORT, POWER_OFF, RESET, RESET_PORT, SLEEP_CONTROL};
use crate::status::VmEnd;

/// What a write of `data` to `port` brings about, if it is one that ends the virtual machine.
pub fn write(port: u16, data: &[u8]) -> Option<VmEnd> {
    match (port, data) {
        (SLEEP_CONTROL, [POWER_OFF]) => Some(VmEnd::PowerOff),
        (RESET_PORT, [RESET]) => Some(VmEnd::Reset),
        (EXIT_PORT, [code]) => Some(VmEnd::Exit(*code)),
        _ => None,
    }
}

/// What every byte of a read from `port` is: there is nothing to read but the sleep status.
pub fn read(port: u16) -> u8 {
    if (SLEEP_CONTROL..=EXIT_PORT).contains(&port) { 0 } else { 0xff }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_writes_end_the_machine() {
        for port in 0..=u16::MAX {
            for value in 0..=255u8 {
                let expected = match (port, value) {
                    (0x600, 0x34) => Some(VmEnd::PowerOff),
                    (0x602, 1) => Some(VmEnd::Reset),
                    (0x603, code) => Some(VmEnd::Exit(code)),
                    _ => None,
                };
                assert_eq!(write(port, &[value]), expected);
            }
        }
        assert_eq!(write(0x603, &[0, 0]), None);
        assert_eq!(write(0x603, &[]), None);
    }
}
