//! `casemate drill`: assumed breach. A prober plays each worker after a guest has taken it over, behind
//! that worker's real jail and with its real descriptors, and tries every technique of the catalogue:
//! without any layer, with all, with each alone and with all but each.
//!
//! | file | job |
//! |---|---|
//! | [`bait`], [`foreign`] | what an attacker would find on the host |
//! | [`probe`] | one attempt |
//! | [`matrix`] | which attempts there are, and what came of them |
//! | [`text`] | what is printed |
//!
//! The techniques themselves are the prober's. Whatever succeeds is harmless: it is done to the bait, or
//! with arguments that the kernel refuses after it has looked at the caller.

mod bait;
mod foreign;
mod matrix;
mod probe;
mod text;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use bare::Op;
use clap::Args;
use devices::bounds::Bounds;
use devices::throttle::Rates;
use prober::catalogue;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use worker::jail::layers::Layers;
use worker::plan::Plan;

use crate::cgroup::{Cgroup, Limits};
use crate::cli::{Access, DiskArg};
use crate::guest::Guest;
use crate::host;
use crate::identity::Identity;
use crate::memory::Memory;
use crate::sandbox::Parts;
use crate::say;
use crate::signals::Signals;
use bait::Laid;
use matrix::{Matrix, Scope};
use probe::Range;

const EXIT_STATUS: &str = "\
Exit status:
    0  nothing gets through all layers but what is documented to
    1  something does, or a filter is not what its table says
    2  usage
  128+N  signal N ended the drill
  125  the drill could not do its part";

/// Exit status of a drill in which something got through.
const BREACHED: u8 = 1;
/// Memory of the guest that is never run, in bytes.
const MEMORY: u64 = 32 << 20;

/// What `drill` takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct DrillArgs {
    /// Only these techniques [default: all]
    #[arg(value_name = "TECHNIQUE", value_parser = parse_technique)]
    pub techniques: Vec<String>,
    /// Only this worker: vcpu, console, blk0 (writable), blk1 (read-only) or blk2 (ephemeral)
    /// [repeatable]
    #[arg(long, value_name = "WORKER", value_delimiter = ',', value_parser = ["vcpu", "console", "blk0", "blk1", "blk2"])]
    pub worker: Vec<String>,
    /// Only without any layer and with all, not with each alone and all but each
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the techniques and what they do
    #[arg(long)]
    pub list: bool,
}

fn parse_technique(id: &str) -> Result<String, String> {
    match catalogue::find(id) {
        Some(technique) => Ok(technique.id.to_owned()),
        None => Err("no such technique; --list lists them".to_owned()),
    }
}

/// All that a drill found.
#[derive(Debug, Serialize)]
struct Report {
    /// Nothing got through that may not.
    held: bool,
    /// The drill ran as root.
    root: bool,
    /// Why there was no control group, if there was none.
    no_cgroup: Option<String>,
    /// The workers.
    workers: Vec<Matrix>,
}

/// Drills, prints what came of it, and returns the exit status.
pub fn run(args: &DrillArgs) -> Result<u8> {
    if args.list {
        say(&if args.json { text::list_json()? } else { text::list() })?;
        return Ok(0);
    }
    let report = match drill(args)? {
        Ok(report) => report,
        Err(Interrupted(signal)) => return Ok(128u8.saturating_add(signal)),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => text::report(&report.workers, report.no_cgroup.as_deref())?,
    };
    say(&text)?;
    Ok(if report.held { 0 } else { BREACHED })
}

/// A signal ended the drill, which has cleaned up.
struct Interrupted(u8);

fn drill(args: &DrillArgs) -> Result<Result<Report, Interrupted>> {
    let signals = Signals::block()?;
    let program = host::companion("casemate-prober")?;
    let laid = Laid::out().context("cannot lay out the bait")?;
    let (parts, _ends) = Parts::of(guest(&laid)?)?;
    let cgroup = Cgroup::behind(Layers::ALL, Limits::of(MEMORY, 1, 1));
    let entrance = cgroup.as_ref().ok().map(Cgroup::entrance).transpose()?;
    let root = rustix::process::geteuid().is_root();
    let range = Range {
        parts: &parts,
        program: program.as_fd(),
        identity: Identity::of_sandbox()?,
        entrance: entrance.as_ref(),
        root,
        laid: &laid,
    };
    let scope =
        Scope { only: args.techniques.clone(), quick: args.quick, root, cgroup: cgroup.is_ok() };
    let tried = try_all(args, &range, &scope, &signals);
    let no_cgroup = cgroup.as_ref().err().cloned();
    if let Ok(cgroup) = cgroup {
        cgroup.remove();
    }
    Ok(tried?.map(|workers| {
        let held = workers.iter().all(Matrix::holds);
        Report { held, root, no_cgroup, workers }
    }))
}

/// Tries what `scope` names in each worker that `args` names.
fn try_all(
    args: &DrillArgs,
    range: &Range<'_>,
    scope: &Scope,
    signals: &Signals,
) -> Result<Result<Vec<Matrix>, Interrupted>> {
    let roles = range.parts.roles().into_iter();
    let plans = roles.map(|role| range.parts.plan(role, Layers::ALL));
    let wanted = |plan: &Plan| args.worker.is_empty() || args.worker.contains(&plan.name());
    let plans: Vec<Plan> = plans.filter(wanted).collect();
    let total = plans.iter().map(|plan| matrix::techniques(scope, plan).count()).sum();
    let mut progress = Progress::new(total);
    let mut workers = Vec::new();
    for plan in &plans {
        let mut rows = Vec::new();
        for technique in matrix::techniques(scope, plan) {
            if let Some(signal) = signals.next() {
                return Ok(Err(Interrupted(signal)));
            }
            progress.step(&plan.name(), technique.id);
            rows.push(matrix::row(range, plan, technique, scope)?);
        }
        let calls = range.walk(&plan.role)?;
        workers.push(Matrix { worker: plan.name(), calls, techniques: rows });
    }
    Ok(Ok(workers))
}

/// A guest that would end at once, with a disk of each kind.
fn guest(laid: &Laid) -> Result<Guest> {
    let disk = |name: &str, access| {
        let path = laid.dir().join(name);
        std::fs::write(&path, [0; 4096]).context("cannot make a disk image")?;
        let disk = DiskArg { path, access, rates: Rates::NONE, sum: None };
        host::image("disk image", &disk)
    };
    let kernel = memfd_create("kernel", MemfdFlags::CLOEXEC).context("cannot make a memfd")?;
    let mut kernel = File::from(kernel);
    kernel.write_all(&bare::elf(&[Op::Exit(0)])).context("cannot write the guest's kernel")?;
    Ok(Guest {
        kernel,
        name: "the drill's guest".to_owned(),
        terminal: false,
        initrd: None,
        cmdline: Default::default(),
        memory: Memory::ordinary(MEMORY),
        cpus: 1,
        disks: vec![
            disk("writable.img", Access::Write)?,
            disk("read-only.img", Access::Read)?,
            disk("ephemeral.img", Access::Ephemeral(4096))?,
        ],
        agent: true,
        console: None,
        early: false,
        record: None,
        output: Bounds::NONE,
        collected: Vec::new(),
        streams: None,
    })
}

/// A line on a terminal's stderr that says how far the drill is.
struct Progress {
    done: usize,
    total: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { done: 0, total, shown: std::io::stderr().is_terminal() }
    }

    fn step(&mut self, worker: &str, technique: &str) {
        self.done += 1;
        if self.shown {
            eprint!("\r\x1b[K{} of {}: {worker} {technique}", self.done, self.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
