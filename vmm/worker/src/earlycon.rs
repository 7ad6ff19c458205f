//! The early console: a port that a guest's kernel can write to before it has a driver for anything.
//!
//! As much of an 8250 as Linux' `earlyprintk=ttyS0,115200` needs, and off unless asked for. It cannot be
//! read, raises no interrupt, and knows one bit of one register: the divisor latch access bit, so that what
//! sets the speed is not taken for text.
//!
//! | port | read | write |
//! |---|---|---|
//! | 0x3f8 | 0 | a byte of text; of the divisor, which is ignored, while bit 7 of the line control is set |
//! | 0x3fb, line control | 0 | bit 7: divisor latch access; the rest is ignored |
//! | 0x3fd, line status | 0x60: transmitter empty | ignored |
//! | 0x3f9, 0x3fa, 0x3fc, 0x3fe, 0x3ff | 0 | ignored |
//!
//! A line is one record on the status pipe, a longer one several; after [`RECORDS`] of them the rest is
//! dropped, so that nothing a guest writes here is without a bound.

use std::sync::{Mutex, PoisonError};

use crate::status::{Record, TEXT};

/// The first port and the last.
const PORTS: std::ops::RangeInclusive<u16> = 0x3f8..=0x3ff;
/// Transmit holding register.
const DATA: u16 = 0x3f8;
/// Line control register.
const CONTROL: u16 = 0x3fb;
/// Divisor latch access bit of the line control: [`DATA`] is the divisor's low byte.
const DIVISOR: u8 = 0x80;
/// Line status register.
const STATUS: u16 = 0x3fd;
/// Transmit holding register empty, transmitter empty.
const EMPTY: u8 = 0x60;
/// The most records that the early console writes.
pub const RECORDS: u32 = 512;

/// What the guest has written and nobody has been told yet.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    records: u32,
    /// The divisor latch access bit is set.
    divisor: bool,
}

/// The early console of a virtual machine.
#[derive(Debug)]
pub struct Early {
    line: Mutex<Line>,
    tell: fn(&Record),
}

impl Early {
    /// An early console that tells what is written.
    pub fn new(tell: fn(&Record)) -> Self {
        Self { line: Mutex::default(), tell }
    }

    /// What a byte of a read from `port` is; none for another's port.
    pub fn read(port: u16) -> Option<u8> {
        match port {
            STATUS => Some(EMPTY),
            _ => PORTS.contains(&port).then_some(0),
        }
    }

    /// Takes a write of `data` to `port`.
    pub fn write(&self, port: u16, data: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        match port {
            CONTROL => line.divisor = data.last().is_some_and(|byte| byte & DIVISOR != 0),
            DATA if !line.divisor => data.iter().for_each(|byte| self.take(*byte, &mut line)),
            _ => {}
        }
    }

    fn take(&self, byte: u8, line: &mut Line) {
        if line.records == RECORDS {
            return;
        }
        line.bytes.push(byte);
        if byte == b'\n' || line.bytes.len() == TEXT {
            (self.tell)(&Record::Early(std::mem::take(&mut line.bytes)));
            line.records += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local!(static TOLD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });

    fn early() -> Early {
        Early::new(|record| {
            let Record::Early(bytes) = record else { panic!("{record:?}") };
            TOLD.with_borrow_mut(|told| told.push(bytes.clone()));
        })
    }

    #[test]
    fn a_line_is_a_record_and_a_long_one_several() {
        let early = early();
        early.write(DATA, b"a");
        early.write(DATA, b"b\r\nc");
        for port in (0..=u16::MAX).filter(|port| *port != DATA) {
            early.write(port, b"x\n");
        }
        early.write(DATA, &[b'd'; TEXT]);
        let told = TOLD.take();
        let long = [b"c".as_slice(), &[b'd'; TEXT - 1]].concat();
        assert_eq!(told, [b"ab\r\n".to_vec(), long]);
        early.write(DATA, b"\n");
        assert_eq!(TOLD.take(), [b"d\n".to_vec()]);
    }

    /// As Linux' `early_serial_init` does it.
    #[test]
    fn the_divisor_is_no_text() {
        let early = early();
        let writes = [
            (0x3fb, 3),
            (0x3fb, 0x83),
            (0x3f8, 1),
            (0x3f9, 0),
            (0x3fb, 3),
            (0x3f8, b'a'),
            (0x3f8, b'\n'),
        ];
        writes.into_iter().for_each(|(port, byte): (u16, u8)| early.write(port, &[byte]));
        assert_eq!(TOLD.take(), [b"a\n".to_vec()]);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let early = early();
        (0..10 * RECORDS).for_each(|_| early.write(DATA, b"\n"));
        early.write(DATA, &[b'x'; 1 << 16]);
        assert_eq!(u32::try_from(TOLD.take().len()), Ok(RECORDS));
    }

    #[test]
    fn every_register_reads_as_a_constant() {
        for port in 0..=u16::MAX {
            let expected = match port {
                0x3fd => Some(0x60),
                0x3f8..=0x3ff => Some(0),
                _ => None,
            };
            assert_eq!(Early::read(port), expected, "{port:#x}");
        }
    }
}
