//! The program as the interpreter reads it: 64-bit words, an operation's number first, its operands behind.
//!
//! Operations that exist in several widths have four numbers in a row, for 1, 2, 4 and 8 bytes.

use crate::{Op, Width};

const HALT: u64 = 0;
const EXIT: u64 = 1;
const SPIN: u64 = 2;
const CRASH: u64 = 3;
const BYTES: u64 = 4;
const AGAIN: u64 = 5;
const WRITE: u64 = 8;
const EXPECT: u64 = 12;
const POLL: u64 = 16;
const COPY: u64 = 20;
const ADD: u64 = 24;
const SAME: u64 = 28;
const OUT: u64 = 32;
const IN: u64 = 36;
const AWAIT: u64 = 40;

/// Appends the program and an exit with code 0.
pub fn program(ops: &[Op], out: &mut Vec<u8>) {
    all(ops, out);
    words(out, &[EXIT, 0]);
}

fn all(ops: &[Op], out: &mut Vec<u8>) {
    for op in ops {
        one(op, out);
    }
}

fn one(op: &Op, out: &mut Vec<u8>) {
    match op {
        Op::Write { width, addr, value } => words(out, &[WRITE + log(*width), *addr, *value]),
        Op::Bytes { addr, data } => {
            words(out, &[BYTES, *addr, data.len() as u64]);
            out.extend(data);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        Op::Expect { width, addr, mask, value, code } => {
            words(out, &[EXPECT + log(*width), *addr, *mask, *value, u64::from(*code)]);
        }
        Op::Poll { width, addr, mask, value, bound, code } => {
            let bound = (*bound).max(1);
            words(out, &[POLL + log(*width), *addr, *mask, *value, bound, u64::from(*code)]);
        }
        Op::Copy { width, from, to } => words(out, &[COPY + log(*width), *from, *to]),
        Op::Add { width, addr, value } => words(out, &[ADD + log(*width), *addr, *value]),
        Op::Same { width, a, b, bound, code } => {
            words(out, &[SAME + log(*width), *a, *b, (*bound).max(1), u64::from(*code)]);
        }
        Op::Await { width, a, b, bound } => {
            words(out, &[AWAIT + log(*width), *a, *b, (*bound).max(1)]);
        }
        Op::Out { width, port, value } => {
            words(out, &[OUT + log(*width).min(2), u64::from(*port), u64::from(*value)]);
        }
        Op::In { width, port, mask, value, code } => {
            let [mask, value] = [mask, value].map(|word| u64::from(*word));
            words(out, &[IN + log(*width).min(2), u64::from(*port), mask, value, u64::from(*code)]);
        }
        Op::Repeat { count: 0, .. } => {}
        Op::Repeat { count, ops } => {
            let start = out.len();
            all(ops, out);
            // Rounds left, rounds for the next time, bytes from the operands back to the start.
            let back = (out.len() + 8 - start) as u64;
            words(out, &[AGAIN, *count, *count, back]);
        }
        Op::Exit(code) => words(out, &[EXIT, u64::from(*code)]),
        Op::Halt => words(out, &[HALT]),
        Op::Spin => words(out, &[SPIN]),
        Op::Crash => words(out, &[CRASH]),
    }
}

fn log(width: Width) -> u64 {
    match width {
        Width::Byte => 0,
        Width::Word => 1,
        Width::Long => 2,
        Width::Quad => 3,
    }
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
