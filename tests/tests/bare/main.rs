//! End to end with bare-metal guests: a few instructions each, so they run on every KVM.
//!
//! | module | promises |
//! |---|---|
//! | [`ends`] | how a guest ends, as exit status and in the report |
//! | [`early`] | guests that hang before anything else, and the early console |
//! | [`images`] | what is booted: formats, command line, initial RAM disk |
//! | [`kernel_check`] | what a kernel lacks, before it is booted |
//! | [`memory`] | RAM of every size, on both sides of the hole |
//! | [`huge_pages`] | memory of the host's huge pages, or none |
//! | [`console`] | bytes in and out |
//! | [`disk`] | reads, writes and what is in the image afterwards |
//! | [`disk_limits`] | images that stay as they are, caps and rates |
//! | [`files`] | directories and scratch disks that will not do |
//! | [`out`] | archives that a guest leaves for `--out`, and the process that unpacks them |
//! | [`violations`] | what a guest may not do to its devices |
//! | [`hostile`] | a guest that breaks every rule, bug class by bug class, and what the host has of it |
//! | [`lives`] | time limits, signals, kills, descriptors: nothing is left behind |
//! | [`leftovers`] | the same a hundred times over, mounts and temporary files too |
//! | [`bounds`] | time, output, report: what there is no end to by itself |
//! | [`jail`] | the layers around a running guest's workers, read from /proc |
//! | [`missing`] | hosts that lack a layer |
//! | [`forbidden`] | a worker that calls what it must not: the end, or a lesson |
//! | [`replay`] | fuzz programs in a virtual machine, against what their models say |
//! | [`record`] | a guest's accesses as such a program, and what a hostile guest makes of that |
//! | [`doctor`] | `casemate doctor`: this host, in words and in JSON |
//! | [`drill`] | `casemate drill`: nothing gets through, each layer stops what it is for |
//! | [`operator`] | a stderr that nobody reads, a terminal that is not the run's to read |
//! | [`profiles`] | options from a file, and printed as one |
//! | [`shell`] | `ps`, completions, manual pages, tables as JSON |
//! | [`terminal`] | whose the terminal is, what it shows, and that it is as before at every end |
//! | [`errors`] | what casemate refuses, and in which words |
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::cast_possible_truncation, reason = "the host has 64 bits")]

mod agent;
mod bounds;
mod console;
mod disk;
mod disk_limits;
mod doctor;
mod drill;
mod early;
mod ends;
mod errors;
mod files;
mod forbidden;
mod hostile;
mod huge_pages;
mod images;
mod jail;
mod kernel_check;
mod leftovers;
mod lives;
mod memory;
mod missing;
mod operator;
mod out;
mod profiles;
mod record;
mod replay;
mod shell;
mod terminal;
mod violations;

use std::process::ExitCode;

fn main() -> ExitCode {
    let suites = [
        ends::tests(),
        early::tests(),
        images::tests(),
        kernel_check::tests(),
        memory::tests(),
        huge_pages::tests(),
        console::tests(),
        disk::tests(),
        disk_limits::tests(),
        files::tests(),
        out::tests(),
        violations::tests(),
        hostile::tests(),
        lives::tests(),
        leftovers::tests(),
        bounds::tests(),
        jail::tests(),
        missing::tests(),
        forbidden::tests(),
        doctor::tests(),
        drill::tests(),
        replay::tests(),
        record::tests(),
        operator::tests(),
        profiles::tests(),
        shell::tests(),
        terminal::tests(),
        errors::tests(),
    ];
    tests::suite::run("bare", suites.into_iter().flatten().collect())
}
