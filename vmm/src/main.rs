//! casemate runs untrusted work in a KVM microVM made of separate processes.
//!
//! The story of a run: [`cli`] says what is wanted, [`host`] opens every file it names, [`guest`]
//! puts together what will run, [`sandbox`] makes the descriptors and starts the workers through
//! [`spawn`], [`supervise`] waits, and [`outcome`] says how it ended. ARCHITECTURE.md has the tour.

mod cli;
mod guest;
mod host;
mod initramfs;
mod outcome;
mod report;
mod sandbox;
mod signals;
mod spawn;
mod supervise;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use guest::Guest;

/// Runs what the command line asks for; returns the exit status.
fn run(cli: &Cli) -> anyhow::Result<u8> {
    let (guest, options) = match &cli.command {
        Command::Run(args) => (Guest::with_agent(args)?, &args.common),
        Command::Boot(args) => (Guest::bare(args)?, &args.common),
    };
    let report = options.report.as_deref().map(host::create).transpose()?;
    let watch = supervise::Watch::new(options.timeout.map(Into::into))?;
    let sandbox = sandbox::start(guest)?;
    let end = watch.until_end(sandbox);
    if let Some(line) = end.outcome.message() {
        eprintln!("casemate: {line}");
    }
    if let Some(file) = report {
        report::write(file, &end)?;
    }
    Ok(end.outcome.exit_status())
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("casemate: {error:#}");
            ExitCode::from(outcome::FAILED)
        }
    }
}
