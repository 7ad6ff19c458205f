//! `casemate kernel check`: can this kernel work here, before it is booted?
//!
//! | file | job |
//! |---|---|
//! | [`table`] | what a guest needs, and under which names a kernel has it |
//! | [`sources`] | what is known of a kernel: its image, its configuration, its modules |
//! | [`image`] | what the image itself says, without unpacking it |
//! | [`report`], [`text`] | what follows, and how it is printed |
//!
//! All of it may come from somebody whose kernel is not trusted. So every file is opened first; then this
//! process confines itself as a launcher does, and only then looks into one. Nothing is unpacked: a
//! configuration inside a compressed image (`CONFIG_IKCONFIG`) is not looked for.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

mod image;
mod report;
mod sources;
mod table;
mod text;

use crate::{confine, host};
use report::Report;
use sources::Known;

const EXIT_STATUS: &str = "\
Exit status:
    0  the kernel can work here, as far as is known
    1  something is missing, or too little is known
    2  usage
  125  it could not be checked";

/// What `kernel` takes.
#[derive(Clone, Debug, Args)]
pub struct KernelArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KernelCommand,
}

/// The subcommands of `kernel`.
#[derive(Clone, Debug, Subcommand)]
pub enum KernelCommand {
    /// Say whether a kernel can work here, and what it lacks
    ///
    /// Looks at the image, at the configuration beside it (config-VERSION or config) and at its modules.
    /// Boots nothing.
    #[command(after_help = EXIT_STATUS)]
    Check(CheckArgs),
}

/// What `kernel check` takes.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The kernel, bzImage or ELF
    pub file: PathBuf,
    /// The kernel's modules [default: lib/modules/VERSION beside the kernel's directory]
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// The kernel's configuration [default: config-VERSION or config beside it, or with its modules]
    #[arg(long, value_name = "FILE")]
    pub kconfig: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Every file that will be looked into.
struct Files {
    image: File,
    config: Option<File>,
    /// modules.dep and modules.builtin.
    modules: Option<[Option<File>; 2]>,
}

/// Does what the command line asks for; returns the exit status.
pub fn run(args: &KernelArgs) -> Result<u8> {
    let KernelCommand::Check(args) = &args.command;
    let files = open(args)?;
    confine::launcher(false)?;
    let known = Known::of(files).with_context(|| format!("cannot check {:?}", args.file))?;
    let report = Report::of(&args.file, &known);
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => text::table(&report),
    };
    // A confined process may not ask whether stdout is a terminal, so there are no colours.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        result => result.context("cannot write to stdout")?,
    }
    Ok(u8::from(!report.works))
}

fn open(args: &CheckArgs) -> Result<Files> {
    let image = host::open("kernel", &args.file)?;
    let dir = args.modules.clone().or_else(|| host::kernel::modules_dir(&args.file));
    let config = match &args.kconfig {
        Some(path) => Some(host::open("kernel configuration", path)?),
        None => host::kernel::configs(&args.file, dir.as_deref())
            .iter()
            .find_map(|path| host::open("kernel configuration", path).ok()),
    };
    let modules = dir.map(|dir| host::modules::indices(&dir)).transpose()?;
    Ok(Files { image, config, modules })
}
