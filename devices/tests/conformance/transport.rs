//! §3, §4.2 and §6: initialisation, virtio-mmio, reserved features.

use super::Met::{Not, Shown};
use super::Row;
use super::Who::{Device, Driver};

const MMIO: &str = "tests/promises/mmio.rs";
const LINK: &str = "tests/promises/link.rs";
const INDEPENDENT: &str = "tests/independent/main.rs";
const UNSEEN: &str = "a decision of the driver, which the device does not see";
const NOT_OFFERED: &str = "the feature is not offered";

pub const ROWS: &[Row] = &[
    (
        "3.1.1",
        Driver,
        "initialises in order: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues, DRIVER_OK",
        Shown(&[
            (MMIO, "status_follows_the_model_from_every_reachable_status"),
            (MMIO, "a_register_takes_a_write_when_the_standard_says_so_and_else_nothing"),
            (INDEPENDENT, "a_disk_is_read_written_and_flushed"),
        ]),
    ),
    (
        "3.1.1",
        Driver,
        "accepts no feature after FEATURES_OK",
        Shown(&[(MMIO, "a_register_takes_a_write_when_the_standard_says_so_and_else_nothing")]),
    ),
    (
        "3.1.1",
        Driver,
        "reads the status again, to see that FEATURES_OK holds",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "3.1.1",
        Driver,
        "writes no configuration field while it negotiates",
        Shown(&[(MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only")]),
    ),
    ("3.1.1", Driver, "sets FAILED and stops if a step fails for good", Not(UNSEEN)),
    (
        "3.1.1",
        Driver,
        "sends no kick before DRIVER_OK",
        Shown(&[(MMIO, "kicks_count_while_the_queue_lives")]),
    ),
    (
        "3.3.1",
        Driver,
        "changes no descriptor that is exposed to a live queue",
        Shown(&[(
            "tests/promises/chain.rs",
            "what_the_driver_changes_after_the_chain_was_taken_changes_nothing",
        )]),
    ),
    (
        "3.3.1",
        Driver,
        "frees a queue's buffers only after it took the queue back or reset the device",
        Shown(&[
            (MMIO, "a_driver_that_takes_a_queue_back_stops_the_device_and_reads_zero"),
            ("tests/promises/serve/blk.rs", "after_a_reset_nothing_is_touched_and_a_restart_works"),
        ]),
    ),
    (
        "4.2.2.1",
        Device,
        "has 0x74726976 in MagicValue and 2 in Version",
        Shown(&[(MMIO, "constants_are_those_of_the_standard")]),
    ),
    (
        "4.2.2.1",
        Device,
        "shows an event in InterruptStatus from when it happens until it is acknowledged",
        Shown(&[
            (LINK, "an_interrupt_is_raised_if_the_driver_wants_it"),
            (MMIO, "an_acknowledged_interrupt_is_gone_and_no_other"),
        ]),
    ),
    (
        "4.2.2.1",
        Device,
        "has every other bit of InterruptStatus zero",
        Shown(&[(LINK, "an_interrupt_is_raised_if_the_driver_wants_it")]),
    ),
    (
        "4.2.2.1",
        Device,
        "clears InterruptStatus and every QueueReady at a reset",
        Shown(&[(MMIO, "a_reset_leaves_nothing")]),
    ),
    (
        "4.2.2.1",
        Device,
        "changes ConfigGeneration when the configuration may be seen half changed: it never changes",
        Shown(&[(MMIO, "constants_are_those_of_the_standard")]),
    ),
    (
        "4.2.2.1",
        Device,
        "touches no queue whose QueueReady is 0",
        Shown(&[
            (MMIO, "start_says_what_the_driver_said"),
            (MMIO, "a_driver_that_takes_a_queue_back_stops_the_device_and_reads_zero"),
            (LINK, "rings_are_there_between_start_and_stop"),
        ]),
    ),
    ("4.2.2.1", Device, "with RING_RESET, shows a queue's reset in QueueReset", Not(NOT_OFFERED)),
    (
        "4.2.2.2",
        Driver,
        "uses no offset that is not in the table, and each register only in its direction",
        Shown(&[
            (MMIO, "a_register_takes_a_write_when_the_standard_says_so_and_else_nothing"),
            (MMIO, "accesses_of_other_widths_and_places_do_nothing"),
        ]),
    ),
    (
        "4.2.2.2",
        Driver,
        "uses aligned accesses of 32 bits for registers, and a field's own width in the configuration",
        Shown(&[
            (MMIO, "accesses_of_other_widths_and_places_do_nothing"),
            (MMIO, "configuration_space_reads_at_every_offset_and_width_and_is_read_only"),
        ]),
    ),
    (
        "4.2.2.2",
        Driver,
        "leaves a device alone that has another magic, version or no id",
        Not(UNSEEN),
    ),
    (
        "4.2.2.2",
        Driver,
        "selects a word of features before it reads or writes one",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "4.2.2.2",
        Driver,
        "writes no QueueNum above QueueNumMax",
        Shown(&[(MMIO, "a_queue_is_ready_only_with_a_legal_size")]),
    ),
    (
        "4.2.2.2",
        Driver,
        "leaves size and addresses alone while QueueReady is not 0",
        Shown(&[(MMIO, "geometry_is_frozen_while_a_queue_is_ready_and_after_driver_ok")]),
    ),
    (
        "4.2.2.2",
        Driver,
        "stops a queue by writing 0 to QueueReady and reading it back",
        Shown(&[
            (MMIO, "a_driver_that_takes_a_queue_back_stops_the_device_and_reads_zero"),
            (INDEPENDENT, "a_driver_that_lets_go_leaves_a_device_for_the_next"),
        ]),
    ),
    ("4.2.2.2", Driver, "ignores bits of InterruptStatus that are not defined", Not(UNSEEN)),
    (
        "4.2.2.2",
        Driver,
        "acknowledges what it handled, and no bit that is not defined",
        Shown(&[(MMIO, "an_acknowledged_interrupt_is_gone_and_no_other")]),
    ),
    ("4.2.2.2", Driver, "with RING_RESET, waits until QueueReset reads 0", Not(NOT_OFFERED)),
    (
        "4.2.3.1.1",
        Driver,
        "begins with MagicValue, Version and DeviceID, and goes on only if they are right",
        Shown(&[
            (MMIO, "constants_are_those_of_the_standard"),
            (MMIO, "devices_say_what_they_are"),
        ]),
    ),
    (
        "4.2.3.1.1",
        Driver,
        "uses the shared memory registers only if it expects shared memory",
        Shown(&[(MMIO, "constants_are_those_of_the_standard")]),
    ),
    (
        "4.2.3.4.1",
        Driver,
        "reads InterruptStatus after an interrupt, and acknowledges what it says",
        Shown(&[
            (LINK, "an_interrupt_is_raised_if_the_driver_wants_it"),
            (INDEPENDENT, "a_disk_is_read_written_and_flushed"),
        ]),
    ),
    (
        "6.1",
        Driver,
        "accepts VERSION_1 if it is offered, and may give up if it is not",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "6.1",
        Driver,
        "accepts ACCESS_PLATFORM, RING_PACKED, ORDER_PLATFORM, SR_IOV and the like as they require",
        Shown(&[(MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "6.2",
        Device,
        "offers VERSION_1, and may refuse a driver that does not accept it",
        Shown(&[(MMIO, "devices_say_what_they_are"), (MMIO, "features_are_agreed_on_or_not")]),
    ),
    (
        "6.2",
        Device,
        "offers ACCESS_PLATFORM if its view of memory is not the processor's",
        Not("a device sees guest-physical memory as it is"),
    ),
    ("6.2", Device, "with IN_ORDER, uses buffers in order", Not(NOT_OFFERED)),
    (
        "6.2",
        Device,
        "with ORDER_PLATFORM, orders its accesses as the platform does",
        Not(NOT_OFFERED),
    ),
    ("6.2", Device, "with NOTIFICATION_DATA, takes a kick's data as a hint", Not(NOT_OFFERED)),
    ("6.2", Device, "with RING_RESET, resets queues one by one", Not(NOT_OFFERED)),
];
