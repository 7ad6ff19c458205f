//! Target `registers`: any accesses, in any order, against the model.

use std::sync::atomic::{AtomicU32, Ordering};

use devices::blk::Shape;
use devices::console;
use devices::mmio::{Action, Registers};

use steps::registers::{OFFSETS, value};

use crate::bytes::Bytes;
use crate::model;

/// Runs one program.
pub fn run(bytes: &[u8]) {
    let mut program = Bytes::new(bytes);
    let identity = match program.below(3) {
        0 => console::IDENTITY,
        read_only => Shape { sectors: program.edge(), read_only: read_only == 2 }.identity(),
    };
    let interrupt = AtomicU32::new(0);
    let mut registers = Registers::new(identity, &interrupt);
    let mut model = model::registers::Registers::new(identity);
    let mut pending = 0;
    while !program.is_empty() {
        let offset = if program.rarely() { program.edge() } else { program.one_of(&OFFSETS) };
        match program.below(8) {
            0 => read(&registers, &mut program, offset, &identity.config),
            // The device raises its interrupt.
            1 => {
                pending |= u32::from(program.byte());
                interrupt.store(pending, Ordering::SeqCst);
            }
            // A width that no register has.
            2 if program.rarely() => {
                let value = program.long().to_le_bytes();
                let width = program.one_of(&[0, 1, 2, 3, 5, 8]);
                assert_eq!(registers.write(offset, &value[..width]), None);
            }
            _ => {
                let value = value(&mut program);
                let action = registers.write(offset, &value.to_le_bytes());
                assert_eq!(action, model.write(offset, value), "{offset:#x} := {value:#x}");
                if offset == 0x064 {
                    pending &= !value;
                }
                let reset = offset == 0x070 && value == 0;
                if reset || action == Some(Action::Stop) {
                    registers.reset();
                    model = model::registers::Registers::new(identity);
                    pending = 0;
                }
            }
        }
        for offset in OFFSETS {
            let Some(expected) = model.read(offset) else { continue };
            assert_eq!(word(&registers, offset), expected, "{offset:#x}");
        }
        assert_eq!(word(&registers, 0x060), pending);
        assert_eq!(registers.status(), model.status);
        assert_eq!(registers.placed(), model.placed());
    }
}

/// Reads of any width: registers have one, the configuration space has all, and has an end.
fn read(registers: &Registers<'_>, program: &mut Bytes<'_>, offset: u64, config: &[u8; 16]) {
    let mut data = [0xaa; 8];
    let data = &mut data[..program.one_of(&[0, 1, 2, 3, 4, 8])];
    registers.read(offset, data);
    if let Some(start) = offset.checked_sub(0x100) {
        for (at, byte) in (start..).zip(data) {
            let expected = usize::try_from(at).ok().and_then(|at| config.get(at)).copied();
            assert_eq!(*byte, expected.unwrap_or(0), "configuration byte {at}");
        }
    } else if data.len() != 4 || !offset.is_multiple_of(4) {
        assert!(data.iter().all(|byte| *byte == 0), "{offset:#x}");
    }
}

fn word(registers: &Registers<'_>, offset: u64) -> u32 {
    let mut data = [0; 4];
    registers.read(offset, &mut data);
    u32::from_le_bytes(data)
}
