//! casemate runs untrusted work in a KVM microVM made of separate processes.
//!
//! [`doctor`] looks at the host, [`drill`] attacks casemate's own jail, [`image`] makes what is run, [`replay`] plays fuzz programs. The story of a run: [`cli`] says what is wanted, [`host`] opens every file it names, [`guest`]
//! puts together what will run, [`sandbox`] makes the descriptors and starts the workers through
//! [`spawn`], [`layers`] reads back what is on, [`supervise`] waits behind [`confine`], [`facts`] are
//! what it hears, and [`outcome`] says how it ended. ARCHITECTURE.md has the tour.

mod breach;
mod cgroup;
mod cli;
mod confine;
mod doctor;
mod drill;
mod facts;
mod guest;
mod host;
mod identity;
mod image;
mod initramfs;
mod layers;
mod limits;
mod outcome;
mod replay;
mod report;
mod sandbox;
mod signals;
mod spawn;
mod streams;
mod supervise;
mod watched;

use std::fs::File;

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use worker::jail::layers::Layers;
use worker::jail::leave;

use cli::{Cli, Command, CommonArgs, JailArgs};
use guest::Guest;
use limits::Limits;
use report::End;
use supervise::{Rules, Watch};

/// Exit status of a command line that cannot be.
const USAGE: u8 = 2;

/// Runs a guest from its files to its end.
fn run(limits: Limits, jail: &JailArgs, guest: impl FnOnce() -> Result<Guest>) -> Result<End> {
    let watch = Watch::new(limits.time)?;
    let guest = guest()?;
    let rules = Rules {
        floor: layers::Floor::new(&jail.require, &jail.insecure_allow_missing),
        learn: jail.insecure_learn_syscalls,
        insecure: jail.insecure(),
        limits,
    };
    let layers = spawn::without_missing(Layers::ALL, &jail.insecure_allow_missing);
    let sandbox = sandbox::start(guest, layers)?;
    Ok(watch.until_end(sandbox, rules))
}

/// Does what the command line asks for; returns the exit status.
fn obey(cli: &Cli) -> Result<u8> {
    match &cli.command {
        Command::Run(args) => sandboxed(&args.common, || Guest::with_agent(args)),
        Command::Boot(args) => sandboxed(&args.common, || Guest::bare(args)),
        Command::Replay(args) => replay::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Image(args) => image::run(args),
    }
}

/// Runs a guest and says how it ended; returns the exit status.
fn sandboxed(options: &CommonArgs, guest: impl FnOnce() -> Result<Guest>) -> Result<u8> {
    let report = options.report.as_deref().map(host::create).transpose()?;
    let end =
        run(options.limits(), &options.jail, guest).unwrap_or_else(|error| End::refused(&error));
    tell(report, &end)
}

/// Writes the report, says the end in a line if it takes one; returns the exit status.
fn tell(report: Option<File>, end: &End) -> Result<u8> {
    // First what nobody can hold up: stderr may be a pipe that its reader has forgotten.
    let written = report.map_or(Ok(()), |file| report::write(file, end));
    if let Some(line) = end.outcome.message() {
        complain(&line);
    }
    if let Some(line) = limits::dropped_in_words(&end.dropped) {
        complain(&line);
    }
    written?;
    Ok(end.outcome.exit_status())
}

/// One line on stderr, if it takes it now: a guest may have filled it, and nobody may read it.
fn complain(line: &str) {
    let stderr = rustix::stdio::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
    if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
        // Not read by anybody any more is as good as read.
        let _ = rustix::io::write(stderr, format!("casemate: {line}\n").as_bytes());
    }
}

/// A usage error in one line; help and version as they are.
fn refuse(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            USAGE
        }
        _ => {
            let text = error.to_string();
            let text = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = text.split_whitespace().collect();
            complain(&format!("{} (see --help)", words.join(" ").trim_start_matches("error: ")));
            USAGE
        }
    }
}

fn main() {
    // A confined launcher has no calls for what the standard library does at a panic's end.
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!("a defect of casemate itself: {panic}").replace('\n', " "));
        leave(outcome::FAILED)
    }));
    let status = match Cli::try_parse() {
        Ok(cli) => obey(&cli).unwrap_or_else(|error| {
            complain(&outcome::in_words(&error));
            outcome::FAILED
        }),
        Err(error) => refuse(&error),
    };
    // The launcher is confined by now: the calls of a returning main are not among its own.
    leave(status)
}
