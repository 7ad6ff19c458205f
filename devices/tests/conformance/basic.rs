//! §2.1 to §2.6, §2.10: what every device has.

use super::Met::{Not, Shown};
use super::Row;
use super::Who::{Device, Driver};

const MMIO: &str = "tests/promises/mmio.rs";
const SERVE_BLK: &str = "tests/promises/serve/blk.rs";
const SERVE_CONSOLES: &str = "tests/promises/serve/consoles.rs";

pub const ROWS: &[Row] = &[
    (
        "2.1.1",
        Driver,
        "updates the status step by step, in the order of initialisation",
        Shown(&[(MMIO, "status_follows_the_model_whatever_is_written_after_whatever")]),
    ),
    (
        "2.1.1",
        Driver,
        "never clears a status bit, but by a reset",
        Shown(&[(MMIO, "status_follows_the_model_from_every_reachable_status")]),
    ),
    (
        "2.1.1",
        Driver,
        "resets the device after FAILED before it begins again",
        Shown(&[(MMIO, "status_follows_the_model_from_every_reachable_status")]),
    ),
    (
        "2.1.1",
        Driver,
        "does not count on requests being completed once DEVICE_NEEDS_RESET is set",
        Not("the bit is never set: a guest that breaks the contract ends its own virtual machine"),
    ),
    ("2.1.2", Device, "has status 0 after a reset", Shown(&[(MMIO, "a_reset_leaves_nothing")])),
    (
        "2.1.2",
        Device,
        "uses no buffer and raises no interrupt before DRIVER_OK",
        Shown(&[
            (SERVE_BLK, "what_was_kicked_before_the_start_is_served_after_it"),
            (MMIO, "kicks_count_while_the_queue_lives"),
        ]),
    ),
    (
        "2.1.2",
        Device,
        "should set DEVICE_NEEDS_RESET when it needs one, and tell the driver",
        Not("such an error ends the virtual machine, with its reason in the report"),
    ),
    (
        "2.2.1",
        Driver,
        "accepts only what was offered, and no feature without those that it needs",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "2.2.1",
        Driver,
        "falls back, or gives up with FAILED, when a feature is not offered",
        Not("a decision of the driver, which the device does not see"),
    ),
    (
        "2.2.2",
        Device,
        "offers no feature without those that it needs",
        Shown(&[(MMIO, "devices_say_what_they_are")]),
    ),
    (
        "2.2.2",
        Device,
        "accepts any valid subset, and keeps FEATURES_OK clear for all else",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "2.2.2",
        Device,
        "should accept after a reset what it accepted before",
        Shown(&[
            (SERVE_BLK, "after_a_reset_nothing_is_touched_and_a_restart_works"),
            ("tests/independent/main.rs", "a_driver_that_lets_go_leaves_a_device_for_the_next"),
        ]),
    ),
    (
        "2.4.1",
        Device,
        "has status 0 again once a reset is complete, and not before",
        Shown(&[
            (MMIO, "status_follows_the_model_from_every_reachable_status"),
            (MMIO, "a_reset_leaves_nothing"),
        ]),
    ),
    (
        "2.4.1",
        Device,
        "raises no interrupt and touches no queue after a reset, until it is set up again",
        Shown(&[
            (SERVE_BLK, "after_a_reset_nothing_is_touched_and_a_restart_works"),
            (SERVE_BLK, "a_reset_forgets_the_request_in_hand"),
            (SERVE_CONSOLES, "a_reset_forgets_the_chain_in_hand_and_a_restart_works"),
        ]),
    ),
    (
        "2.4.2",
        Driver,
        "takes a reset for complete when the status reads 0",
        Shown(&[(
            "tests/independent/main.rs",
            "a_driver_that_lets_go_leaves_a_device_for_the_next",
        )]),
    ),
    (
        "2.5.1",
        Driver,
        "does not take reads of more than 32 bits, or of two fields, for one",
        Shown(&[(MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only")]),
    ),
    (
        "2.5.1",
        Driver,
        "looks at an optional field only if its feature is offered",
        Shown(&[(MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only")]),
    ),
    (
        "2.5.1",
        Driver,
        "takes a configuration space that is larger than it knows",
        Not("a decision of the driver, which the device does not see"),
    ),
    (
        "2.5.2",
        Device,
        "lets every field be read before FEATURES_OK",
        Shown(&[(MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only")]),
    ),
    (
        "2.6.1.1.1",
        Device,
        "with RING_RESET, resets a single queue",
        Not("RING_RESET is not offered: a queue that is taken back stops the whole device"),
    ),
    (
        "2.6.1.1.2",
        Driver,
        "with RING_RESET, waits for the end of a queue's reset",
        Not("RING_RESET is not offered"),
    ),
    (
        "2.6.1.2.1",
        Device,
        "with RING_RESET, looks at a queue's set-up again when it is enabled again",
        Not("RING_RESET is not offered"),
    ),
    (
        "2.6.1.2.2",
        Driver,
        "with RING_RESET, sets a queue up as at first when it enables it again",
        Not("RING_RESET is not offered"),
    ),
    (
        "2.10.2",
        Device,
        "has no shared memory region that controls it or carries its data: here, none at all",
        Shown(&[(MMIO, "constants_are_those_of_the_standard")]),
    ),
];
