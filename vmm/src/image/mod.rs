//! `casemate image`: root file systems from directories, archives and container images.
//!
//! The launcher opens the source and the target and looks into neither: a [jailed](crate::companion) process
//! does. A directory becomes an archive first, so that this process needs no path.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use image::order::Task;
pub use image::unpack::most_read;
use image::word::Word;
use worker::jail::layers::Layer;

use crate::host::target::Target;
use crate::host::{self, sum};
use crate::layers;
use crate::limits;
use crate::say;

mod build;
mod cached;
mod job;
mod progress;
mod root;
mod text;

pub use build::of_directory;
pub use job::in_memory;
pub use root::Root;

use build::{Built, Input, Recipe};
use cached::{ListArgs, PruneArgs};
use job::Job;
use progress::Progress;
use text::Inspected;

const EXIT_STATUS: &str = "\
Exit status:
    0  done
    2  usage
  120  the jail stopped the process that parses
  125  it could not be done; nothing was written";

const OTHER_ANSWER: &str = "the image process gave another answer than asked for";

/// What `image` takes.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// The subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build a squashfs image from a directory, a tar archive or a container image
    ///
    /// SOURCE is a directory, a tar archive, what `docker save` wrote, or an OCI image layout; each
    /// archive may be packed by gzip or zstd. The same source makes the same bytes.
    #[command(after_help = EXIT_STATUS)]
    Build(BuildArgs),
    /// Say what is in a squashfs image, and its SHA-256
    #[command(after_help = EXIT_STATUS)]
    Inspect(InspectArgs),
    /// List the images that runs have built and kept, the longest unused first
    List(ListArgs),
    /// Remove such images, the longest unused first, but none that is in use
    Prune(PruneArgs),
}

/// What `image build` takes.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory, archive or container image
    pub source: PathBuf,
    /// Where the image goes; what is there is replaced when the image is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// How much may be in the image, before it is packed
    #[arg(long, value_name = "SIZE", default_value = "16G", value_parser = limits::parse_bytes)]
    pub max_size: u64,
    /// Take a container image for the files that it consists of
    #[arg(long)]
    pub plain: bool,
    /// Start even where this layer is missing
    #[arg(long, value_name = "LAYER", value_delimiter = ',', value_parser = layers::parse_layer)]
    pub insecure_allow_missing: Vec<Layer>,
}

/// What `image inspect` takes.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Start even where this layer is missing
    #[arg(long, value_name = "LAYER", value_delimiter = ',', value_parser = layers::parse_layer)]
    pub insecure_allow_missing: Vec<Layer>,
}

/// Does what the command line asks for.
pub fn run(args: &ImageArgs) -> Result<()> {
    match &args.command {
        ImageCommand::Build(args) => build(args),
        ImageCommand::Inspect(args) => inspect(args),
        ImageCommand::List(args) => cached::list(args),
        ImageCommand::Prune(args) => cached::prune(args),
    }
}

/// Builds an image.
fn build(args: &BuildArgs) -> Result<()> {
    let BuildArgs { source: path, output, max_size, plain, insecure_allow_missing: missing } = args;
    let recipe = Recipe { path, most: *max_size, plain: *plain, missing };
    let input = Input::open(path)?;
    let target = Target::new(output)?;
    let mut progress = Progress::new();
    let source = recipe.source(input, &target, &mut progress)?;
    let Built { sum, inodes, length } = recipe.build(&source, &target, &mut progress)?;
    target.publish()?;
    say(&format!("{sum}  {} ({inodes} inodes, {length} bytes)\n", output.display()))
}

/// Looks into an image and prints what is found.
fn inspect(args: &InspectArgs) -> Result<()> {
    let InspectArgs { file: path, json, insecure_allow_missing: missing } = args;
    let file = host::open("image", path)?;
    let size = file.metadata().with_context(|| format!("cannot look at image {path:?}"))?.len();
    let sum = sum::of(&file).with_context(|| format!("cannot read image {path:?}"))?;
    let job = Job { task: Task::Inspect, source: &file, missing };
    let (word, found) = job.find().with_context(|| format!("cannot inspect {path:?}"))?;
    let Word::Inspected(shape, counts) = word else { bail!(OTHER_ANSWER) };
    let config = read_config(found)?;
    let inspected = Inspected::new(path, size, &sum, shape, counts, config);
    say(&if *json { inspected.to_json()? } else { inspected.to_text() })
}

/// What the process found, if it is what it should be: one JSON object without a control character.
fn read_config(found: Vec<u8>) -> Result<Option<Box<serde_json::value::RawValue>>> {
    if found.is_empty() {
        return Ok(None);
    }
    let plain = found.iter().all(|byte| (b' '..0x7f).contains(byte)) && found.starts_with(b"{");
    let text = String::from_utf8(found).ok().filter(|_| plain);
    let value = text.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    value.map(Some).context("the configuration that was found is none")
}
