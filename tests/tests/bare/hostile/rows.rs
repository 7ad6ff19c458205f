//! The table.

use devices::violation::Violation;

use super::Ends::{GoesOn, Violation as Is};
use super::Of::{Console, Disk};
use super::{Row, tries};

pub const ROWS: &[Row] = &[
    Row {
        class: "V1",
        what: "only the start of a buffer is checked",
        cases: &[
            ("over the end", Disk, tries::over_the_end, Is("blk0", Violation::BufferPlacement)),
            (
                "length of 2^32-1",
                Disk,
                tries::longest_length,
                Is("blk0", Violation::BufferPlacement),
            ),
            ("wraps around", Disk, tries::wraps_around, Is("blk0", Violation::BufferPlacement)),
            ("no ram", Disk, tries::no_ram, Is("blk0", Violation::BufferPlacement)),
            (
                "output over the end",
                Console,
                tries::output_over_the_end,
                Is("console", Violation::BufferPlacement),
            ),
        ],
        rest: "guard pages around RAM: the fuzz targets",
    },
    Row {
        class: "V2",
        what: "queue geometry can be written after DRIVER_OK",
        cases: &[("geometry while running", Disk, tries::geometry_while_running, GoesOn)],
        rest: "every register in every status: the fuzz target `registers`",
    },
    Row {
        class: "V3",
        what: "status bits can be cleared, illegal transitions",
        cases: &[
            ("every status", Disk, tries::every_status, GoesOn),
            ("status taken back", Disk, tries::status_taken_back, GoesOn),
        ],
        rest: "all 256 × 256 against a model: `promises/mmio`",
    },
    Row {
        class: "V4",
        what: "queue_select is not checked",
        cases: &[("no such queue", Disk, tries::no_such_queue, GoesOn)],
        rest: "",
    },
    Row {
        class: "V5",
        what: "QueueNum truncated, or above its maximum",
        cases: &[("sizes", Disk, tries::sizes, GoesOn)],
        rest: "",
    },
    Row {
        class: "V6",
        what: "a jump of the available index makes chains be served for ever",
        cases: &[
            ("index jumps", Disk, tries::index_jumps, Is("blk0", Violation::AvailIndex)),
            (
                "index jumps furthest",
                Disk,
                tries::index_jumps_furthest,
                Is("blk0", Violation::AvailIndex),
            ),
        ],
        rest: "",
    },
    Row {
        class: "V7",
        what: "use of a queue that is not ready; chains of more than 2^32 bytes",
        cases: &[
            ("not ready", Disk, tries::not_ready, GoesOn),
            ("too long", Disk, tries::too_long, Is("blk0", Violation::ChainLength)),
        ],
        rest: "",
    },
    Row {
        class: "V8",
        what: "a malformed chain leaves the index where it is: a busy loop",
        cases: &[("next to itself", Disk, tries::next_to_itself, Is("blk0", Violation::ChainLoop))],
        rest: "the run ends with the chain: nothing is left to be busy",
    },
    Row {
        class: "V9",
        what: "head or next index out of range, loops",
        cases: &[
            ("cycle of two", Disk, tries::cycle_of_two, Is("blk0", Violation::ChainLoop)),
            ("cycle of all", Disk, tries::cycle_of_all, Is("blk0", Violation::ChainLoop)),
            (
                "head out of range",
                Disk,
                tries::head_out_of_range,
                Is("blk0", Violation::DescriptorIndex),
            ),
            (
                "next out of range",
                Disk,
                tries::next_out_of_range,
                Is("blk0", Violation::DescriptorIndex),
            ),
            ("longest chain", Disk, tries::longest_chain, GoesOn),
        ],
        rest: "",
    },
    Row {
        class: "V10",
        what: "sector arithmetic",
        cases: &[("sectors", Disk, tries::sectors, GoesOn)],
        rest: "",
    },
    Row {
        class: "V11",
        what: "completion after a reset",
        cases: &[("reset in flight", Disk, tries::reset_in_flight, GoesOn)],
        rest: "with slow I/O: `promises/faults`",
    },
    Row {
        class: "V12",
        what: "a double fetch from guest memory",
        cases: &[("changes meanwhile", Disk, tries::changes_meanwhile, GoesOn)],
        rest: "no byte is read twice: the fuzz target `ring`",
    },
    Row {
        class: "V13",
        what: "torn ring indices",
        cases: &[],
        rest: "a race of two threads for hours, not a guest's program: ThreadSanitizer, `scripts/fuzz --threads`",
    },
    Row { class: "V14", what: "no such class", cases: &[], rest: "the list goes from V13 to V15" },
    Row {
        class: "V15",
        what: "an endless loop on a crafted kernel image",
        cases: &[],
        rest: "before any guest runs: the fuzz target `loader`, and `errors` for images that are refused",
    },
    Row {
        class: "V16",
        what: "time and memory by a length that the guest states",
        cases: &[("much on little", Disk, tries::much_on_little, GoesOn)],
        rest: "",
    },
    Row {
        class: "V17",
        what: "unbounded host input",
        cases: &[],
        rest: "the host's side: `console::input_that_nobody_reads`",
    },
    Row {
        class: "V18",
        what: "console floods",
        cases: &[],
        rest: "`bounds::a_flood_is_cut_off_and_counted`, `bounds::a_flood_without_end_is_cut_off_too`",
    },
    Row {
        class: "V19",
        what: "a sink that is slow, full or closed",
        cases: &[],
        rest: "the host's side: `console::one_mib_out_to_a_slow_reader`, \
               `console::a_reader_that_leaves_does_not_end_the_guest`, \
               `console::a_stdout_that_is_full_does_not_end_the_guest`",
    },
    Row {
        class: "V20",
        what: "only the first descriptor is served",
        cases: &[("longest chain", Disk, tries::longest_chain, GoesOn)],
        rest: "`console::output_in_many_descriptors`",
    },
    Row {
        class: "V21",
        what: "a legal buffer at a boundary is refused",
        cases: &[("up to the end", Disk, tries::up_to_the_end, GoesOn)],
        rest: "",
    },
    Row {
        class: "V22",
        what: "configuration that the guest can write is trusted",
        cases: &[("configuration", Disk, tries::configuration, GoesOn)],
        rest: "",
    },
    Row {
        class: "V23",
        what: "a kick before DRIVER_OK",
        cases: &[("kicks too early", Disk, tries::kicks_too_early, GoesOn)],
        rest: "",
    },
    Row {
        class: "V24",
        what: "short or partial I/O",
        cases: &[],
        rest: "a guest has no say in it: `promises/faults`, every byte and every error",
    },
    Row {
        class: "V25",
        what: "features that nobody needs",
        cases: &[
            ("features", Disk, tries::features, GoesOn),
            ("indirect", Disk, tries::indirect, Is("blk0", Violation::Indirect)),
        ],
        rest: "",
    },
    Row {
        class: "V26",
        what: "a tool of root's follows a symbolic link",
        cases: &[],
        rest: "before any guest runs: `errors`, every kind of file as disk, kernel and output",
    },
    Row {
        class: "V27",
        what: "the guest writes an image header that the host follows",
        cases: &[],
        rest: "there are no image formats: an image is raw, and its size was taken before the guest ran",
    },
    Row {
        class: "V28",
        what: "the wrong number of queues",
        cases: &[
            ("no queue", Console, tries::no_queue, GoesOn),
            ("one queue", Console, tries::one_queue, GoesOn),
        ],
        rest: "",
    },
    Row {
        class: "V29",
        what: "interrupt storms, lost interrupts, deadlocks",
        cases: &[("kick storm", Disk, tries::kick_storm, GoesOn)],
        rest: "no kick is lost in fifty thousand: `promises/serve/blk`",
    },
];
