//! §5.3: the console device.

use super::Met::{Not, Shown};
use super::Row;
use super::Who::{Device, Driver};

const CONSOLE: &str = "tests/promises/console.rs";
const MULTIPORT: &str = "MULTIPORT is not offered: a second stream is a second device";

pub const ROWS: &[Row] = &[
    (
        "5.3.5.1",
        Device,
        "with EMERG_WRITE, takes a write to emerg_wr at any time",
        Not("EMERG_WRITE is not offered: it would be a way around the queues"),
    ),
    (
        "5.3.6.1",
        Driver,
        "puts no device-readable buffer in a receiveq",
        Shown(&[(CONSOLE, "input_is_a_copy_whatever_buffers_it_goes_to")]),
    ),
    (
        "5.3.6.1",
        Driver,
        "puts no device-writable buffer in a transmitq",
        Shown(&[(CONSOLE, "what_is_no_output_is_given_back")]),
    ),
    (
        "5.3.6.2.1",
        Device,
        "with MULTIPORT, adds and removes only ports that can be",
        Not(MULTIPORT),
    ),
    (
        "5.3.6.2.2",
        Driver,
        "with MULTIPORT, sends DEVICE_READY and opens console ports",
        Not(MULTIPORT),
    ),
];
