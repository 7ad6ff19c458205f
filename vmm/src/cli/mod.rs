//! The command line.

mod print_config;
mod profile;
#[cfg(test)]
mod profile_tests;
mod run;
mod shell;
mod values;
#[cfg(test)]
mod values_tests;

use std::ffi::OsString;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use run::{BootArgs, CommonArgs, JailArgs, RunArgs};
pub use shell::{CompletionsArgs, ManArgs, completions, man};
pub use values::{Access, DiskArg, FileArg, PlaceArg, ScratchArg};

use crate::doctor::DoctorArgs;
use crate::drill::DrillArgs;
use crate::image::ImageArgs;
use crate::kernel::KernelArgs;
use crate::limits;
use crate::ps::PsArgs;
use crate::replay::ReplayArgs;

const EXIT_STATUS: &str = "\
Exit status:
  the command's own; 128+N when signal N ended it
    2  usage
  118  the guest ended without a status (panic, reset, power-off), or did not
       start the command in time (--boot-timeout)
  119  the guest broke the device contract
  120  the jail stopped a worker
  124  the time was up
  125  casemate could not do its part, or could not collect what came out (--out)
  126  the command cannot be executed
  127  the command was not found";

/// What `run --help` and `boot --help` end with.
fn after_help() -> String {
    format!("{EXIT_STATUS}\n\n{}", limits::HELP)
}

/// Run untrusted work in a KVM microVM made of separate processes.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_STATUS)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command in a microVM
    ///
    /// Boots a Linux kernel with a read-only root and a private overlay, runs COMMAND in it, and
    /// ends with its exit status. The command's stdout is stdout, its stderr is stderr. SIGINT,
    /// SIGTERM, SIGHUP and SIGQUIT are forwarded to it; a third one ends the run.
    #[command(after_help = after_help())]
    Run(Box<RunArgs>),
    /// Boot a kernel as it is
    ///
    /// The same sandbox without casemate's agent, for guests that bring their own init and for
    /// bare-metal guests. The first console is stdin and stdout. A guest ends the run with an exit
    /// code by writing it, one byte, to I/O port 0x603.
    #[command(after_help = after_help())]
    Boot(BootArgs),
    /// Play a fuzz program in a virtual machine
    ///
    /// A bare guest makes the accesses that FILE, an input of the fuzz target `whole`, makes of the devices:
    /// in the jail that `run` has, under KVM, with a disk and a console of its own that are gone afterwards.
    /// Says what happened, and what of the program a guest cannot do.
    #[command(after_help = EXIT_STATUS)]
    Replay(ReplayArgs),
    /// Tell whether this host is fit to hold hostile guests
    ///
    /// Looks at KVM, the CPU's weaknesses and their mitigations, memory, what the jail needs, and the
    /// kernel's settings; says what was read, why it matters and how to mend it. It only reads.
    Doctor(DoctorArgs),
    /// Attack casemate's own jail, and show which layer stops what
    ///
    /// A prober plays each worker after a guest has taken it over, behind that worker's real jail and
    /// with its real descriptors. It tries every technique without any layer, with all layers, with each
    /// alone and with all but each, and every system call there is. Nothing of it harms the host.
    Drill(DrillArgs),
    /// Build root file system images, and look into them
    ///
    /// Needs no root. What is parsed is parsed in a jailed process that can read the source, write the
    /// image and do nothing else.
    Image(ImageArgs),
    /// Look at guest kernels
    Kernel(KernelArgs),
    /// List the running sandboxes of this user
    Ps(PsArgs),
    /// Print a shell's completions
    ///
    /// For bash: casemate completions bash >/etc/bash_completion.d/casemate
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them
    Man(ManArgs),
}

impl Cli {
    /// What `run` and `boot` both take, of the one that it is.
    fn common(&self) -> Option<&CommonArgs> {
        match &self.command {
            Command::Run(args) => Some(&args.common),
            Command::Boot(args) => Some(&args.common),
            _ => None,
        }
    }
}

/// The command line, with a profile's options where it names one.
#[derive(Debug)]
pub struct Read {
    /// What to do, and how.
    pub cli: Cli,
    matches: ArgMatches,
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Refusal {
    /// Help or version, which is what was asked for.
    Told(clap::Error),
    /// A command line or a profile that cannot be.
    Usage(String),
}

impl Read {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    /// It, or the profile that it names, cannot be; or it asks for help.
    pub fn of(args: Vec<OsString>) -> Result<Self, Refusal> {
        let args = profile::put_in(args).map_err(Refusal::Usage)?;
        let refused = |error: clap::Error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Refusal::Told(error),
            _ => Refusal::Usage(format!("{} (see --help)", profile::one_line(&error))),
        };
        let matches = Cli::command().try_get_matches_from(args).map_err(refused)?;
        let cli = Cli::from_arg_matches(&matches).map_err(refused)?;
        let unfit = |line| Refusal::Usage(format!("{line} (see --help)"));
        cli.common().map_or(Ok(()), CommonArgs::check).map_err(unfit)?;
        Ok(Self { cli, matches })
    }

    /// The options in force as a profile, if that is asked for.
    ///
    /// # Errors
    /// There is no kernel or no root file system, or a value is not UTF-8.
    pub fn config(&self) -> Result<Option<String>> {
        let (common, chosen) = match &self.cli.command {
            Command::Run(args) if args.common.print_config => {
                (&args.common, print_config::chosen(args)?)
            }
            Command::Boot(args) => (&args.common, Vec::new()),
            _ => return Ok(None),
        };
        match self.matches.subcommand().filter(|_| common.print_config) {
            Some((name, matches)) => print_config::text(name, matches, &chosen).map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cpus_are_1_to_32_and_a_command_has_dashes() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).is_ok();
        assert!(parse(&["casemate", "run", "--cpus", "32", "--", "true"]));
        for cpus in ["0", "33", "x"] {
            assert!(!parse(&["casemate", "run", "--cpus", cpus, "--", "true"]), "{cpus}");
        }
        assert!(!parse(&["casemate", "run", "true"]));
    }
}
