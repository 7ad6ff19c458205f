//! What a shell and `man` know of casemate, made from the command line's definition.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use crate::{host, say};

/// What `completions` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// What `man` takes.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Write a page for each subcommand into this directory, which has to be there
    pub dir: Option<PathBuf>,
}

/// Prints a shell's completions; returns the exit status.
pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "casemate", &mut script);
    say(&String::from_utf8(script)?)?;
    Ok(0)
}

/// Prints casemate's own manual page, or writes all of them; returns the exit status.
pub fn man(args: &ManArgs) -> Result<u8> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.dir {
        Some(dir) => write_all(&command, dir)?,
        None => say(&String::from_utf8(page(&command)?)?)?,
    }
    Ok(0)
}

/// Writes the page of `command` and those of all below it into `dir`.
fn write_all(command: &Command, dir: &Path) -> Result<()> {
    let path = dir.join(Man::new(command.clone()).get_filename());
    let mut file = host::create(&path)?;
    std::io::Write::write_all(&mut file, &page(command)?)
        .with_context(|| format!("cannot write {path:?}"))?;
    command.get_subcommands().try_for_each(|below| write_all(below, dir))
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).context("cannot make a manual page")?;
    Ok(page)
}
