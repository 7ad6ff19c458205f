//! casemate runs untrusted work in a KVM microVM made of separate processes.
//!
//! [`doctor`] looks at the host, [`drill`] attacks casemate's own jail, [`image`] makes what is run, [`ps`] lists
//! what runs, [`replay`] plays fuzz programs. The story of a run: [`cli`] says what is wanted, [`host`] opens
//! every file it names, [`guest`] puts together what will run, [`sandbox`] makes the descriptors and starts the workers through
//! [`spawn`], [`layers`] reads back what is on, [`supervise`] waits behind [`confine`], [`facts`] are
//! what it hears, and [`outcome`] says how it ended. ARCHITECTURE.md has the tour.

mod backtraces;
mod breach;
mod cgroup;
mod cli;
mod collect;
mod companion;
mod confine;
mod disks;
mod doctor;
mod drill;
mod ext4;
mod facts;
mod guest;
mod host;
mod identity;
mod image;
mod initramfs;
mod kernel;
mod layers;
mod limits;
mod memory;
mod messages;
mod outcome;
mod ps;
mod recorded;
mod replay;
mod report;
mod sandbox;
mod signals;
mod spawn;
mod streams;
mod supervise;
mod terminal;
mod tmpfs;
mod watched;

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use worker::jail::layers::Layers;
use worker::jail::leave;

use cli::{Command, CommonArgs, JailArgs, Read, Refusal};
use guest::Guest;
use host::processes::Process;
use limits::Limits;
use messages::complain;
use outcome::{Outcome, USAGE};
use recorded::RecordReport;
use report::End;
use supervise::{Rules, Watch};

/// Runs a guest from its files to its end, which may be that it is not started. What takes long and can
/// be interrupted, `prepare`, is done before the clock and the signals are the run's.
fn run<T>(
    limits: Limits,
    jail: &JailArgs,
    prepare: impl FnOnce() -> Result<T>,
    guest: impl FnOnce(T) -> Result<Guest>,
) -> Result<End> {
    let id = ps::id(&Process::own()?);
    let begun = prepare().and_then(|prepared| begin(limits, jail, || guest(prepared)));
    let mut end = begun.unwrap_or_else(|error| End::refused(&error));
    end.id = id;
    Ok(end)
}

fn begin(limits: Limits, jail: &JailArgs, guest: impl FnOnce() -> Result<Guest>) -> Result<End> {
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
fn obey(read: &Read) -> Result<u8> {
    if let Some(text) = read.config()? {
        return say(&text).map(|()| 0);
    }
    match &read.cli.command {
        Command::Run(args) => {
            let prepare = || terminal::check(args.tty).and_then(|()| guest::prepare(args));
            let guest = |root| Guest::with_agent(args, root);
            sandboxed(&args.common, args.limits(), prepare, guest)
        }
        Command::Boot(args) => {
            sandboxed(&args.common, args.common.limits(), || Ok(()), |()| Guest::bare(args))
        }
        Command::Replay(args) => replay::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Image(args) => image::run(args).map(|()| 0),
        Command::Kernel(args) => kernel::run(args),
        Command::Ps(args) => ps::run(args),
        Command::Completions(args) => cli::completions(args),
        Command::Man(args) => cli::man(args),
    }
}

/// Runs a guest and says how it ended; returns the exit status.
fn sandboxed<T>(
    options: &CommonArgs,
    limits: Limits,
    prepare: impl FnOnce() -> Result<T>,
    guest: impl FnOnce(T) -> Result<Guest>,
) -> Result<u8> {
    let report = options.report.as_deref().map(host::create).transpose()?;
    let end = run(limits, &options.jail, prepare, guest)?;
    tell(report, &end)
}

/// Writes the report, says the end in a line if it takes one; returns the exit status.
fn tell(report: Option<File>, end: &End) -> Result<u8> {
    // First what nobody can hold up: stderr may be a pipe that its reader has forgotten.
    let written = report.map_or(Ok(()), |file| report::write(file, end));
    if let Some(line) = end.outcome.message() {
        complain(&line);
    }
    let cost = limits::losses_in_words(&end.dropped).into_iter();
    // What is the outcome was said already.
    let reasons = end.collected.iter().filter_map(|collected| collected.reason.clone());
    let reasons = reasons.filter(|reason| end.outcome.message().as_ref() != Some(reason));
    let record = end.record.as_ref().and_then(RecordReport::in_words);
    let cost = cost.chain(disks::full_in_words(&end.disks)).chain(record);
    cost.chain(reasons).for_each(|line| complain(&line));
    written?;
    Ok(end.outcome.exit_status())
}

/// Writes to stdout; colours only where that is a terminal that may have them.
fn say(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads no further does not want to know.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// A usage error in one line; help and version as they are.
fn refuse(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::Told(error) => {
            let _ = error.print();
            if error.use_stderr() { USAGE } else { 0 }
        }
        Refusal::Usage(line) => {
            complain(line);
            USAGE
        }
    }
}

fn main() {
    backtraces::never();
    messages::open();
    // A confined launcher has no calls for what the standard library does at a panic's end.
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!("a defect of casemate itself: {panic}").replace('\n', " "));
        leave(outcome::FAILED)
    }));
    let status = match Read::of(std::env::args_os().collect()) {
        Ok(read) => obey(&read).unwrap_or_else(|error| {
            complain(&outcome::in_words(&error));
            Outcome::of_error(&error).exit_status()
        }),
        Err(refusal) => refuse(&refusal),
    };
    // The launcher is confined by now: the calls of a returning main are not among its own.
    leave(status)
}
