//! Measures casemate: [`subject`] is who, [`sample`] what comes of it, [`table`] and [`plot`] show it.
//! The benchmarks are [`startup`], [`footprint`], [`disk`], [`console`], [`boot`], [`linux_disk`] and [`repeatable`].
//!
//! Machines are noisy: subjects are measured in turn in the same rounds, and compared round by round.

mod boot;
mod console;
mod cpu_time;
mod disk;
mod footprint;
mod linux_disk;
mod machine;
mod plot;
mod repeatable;
mod sample;
mod startup;
mod subject;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use sample::Case;
use subject::Bench;

/// A benchmark: name, what it measures, rounds unless told otherwise, how.
type Benchmark = (&'static str, &'static str, usize, fn(&Bench, usize) -> Result<Vec<Case>>);

const BENCHMARKS: [Benchmark; 10] = [
    ("startup", "a guest that ends at once, against the floor", 60, startup::startup),
    ("scaling", "start-up by memory and by vCPUs", 30, startup::scaling),
    ("footprint", "memory of an idle sandbox besides its guest's", 10, footprint::footprint),
    ("density", "how many idle sandboxes fit into 8 GiB", 1, footprint::density),
    ("repeatable", "what is the same in every run", 5, repeatable::repeatable),
    ("disk", "block requests, against the same transfers by hand", 7, disk::disk),
    ("console", "bytes both ways and an echo, against cat", 7, console::console),
    ("boot", "a Linux guest, against QEMU's microvm", 7, boot::boot),
    ("linux-disk", "a Linux guest's disk, against QEMU's microvm", 7, linux_disk::rates),
    ("linux-disk-cpu", "what of the processor that takes", 3, linux_disk::costs),
];

/// Measure casemate against a floor
#[derive(Debug, Parser)]
struct Cli {
    /// Which benchmarks; all of them if none is named and nothing added
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Rounds; each benchmark has its own number by default
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Write every sample as JSON; `-` is stdout, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the ratios as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Add what was measured elsewhere, as --json wrote it
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// Fail if a number of `repeatable` is more than a twentieth over the one stored in this file
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// Store the numbers of `repeatable` in that file instead
    #[arg(long, requires = "limits")]
    store: bool,
    /// Say which benchmarks there are
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.list {
        for (name, what, rounds, _) in BENCHMARKS {
            println!("{name:<14} {what} ({rounds} rounds)");
        }
        return Ok(());
    }
    let bench = Bench::new()?;
    let mut cases = Vec::new();
    for (name, _, usual, measure) in chosen(&cli)? {
        eprintln!("bench: {name}");
        let rounds = cli.rounds.unwrap_or(usual);
        cases.extend(measure(&bench, rounds).with_context(|| format!("cannot measure {name}"))?);
    }
    for path in &cli.add {
        let text = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
        cases.extend(table::from_json(&text).with_context(|| format!("{path:?} is no result"))?);
    }
    show(&cases, cli.json.as_deref())?;
    if let Some(path) = &cli.limits {
        match cli.store {
            true => std::fs::write(path, repeatable::limits(&cases)?)?,
            false => repeatable::check(&cases, path)?,
        }
    }
    if let Some(path) = &cli.svg {
        plot::draw(&cases, path)?;
    }
    Ok(())
}

/// The table, and JSON if a file for it is named.
fn show(cases: &[Case], json: Option<&Path>) -> Result<()> {
    let text =
        || Ok::<_, serde_json::Error>(serde_json::to_string_pretty(&table::json(cases))? + "\n");
    match json {
        Some(path) if path == Path::new("-") => print!("{}", text()?),
        Some(path) => {
            print!("{}", table::markdown(cases));
            std::fs::write(path, text()?).with_context(|| format!("cannot write {path:?}"))?;
        }
        None => print!("{}", table::markdown(cases)),
    }
    Ok(())
}

fn chosen(cli: &Cli) -> Result<Vec<Benchmark>> {
    if cli.names.is_empty() && cli.add.is_empty() {
        return Ok(BENCHMARKS.to_vec());
    }
    let find = |name: &String| {
        let found = BENCHMARKS.into_iter().find(|benchmark| benchmark.0 == name);
        found.with_context(|| format!("there is no benchmark {name:?}: see --list"))
    };
    cli.names.iter().map(find).collect()
}
