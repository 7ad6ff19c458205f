//! `casemate replay`: a program of the fuzz target `whole` becomes a bare guest in the real jail.
//!
//! | file | job |
//! |---|---|
//! | [`script`] | from a program's steps to a guest's accesses |
//! | [`rings`] | where the guest has its rings |
//! | [`text`] | what is printed |
//!
//! The program is the operator's file; what it makes of the devices is seen by the workers alone. Disk and
//! streams are memory without a name, so nothing is left behind.

mod rings;
mod script;
mod text;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use devices::blk::{SECTOR, Shape};
use devices::bounds::Bounds;
use devices::throttle::Rates;
use rustix::fs::{MemfdFlags, memfd_create};
use steps::driver::SECTORS;
use steps::play::{Knobs, play};
use worker::plan::Backing;

use crate::cli::JailArgs;
use crate::guest::{Guest, Streams};
use crate::host::{self, Image, sum};
use crate::limits::{self, Limits, Time};
use crate::memory::Memory;
use script::Script;
use text::{Left, Replay};

/// The most output that a guest's console may have, in bytes.
const OUTPUT: u64 = 16 << 20;

/// What `replay` takes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A program: an input, or a finding, of the fuzz target
    pub file: PathBuf,
    /// The fuzz target that the program is for
    #[arg(long, value_name = "NAME", default_value = "whole", value_parser = parse_target)]
    pub target: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// End the run after this time: 90s, 5min; `none` for no limit
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = limits::parse_time)]
    pub timeout: Time,
    #[command(flatten)]
    pub jail: JailArgs,
    /// Write how the run ended, as a JSON object
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

fn parse_target(name: &str) -> Result<String, String> {
    match name {
        "whole" => Ok(name.to_owned()),
        "registers" | "ring" | "blk" | "console" | "control" | "frames" | "loader" => Err(format!(
            "programs of {name:?} drive one part behind a harness of its own, not a virtual machine; \
             those of \"whole\" can be replayed, the others with: \
             cargo run --release -p programs --bin stdin -- {name} FILE"
        )),
        _ => Err("there is no such fuzz target; programs of \"whole\" can be replayed".to_owned()),
    }
}

/// Replays a program; returns the exit status, which is that of the guest's run.
pub fn run(args: &ReplayArgs) -> Result<u8> {
    let report = args.report.as_deref().map(host::create).transpose()?;
    let program = host::read(host::open("the program", &args.file)?)
        .with_context(|| format!("cannot read the program {:?}", args.file))?;
    let knobs = Knobs::of(&program);
    let mut script = Script::new(knobs.log);
    play(&program, &mut script);
    script.finish();
    let disk = disk()?;
    let output = nameless("output", &[])?;
    let after = [&disk, &output].map(host::again);
    let guest = guest(&script, knobs, disk, output)
        .with_context(|| format!("cannot replay {:?}", args.file))?;
    let limits = Limits { time: args.timeout, boot: Time(None), output: bounds() };
    let Script { done, left_out, .. } = script;
    // Much memory at once goes back to the kernel, which takes a call that a confined launcher has not.
    drop((script.ops, script.typed, program));
    let end = crate::run(limits, &args.jail, || Ok(guest), Ok)?;
    let [image, output] = after.map(|file| left(&file?));
    let replay = Replay { knobs, done, left_out, image: image?, output: output? };
    let text = if args.json { replay.json(&end)? } else { replay.text(&end) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    crate::tell(report, &end)
}

/// What a run has left in one of its files. Nothing but reading is possible to a launcher that is confined.
fn left(file: &File) -> Result<Left> {
    let (bytes, sum) = sum::of_rest(file).context("cannot read what the guest has left")?;
    Ok(Left { bytes, sha256: sum.to_string() })
}

fn bounds() -> Bounds {
    Bounds { bytes: OUTPUT, per_second: u64::MAX }
}

/// What a program's disk holds: numbers that are not the same in any two sectors.
fn image() -> Vec<u8> {
    (0u8..251).cycle().take(usize::try_from(SECTORS * SECTOR).unwrap_or(0)).collect()
}

fn disk() -> Result<File> {
    nameless("disk", &image())
}

fn guest(script: &Script, knobs: Knobs, disk: File, output: File) -> Result<Guest> {
    let kernel = bare::elf(&script.ops);
    if kernel.len() > script::LONGEST {
        bail!(
            "its guest would be {} bytes long, and {} can be: take a part of the program",
            kernel.len(),
            script::LONGEST
        );
    }
    let shape = Shape { sectors: SECTORS, read_only: knobs.read_only };
    let (backing, rates) = (Backing::Image, Rates::NONE);
    let image = Image { file: disk, shape, backing, copy: None, rates };
    Ok(Guest {
        early: false,
        record: None,
        kernel: nameless("guest", &kernel)?,
        name: "the program's guest".to_owned(),
        initrd: None,
        cmdline: Default::default(),
        memory: Memory::ordinary(script::MEMORY),
        cpus: 1,
        disks: vec![image],
        terminal: false,
        agent: false,
        console: None,
        output: bounds(),
        collected: Vec::new(),
        streams: Some(Streams { input: nameless("input", &script.typed)?, output }),
    })
}

/// Memory as a file that has no name.
fn nameless(what: &str, bytes: &[u8]) -> Result<File> {
    let made = memfd_create(what, MemfdFlags::CLOEXEC);
    let mut file = File::from(made.with_context(|| format!("cannot make memory for the {what}"))?);
    file.write_all(bytes).with_context(|| format!("cannot write the {what}"))?;
    std::io::Seek::rewind(&mut file).with_context(|| format!("cannot rewind the {what}"))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
