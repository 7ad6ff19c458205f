//! §5.2: the block device.

use super::Met::{Not, Shown};
use super::Row;
use super::Who::{Device, Driver};

const BLK: &str = "tests/promises/blk.rs";
const MMIO: &str = "tests/promises/mmio.rs";
const UNSUPPORTED: &str = "its feature is not offered; the request is answered with UNSUPP";
const ZONED: &str = "ZONED is not offered";
const WCE: &str = "CONFIG_WCE is not offered: the guest does not choose the host's durability";

pub const ROWS: &[Row] = &[
    (
        "5.2.5.1",
        Driver,
        "should not negotiate FLUSH if it cannot send one",
        Shown(&[(BLK, "flush_never_lies")]),
    ),
    (
        "5.2.5.1",
        Driver,
        "may take the cache for write-through without CONFIG_WCE and FLUSH, else for write-back",
        Shown(&[(BLK, "flush_never_lies")]),
    ),
    ("5.2.5.1", Driver, "reads writeback only after FEATURES_OK", Not(WCE)),
    ("5.2.5.1", Driver, "negotiates ZONED only if it can drive zones", Not(ZONED)),
    ("5.2.5.2", Device, "should always offer FLUSH", Shown(&[(MMIO, "devices_say_what_they_are")])),
    ("5.2.5.2", Device, "sets writeback to 0 if FLUSH was not negotiated", Not(WCE)),
    (
        "5.2.5.2",
        Device,
        "has zeros in the unused bytes of the configuration",
        Shown(&[
            (MMIO, "devices_say_what_they_are"),
            (MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only"),
        ]),
    ),
    (
        "5.2.5.2",
        Device,
        "should not offer ZONED if it has no zones",
        Shown(&[(MMIO, "devices_say_what_they_are")]),
    ),
    (
        "5.2.6.1",
        Driver,
        "sends no request that reaches past the capacity",
        Shown(&[
            (BLK, "requests_do_what_the_standard_says"),
            (BLK, "a_disk_as_large_as_numbers_go_overflows_nothing"),
            (
                "tests/independent/main.rs",
                "what_is_not_on_the_disk_is_an_error_and_the_disk_goes_on",
            ),
        ]),
    ),
    (
        "5.2.6.1",
        Driver,
        "should look at the capacity again when the configuration changes",
        Not("the capacity never changes, and there is no such interrupt"),
    ),
    (
        "5.2.6.1",
        Driver,
        "should accept RO if it is offered",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.1",
        Driver,
        "sends a FLUSH with sector 0, and should send no data with it",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.1",
        Driver,
        "makes the data of IN and OUT whole sectors of 512 bytes",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.1",
        Driver,
        "makes the data of GET_ID 20 bytes, and takes the text to end at a zero",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.1",
        Driver,
        "sends no writes to a read-only disk",
        Shown(&[
            (BLK, "requests_do_what_the_standard_says"),
            ("tests/independent/main.rs", "a_read_only_disk_says_so_and_refuses_writes"),
        ]),
    ),
    (
        "5.2.6.1",
        Driver,
        "makes DISCARD, WRITE_ZEROES and SECURE_ERASE lists of segments, not too many",
        Not(UNSUPPORTED),
    ),
    (
        "5.2.6.1",
        Driver,
        "takes nothing for granted of what was discarded, or of a list that failed",
        Not(UNSUPPORTED),
    ),
    ("5.2.6.1", Driver, "sends no GET_LIFETIME without LIFETIME", Not(UNSUPPORTED)),
    ("5.2.6.1", Driver, "switches write-back off only with CONFIG_WCE", Not(WCE)),
    (
        "5.2.6.2",
        Device,
        "may change its capacity, and should say so",
        Not("the capacity never changes"),
    ),
    (
        "5.2.6.2",
        Device,
        "sets the status byte to OK, IOERR or UNSUPP",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "answers IOERR to a write if it is read-only, and writes nothing",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "answers IOERR, and moves nothing, if a request reaches past the capacity",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "answers UNSUPP to what it does not know, and does nothing else",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "answers UNSUPP to DISCARD, WRITE_ZEROES and SECURE_ERASE that it did not offer",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "answers UNSUPP to them if a flag is unknown, or is `unmap` in a DISCARD",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "without ZONED, answers UNSUPP to every request about zones",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "5.2.6.2",
        Device,
        "does not offer LIFETIME if it cannot tell",
        Shown(&[(MMIO, "devices_say_what_they_are")]),
    ),
    (
        "5.2.6.2",
        Device,
        "should clear write_zeroes_may_unmap if nothing can be unmapped",
        Shown(&[(MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only")]),
    ),
    (
        "5.2.6.2",
        Device,
        "with FLUSH, makes all writes that were completed durable before it answers a flush",
        Shown(&[(BLK, "flush_never_lies")]),
    ),
    (
        "5.2.6.2",
        Device,
        "without FLUSH, makes each write durable before it answers it",
        Shown(&[(BLK, "flush_never_lies")]),
    ),
    (
        "5.2.6.2",
        Device,
        "reports a write as durable never before it is: a flush that failed stays failed",
        Shown(&[
            (BLK, "flush_never_lies"),
            ("tests/promises/faults.rs", "no_order_of_faults_makes_a_flush_lie"),
        ]),
    ),
    ("5.2.6.2", Device, "with CONFIG_WCE, obeys writeback", Not(WCE)),
    (
        "5.2.6.2",
        Device,
        "with DISCARD or WRITE_ZEROES, changes exactly the sectors named",
        Not(UNSUPPORTED),
    ),
    ("5.2.6.2", Device, "with SECURE_ERASE, erases for good", Not(UNSUPPORTED)),
    ("5.2.6.2", Device, "with LIFETIME, tells of its wear", Not(UNSUPPORTED)),
    ("5.2.6.2", Device, "with ZONED, keeps the zones' states", Not(ZONED)),
];
