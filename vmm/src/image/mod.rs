//! `casemate image`: root file systems from directories, archives and container images.
//!
//! The launcher opens the source and the target and looks into neither: a [jailed](crate::companion) process
//! does. A directory becomes an archive first, so that this process needs no path.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use image::order::{Order, Task};
use image::word::Word;
use rustix::fs::{MemfdFlags, memfd_create};
use worker::jail::layers::{Layer, Layers};

use crate::host::directory::{self, LeftOut};
use crate::host::target::Target;
use crate::host::{self, sum};
use crate::layers;
use crate::limits;
use crate::spawn;
use crate::{complain, say};

mod job;
mod progress;
mod text;

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
    }
}

/// Builds an image.
fn build(args: &BuildArgs) -> Result<()> {
    let BuildArgs { source: path, output, max_size, plain, insecure_allow_missing: missing } = args;
    let directory = directory::open(path)?;
    let file = if directory.is_some() { None } else { Some(host::open("source", path)?) };
    let target = Target::new(output)?;
    let mut progress = Progress::new();
    let (source, left_out) = match (directory, file) {
        (Some(root), _) => {
            let spool = target.beside()?;
            let tell = &mut |bytes| progress.collected(bytes);
            directory::archive(root, spool, target.replaces(), *max_size, tell)
                .with_context(|| format!("cannot build an image of {path:?}"))?
        }
        (None, Some(file)) => (file, LeftOut::default()),
        (None, None) => bail!("cannot open source {path:?}"),
    };
    let order = Order {
        task: Task::Build { most: *max_size, plain: *plain },
        layers: spawn::without_missing(Layers::ALL, missing),
    };
    let job = Job { order, source: source.as_fd(), result: target.file().as_fd(), missing };
    let failed = || format!("cannot build an image of {path:?}");
    let word = job.run(|done, all| progress.copied(done, all)).with_context(failed)?;
    progress.clear();
    let Word::Built(counts, length, attributes) = word else { bail!(OTHER_ANSWER) };
    check_length(target.file(), length)?;
    let sum = sum::of(target.file()).context("cannot read the image")?;
    target.publish()?;
    mention(left_out, attributes);
    say(&format!("{sum}  {} ({} inodes, {length} bytes)\n", output.display(), counts.inodes))
}

/// The file is as long as it was said to be: whoever wrote it may have been taken over by the source.
fn check_length(file: &File, length: u64) -> Result<()> {
    let found = file.metadata().context("cannot look at the image")?.len();
    if found != length {
        bail!("cannot use the image: it is {found} bytes long, and was said to be {length}");
    }
    Ok(())
}

/// Tells what is not in the image.
fn mention(left_out: LeftOut, attributes: u64) {
    let rows = [
        (left_out.sockets, "sockets"),
        (left_out.mounts, "directories' contents that are other file systems"),
        (attributes, "extended attributes that squashfs has no place for"),
    ];
    for (count, what) in rows.into_iter().filter(|(count, _)| *count > 0) {
        complain(&format!("left out: {count} {what}"));
    }
}

/// Looks into an image and prints what is found.
fn inspect(args: &InspectArgs) -> Result<()> {
    let InspectArgs { file: path, json, insecure_allow_missing: missing } = args;
    let file = host::open("image", path)?;
    let size = file.metadata().with_context(|| format!("cannot look at image {path:?}"))?.len();
    let sum = sum::of(&file).with_context(|| format!("cannot read image {path:?}"))?;
    let config = memfd_create("config", MemfdFlags::CLOEXEC).context("cannot make a memfd")?;
    let layers = spawn::without_missing(Layers::ALL, missing);
    let order = Order { task: Task::Inspect, layers };
    let job = Job { order, source: file.as_fd(), result: config.as_fd(), missing };
    let word = job.run(|_, _| {}).with_context(|| format!("cannot inspect {path:?}"))?;
    let Word::Inspected(shape, counts) = word else { bail!(OTHER_ANSWER) };
    let config = read_config(config.into())?;
    let inspected = Inspected::new(path, size, &sum, shape, counts, config);
    say(&if *json { inspected.to_json()? } else { inspected.to_text() })
}

/// What the process found, if it is what it should be: one JSON object without a control character.
fn read_config(mut file: File) -> Result<Option<Box<serde_json::value::RawValue>>> {
    let longest = 6 * image::config::LENGTH_MAX as u64;
    let mut text = String::new();
    file.rewind().context("cannot read the configuration")?;
    file.take(longest).read_to_string(&mut text).context("cannot read the configuration")?;
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) && text.starts_with('{');
    let value = Some(text).filter(|_| plain);
    let value = value.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    value.map(Some).context("the configuration that was found is none")
}
