//! §2.7: split virtqueues.

use super::Met::{Not, Shown};
use super::Row;
use super::Who::{Device, Driver};

const RING: &str = "tests/promises/ring.rs";
const CHAIN: &str = "tests/promises/chain.rs";
const BLK: &str = "tests/promises/blk.rs";
const CONSOLE: &str = "tests/promises/console.rs";
const LINK: &str = "tests/promises/link.rs";
const SERVE_BLK: &str = "tests/promises/serve/blk.rs";
const EVENT_IDX: &str = "EVENT_IDX is not offered";
const IN_ORDER: &str = "IN_ORDER is not offered";
const BARRIER: &str = "the order of the driver's own accesses; the device reads the index first";

pub const ROWS: &[Row] = &[
    (
        "2.7.1",
        Driver,
        "aligns the three parts of a queue to 16, 2 and 4 bytes",
        Shown(&[(RING, "rings_lie_in_memory_aligned_and_apart")]),
    ),
    (
        "2.7.4.1",
        Device,
        "makes no assumption about how a buffer is split into descriptors",
        Shown(&[
            (BLK, "a_request_does_the_same_however_it_is_split"),
            (CONSOLE, "output_is_a_copy_whatever_it_comes_in_and_whenever_there_is_room"),
            (CHAIN, "a_buffer_is_one_run_of_bytes_whatever_it_is_made_of"),
        ]),
    ),
    (
        "2.7.4.1",
        Device,
        "may limit the descriptors of a chain: here, to the queue's size",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    (
        "2.7.4.2",
        Driver,
        "puts what the device writes after all that it reads",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    (
        "2.7.4.2",
        Driver,
        "should not use very many descriptors for a buffer",
        Shown(&[
            (BLK, "a_file_is_a_disk"),
            (BLK, "a_request_of_four_gibibytes_is_many_turns_and_keeps_its_header"),
        ]),
    ),
    (
        "2.7.5.1",
        Device,
        "writes to no device-readable buffer",
        Shown(&[
            (BLK, "requests_do_what_the_standard_says"),
            (CONSOLE, "what_is_no_output_is_given_back"),
        ]),
    ),
    (
        "2.7.5.1",
        Device,
        "should not read a device-writable buffer",
        Shown(&[(CONSOLE, "what_is_no_output_is_given_back")]),
    ),
    (
        "2.7.5.2",
        Driver,
        "adds no chain of more than 2^32 bytes, and so no loop",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    ("2.7.5.2", Driver, "with IN_ORDER, uses descriptors in ring order", Not(IN_ORDER)),
    (
        "2.7.5.3.1",
        Driver,
        "sets INDIRECT only if INDIRECT_DESC was negotiated, and never inside a table",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    (
        "2.7.5.3.1",
        Driver,
        "makes no chain longer than the queue",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    (
        "2.7.5.3.1",
        Driver,
        "does not set INDIRECT and NEXT together",
        Shown(&[(CHAIN, "chains_are_taken_or_refused")]),
    ),
    (
        "2.7.5.3.2",
        Device,
        "ignores WRITE in a descriptor that refers to an indirect table",
        Not("INDIRECT_DESC is not offered: such a descriptor is a violation"),
    ),
    (
        "2.7.5.3.2",
        Device,
        "takes ordinary descriptors followed by an indirect one",
        Not("INDIRECT_DESC is not offered: such a descriptor is a violation"),
    ),
    (
        "2.7.6.1",
        Driver,
        "never moves the available index back",
        Shown(&[(RING, "the_available_index_may_be_ahead_by_the_size_and_no_more")]),
    ),
    (
        "2.7.7.1",
        Driver,
        "sets the available ring's flags to 0, or to 1 when it needs no interrupt",
        Shown(&[(RING, "the_driver_is_interrupted_when_it_wants_to_be")]),
    ),
    ("2.7.7.1", Driver, "with EVENT_IDX, sets flags to 0 and uses used_event", Not(EVENT_IDX)),
    (
        "2.7.7.1",
        Driver,
        "copes with an interrupt for nothing",
        Not("a duty of the driver; the device sends one for a batch that was used"),
    ),
    (
        "2.7.7.2",
        Device,
        "without EVENT_IDX, ignores used_event",
        Shown(&[(RING, "the_driver_is_interrupted_when_it_wants_to_be")]),
    ),
    (
        "2.7.7.2",
        Device,
        "raises an interrupt after used buffers if flags is 0",
        Shown(&[
            (LINK, "an_interrupt_is_raised_if_the_driver_wants_it"),
            (SERVE_BLK, "an_interrupt_comes_for_a_batch_and_not_only_for_the_whole_ring"),
            (SERVE_BLK, "no_kick_is_lost_in_fifty_thousand"),
        ]),
    ),
    (
        "2.7.7.2",
        Device,
        "should raise none if flags is 1",
        Shown(&[(LINK, "an_interrupt_is_raised_if_the_driver_wants_it")]),
    ),
    ("2.7.7.2", Device, "with EVENT_IDX, goes by used_event", Not(EVENT_IDX)),
    (
        "2.7.8.2",
        Device,
        "writes a used element's length before the used index",
        Shown(&[(SERVE_BLK, "no_kick_is_lost_in_fifty_thousand"), (RING, "indices_wrap")]),
    ),
    (
        "2.7.8.2",
        Device,
        "has written at least that many bytes from the first writable one on, before the index",
        Shown(&[
            (BLK, "requests_do_what_the_standard_says"),
            (BLK, "a_failing_image_shows_in_the_status_and_a_slow_one_does_not"),
            (CONSOLE, "input_is_a_copy_whatever_buffers_it_goes_to"),
        ]),
    ),
    (
        "2.7.8.2",
        Device,
        "may have written more than that",
        Shown(&[(BLK, "requests_do_what_the_standard_says")]),
    ),
    (
        "2.7.8.3",
        Driver,
        "ignores what lies past the used length",
        Not("a duty of the driver; the device leaves what it does not write as it was"),
    ),
    ("2.7.9", Driver, "with IN_ORDER, expects buffers back in order", Not(IN_ORDER)),
    ("2.7.9", Device, "with IN_ORDER, uses buffers in order", Not(IN_ORDER)),
    (
        "2.7.10.1",
        Driver,
        "sets the used ring's flags to 0 before it starts, and ignores avail_event",
        Shown(&[(RING, "rings_lie_in_memory_aligned_and_apart")]),
    ),
    (
        "2.7.10.1",
        Driver,
        "kicks after it made buffers available, if the device's flags are 0",
        Shown(&[(SERVE_BLK, "a_request_is_served_when_it_is_kicked_and_not_before")]),
    ),
    ("2.7.10.1", Driver, "with EVENT_IDX, goes by avail_event", Not(EVENT_IDX)),
    (
        "2.7.10.2",
        Device,
        "sets the used ring's flags to 0 or 1: here they stay 0, every kick is wanted",
        Shown(&[("tests/promises/ring.rs", "the_used_rings_flags_stay_zero")]),
    ),
    ("2.7.10.2", Device, "with EVENT_IDX, sets flags to 0 and may use avail_event", Not(EVENT_IDX)),
    (
        "2.7.10.2",
        Device,
        "copes with a kick for nothing",
        Shown(&[
            (SERVE_BLK, "a_request_is_served_when_it_is_kicked_and_not_before"),
            (LINK, "kicks_are_taken_however_often_they_came"),
        ]),
    ),
    ("2.7.13.3.1", Driver, "has a barrier before it moves the available index", Not(BARRIER)),
    ("2.7.13.4.1", Driver, "has a barrier before it reads the device's flags", Not(BARRIER)),
];
