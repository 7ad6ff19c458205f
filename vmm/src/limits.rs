//! What a run is limited to, by default and by the command line, and how the report says it.
//!
//! Nothing that a guest does may take the host's time, memory or disk without end, so each limit has a
//! default, and going without one takes the word `none`.
//!
//! | limit | default | why so | beyond it |
//! |---|---|---|---|
//! | time | 1 h | longer than builds and test suites take; a stuck guest is gone before it is forgotten | the run ends, status 124 |
//! | the guest's start | 2 min | a guest is up in a second, and in half a minute where KVM is emulated | the run ends, status 118 |
//! | output, each stream | 1 GiB | more than anybody reads, less than a disk | dropped and counted |
//! | output in a second | 64 MiB | a log collector keeps up, a pipeline hardly notices | held back |
//! | what is written to an ephemeral disk | 4 GiB | builds and databases of a moderate size | I/O errors, counted |
//! | what comes in with a directory | 4 GiB | more than source trees and data sets of a run | refused, status 125 |
//! | what comes out to a directory | 1 GiB | as much as of each stream | nothing comes out, status 125 |
//! | bytes of a scratch disk in a second | 256 MiB | what a disk does, without holding up all others | held back |
//! | requests of a scratch disk in a second | 20000 | the same | held back |
//! | kernel's console file | 16 MiB | boots thousands of times over | dropped and counted |
//! | report | 128 KiB | | the kernel's last words are left out |

use std::time::Duration;

use devices::bounds::Bounds;
use devices::kernel_log;
use devices::serve::Dropped;
use devices::sink::Loss;
use devices::throttle::Rates;
use serde::Serialize;
use worker::jail::limits::{ADDRESS_SPACE, DATA};

use crate::cgroup;
use crate::disks::DiskReport;
use crate::outcome::in_words;

/// The default time limit.
pub const TIME: &str = "1h";
/// The default time limit of a guest's start.
pub const BOOT: &str = "2min";
/// The default of the most bytes of each output stream.
pub const OUTPUT: &str = "1G";
/// The default of the most bytes of each output stream in a second.
pub const RATE: &str = "64M";
/// The default of the most bytes that the cache of built images holds.
pub const IMAGES: &str = "10G";
/// The default of the most bytes that are kept of what is written to an ephemeral disk.
pub const EPHEMERAL: u64 = 4 << 30;
/// The default of how much comes in with each directory.
pub const IN: &str = "4G";
/// The default of how much comes out to each directory.
pub const OUT: &str = "1G";
/// How fast a disk may be that casemate makes for the guest, unless something else is said.
pub const SCRATCH: Rates = Rates { bytes: 256 << 20, operations: 20_000 };
/// The most bytes of a report.
pub const REPORT: usize = 128 << 10;

/// The limits that have no option.
pub const HELP: &str = "\
Limits without an option of their own:
  each worker        64 MiB of memory of its own, and guest memory + 256 MiB of
                     address space; as many threads, descriptors and bytes in a
                     file as its work takes
  all workers        guest memory + 256 MiB, vCPUs + 4 + workers threads, and the
                     time of vCPUs + 1 CPUs, where there is a control group
  --console FILE     16 MiB; the rest is dropped, and counted in its last line
  --report FILE      128 KiB
  --earlycon         512 lines of 248 bytes
  --in, and images   1 GiB of memory to build one, 1048576 entries, 128 MiB of
                     names
  --out              128 MiB of memory to unpack in, 131072 entries, 16 MiB of
                     names; 256 MiB and 20000 requests in a second
The report has them all, as they were in force, and what was dropped.";

/// How long a run may take; none: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Option<Duration>);

/// What a run is limited to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take.
    pub time: Time,
    /// How long its guest may take until the command starts.
    pub boot: Time,
    /// How much output it may write, of each stream.
    pub output: Bounds,
}

/// Parses a time limit: a duration, or `none`.
pub fn parse_time(text: &str) -> Result<Time, String> {
    if text == "none" {
        return Ok(Time(None));
    }
    match text.parse::<humantime::Duration>() {
        Ok(time) => Ok(Time(Some(time.into()))),
        Err(error) => Err(format!("{error}: try 90s, 5min or none")),
    }
}

/// Parses a number of bytes, with a unit or without, or `none`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(u64::MAX);
    }
    let parser = parse_size::Config::new().with_binary();
    parser.parse_size(text).map_err(|_| "not a size: try 512K, 1G or none".to_owned())
}

/// Parses a number of bytes in a second.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("nothing would ever be written".to_owned()),
        rate => Ok(rate),
    }
}

/// Parses a number of requests in a second, or `none`.
pub fn parse_operations(text: &str) -> Result<u64, String> {
    match text {
        "none" => Ok(u64::MAX),
        "0" => Err("nothing would ever be read or written".to_owned()),
        number => number.parse().map_err(|_| "not a number: try 1000 or none".to_owned()),
    }
}

/// The limits in force as the report has them; null: none.
#[derive(Debug, Serialize)]
pub struct InForce {
    time_seconds: Option<f64>,
    boot_seconds: Option<f64>,
    /// Of stdout, and as much of stderr.
    output_bytes: Option<u64>,
    output_bytes_per_second: Option<u64>,
    console_file_bytes: usize,
    report_bytes: usize,
    worker_memory_bytes: u64,
    worker_address_space_bytes: u64,
    /// Those of the control group, if there is one.
    group: Option<cgroup::Limits>,
    disks: Vec<DiskReport>,
    dropped: DroppedReport,
    lost: LostReport,
}

/// Bytes that were beyond the limits of output.
#[derive(Debug, Serialize)]
struct DroppedReport {
    stdout_bytes: u64,
    stderr_bytes: u64,
    console_file_bytes: u64,
}

/// Output that could not be written; null: all could be.
#[derive(Debug, Serialize)]
struct LostReport {
    stdout: Option<Lost>,
    stderr: Option<Lost>,
    console_file: Option<Lost>,
}

/// Bytes that could not be written, and why.
#[derive(Debug, Serialize)]
struct Lost {
    bytes: u64,
    reason: String,
}

impl Lost {
    fn of(loss: &Loss) -> Option<Self> {
        let reason = in_words(&std::io::Error::from_raw_os_error(loss.errno).into());
        (loss.failed > 0).then_some(Self { bytes: loss.failed, reason })
    }
}

/// A limit as the report has it.
pub fn bound(most: u64) -> Option<u64> {
    (most != u64::MAX).then_some(most)
}

impl Limits {
    /// The limits of a run with `memory` bytes of RAM, and what they cost its output.
    pub fn in_force(
        &self,
        memory: u64,
        group: Option<cgroup::Limits>,
        disks: Vec<DiskReport>,
        dropped: &Dropped,
    ) -> InForce {
        InForce {
            time_seconds: self.time.0.map(|time| time.as_secs_f64()),
            boot_seconds: self.boot.0.map(|time| time.as_secs_f64()),
            output_bytes: bound(self.output.bytes),
            output_bytes_per_second: bound(self.output.per_second),
            console_file_bytes: kernel_log::MAX_FILE,
            report_bytes: REPORT,
            worker_memory_bytes: DATA,
            worker_address_space_bytes: memory.saturating_add(ADDRESS_SPACE),
            group,
            disks,
            dropped: DroppedReport {
                stdout_bytes: dropped.stdout.beyond,
                stderr_bytes: dropped.stderr.beyond,
                console_file_bytes: dropped.console.beyond,
            },
            lost: LostReport {
                stdout: Lost::of(&dropped.stdout),
                stderr: Lost::of(&dropped.stderr),
                console_file: Lost::of(&dropped.console),
            },
        }
    }
}

/// Lines for the user about output that was not written: one for what was dropped, and one for each
/// stream that could not be written.
pub fn losses_in_words(dropped: &Dropped) -> Vec<String> {
    let Dropped { stdout, stderr, console } = dropped;
    let streams = [(stdout, "stdout"), (stderr, "stderr")];
    let parts: Vec<String> = streams
        .into_iter()
        .filter(|(loss, _)| loss.beyond > 0)
        .map(|(loss, name)| format!("{} bytes of {name}", loss.beyond))
        .collect();
    let line = format!("dropped {} (--max-output)", parts.join(" and "));
    let mut lines: Vec<String> = (!parts.is_empty()).then_some(line).into_iter().collect();
    for (loss, name) in streams.into_iter().chain([(console, "the kernel's console")]) {
        let lost = Lost::of(loss);
        lines.extend(
            lost.map(|lost| format!("lost {} bytes of {name}: {}", lost.bytes, lost.reason)),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use image::{life, tree, unpack};
    use worker::{earlycon, status};

    use super::*;

    #[test]
    fn going_without_a_limit_takes_a_word() {
        assert_eq!(parse_time("none"), Ok(Time(None)));
        assert_eq!(parse_time("5min"), Ok(Time(Some(Duration::from_secs(300)))));
        assert_eq!(parse_bytes("none"), Ok(u64::MAX));
        for (text, bytes) in [("0", 0), ("7", 7), ("4K", 4096), ("1GiB", 1 << 30)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "never", "-1", "1 h 0"] {
            assert!(parse_time(bad).is_err() && parse_bytes(bad).is_err(), "{bad}");
        }
        assert!(parse_rate("0").is_err() && parse_rate("1") == Ok(1));
    }

    #[test]
    fn the_defaults_are_limits() {
        assert!([TIME, BOOT].iter().all(|limit| parse_time(limit).is_ok_and(|it| it.0.is_some())));
        assert!(parse_bytes(OUTPUT).is_ok_and(|bytes| bytes == 1 << 30));
        assert!(parse_rate(RATE).is_ok_and(|rate| rate == 64 << 20));
    }

    #[test]
    fn what_the_help_says_is_so() {
        assert!(HELP.contains(&format!("{} MiB of memory of its own", DATA >> 20)));
        assert!(HELP.contains(&format!("guest memory + {} MiB of\n", ADDRESS_SPACE >> 20)));
        assert!(HELP.contains(&format!("guest memory + {} MiB, vCPUs", cgroup::OVERHEAD >> 20)));
        assert!(HELP.contains(&format!("FILE     {} MiB;", kernel_log::MAX_FILE >> 20)));
        assert!(HELP.contains(&format!("FILE      {} KiB\n", REPORT >> 10)));
        let lines = format!("{} lines of {} bytes\n", earlycon::RECORDS, status::TEXT);
        assert!(HELP.contains(&lines));
    }

    #[test]
    fn what_the_help_says_of_images_is_so() {
        let (built, unpacked) = (life::MEMORY >> 30, life::UNPACK_MEMORY >> 20);
        let (entries, names) = (tree::ENTRIES_MAX, tree::NAMES_MAX >> 20);
        let Rates { bytes, operations } = SCRATCH;
        for said in [
            format!("{built} GiB of memory to build one, {entries} entries, {names} MiB of\n"),
            format!("{unpacked} MiB of memory to unpack in, {} entries", unpack::ENTRIES_MAX),
            format!("entries, {} MiB of\n", unpack::NAMES_MAX >> 20),
            format!("{} MiB and {operations} requests", bytes >> 20),
        ] {
            assert!(HELP.contains(&said), "{said}");
        }
    }

    #[test]
    fn the_lines_name_the_streams() {
        let beyond = |beyond| Loss { beyond, ..Loss::default() };
        let failed = |failed, errno| Loss { failed, errno, ..Loss::default() };
        let rows: [([Loss; 3], &[&str]); 4] = [
            ([beyond(0), beyond(0), beyond(9)], &[]),
            ([beyond(0), beyond(5), beyond(9)], &["dropped 5 bytes of stderr (--max-output)"]),
            (
                [beyond(7), beyond(5), beyond(0)],
                &["dropped 7 bytes of stdout and 5 bytes of stderr (--max-output)"],
            ),
            (
                [
                    Loss { beyond: 1, failed: 2, errno: libc::ENOSPC },
                    failed(3, libc::EIO),
                    failed(4, libc::EDQUOT),
                ],
                &[
                    "dropped 1 bytes of stdout (--max-output)",
                    "lost 2 bytes of stdout: No space left on device",
                    "lost 3 bytes of stderr: Input/output error",
                    "lost 4 bytes of the kernel's console: Disk quota exceeded",
                ],
            ),
        ];
        for ([stdout, stderr, console], expected) in rows {
            assert_eq!(losses_in_words(&Dropped { stdout, stderr, console }), expected);
        }
    }
}
