//! `casemate doctor`: is this host fit to hold hostile guests?
//!
//! What the jail does is the drill's to show. The doctor looks at what lies below it: KVM, the CPU,
//! the kernel and how they are set. It only reads, and starts nothing.
//!
//! [`table`] lists the checks; each is a function from a [`source`] to a [`finding`], most of them
//! in files named for what they look at, the plain numbers in [`settings`]. [`report`] sums up,
//! [`text`] prints.
//!
//! | verdict | when |
//! |---|---|
//! | good | as it should be |
//! | note | could be stricter or is worth knowing; casemate's own layers cover it |
//! | warning | a layer is missing or weaker than it should be, or guest data can leave the guest |
//! | unsafe | by a known technique a guest reads, alters or stops the host or another guest |
//! | cannot-run | casemate cannot run, or only with less than its default layers |
//!
//! Only [`source`] opens paths.

use anyhow::Result;
use clap::Args;

mod access;
mod answers;
mod backend;
mod cgroup;
mod cmdline;
mod confinement;
mod cpuinfo;
mod finding;
mod hole;
mod kernel;
mod kvm;
mod memory;
mod namespaces;
mod platform;
mod report;
mod setting;
mod settings;
mod smt;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod vulnerabilities;
mod weakness;

use crate::say;
use report::Report;
use source::Source;

const EXIT_STATUS: &str = "\
Exit status:
    0  fit: nothing but notes
    1  warnings
    2  casemate cannot run here, whatever else was found; or usage
    3  unsafe: by a known technique a guest can get at the host or another guest
  125  the doctor could not do its part";

/// What `doctor` takes.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Looks at this host, prints what was found, and returns the exit status.
pub fn run(args: &DoctorArgs) -> Result<u8> {
    let report = Report::of(&Source::host());
    let text = if args.json { json(&report)? } else { text::table(&report)? };
    say(&text)?;
    Ok(report.exit_status)
}

fn json(report: &Report) -> Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
