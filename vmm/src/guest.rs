//! What shall run: every file open, every value checked, nothing started yet.

use std::ffi::OsString;
use std::fs::File;

use anyhow::{Result, bail};
use devices::bounds::Bounds;
use image::execution::Execution;
use protocol::task::Task;

use crate::cli::{BootArgs, CommonArgs, FileArg, RunArgs};
use crate::host::{self, Image};
use crate::image::Root;
use crate::initramfs;
use crate::outcome::Usage;

/// A guest, ready to be started.
#[derive(Debug)]
pub struct Guest {
    /// Kernel image, not looked into.
    pub kernel: File,
    /// The kernel and the initial RAM disk by their paths, for messages.
    pub name: String,
    /// Initial RAM disk.
    pub initrd: Option<File>,
    /// The kernel's command line.
    pub cmdline: OsString,
    /// Size of RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs.
    pub cpus: u8,
    /// Disks, in the order in which the guest will see them.
    pub disks: Vec<Image>,
    /// The agent runs a command; otherwise the guest is on its own.
    pub agent: bool,
    /// Where the kernel's console is kept.
    pub console: Option<File>,
    /// How much output there may be, of each stream.
    pub output: Bounds,
    /// What takes the place of the user's stdin and stdout.
    pub streams: Option<Streams>,
}

/// A guest's own input and output.
#[derive(Debug)]
pub struct Streams {
    /// What is typed.
    pub input: File,
    /// What is written.
    pub output: File,
}

/// The kernel's command line with the agent.
const CMDLINE: &str = "console=hvc0 quiet panic=-1 reboot=a";

impl Guest {
    /// A guest that runs a command under the agent.
    pub fn with_agent(args: &RunArgs, root: Root) -> Result<Self> {
        let Root { image, execution } = root;
        let FileArg { path, sum } = match &args.kernel {
            Some(kernel) => kernel.clone(),
            None => FileArg { path: host::kernel::default()?, sum: None },
        };
        let kernel = host::pinned("kernel", &path, sum.as_ref())?;
        let modules = match args.modules.clone().or_else(|| host::kernel::modules_dir(&path)) {
            Some(dir) => host::modules::load(&dir)?,
            None => Vec::new(),
        };
        let agent = host::read(host::companion("casemate-agent")?)?;
        let task = Task {
            modules: Vec::new(),
            argv: command(args, &execution)?,
            env: [execution.env, args.env.clone()].concat(),
            workdir: args.workdir.clone().or(execution.workdir),
            user: args.user.clone().or(execution.user),
            hostname: args.hostname.clone().map(OsString::from),
        };
        let initrd = initramfs::build(&agent, &modules, task)?;
        let console = args.console.as_deref().map(host::create).transpose()?;
        let mut disks = vec![image];
        disks.append(&mut images(&args.common)?);
        Ok(Self {
            kernel,
            name: format!("kernel {path:?}"),
            initrd: Some(initrd),
            cmdline: CMDLINE.into(),
            memory: args.common.mem,
            cpus: args.common.cpus,
            disks,
            agent: true,
            console,
            output: args.common.limits().output,
            streams: None,
        })
    }

    /// A guest that brings everything itself.
    pub fn bare(args: &BootArgs) -> Result<Self> {
        Ok(Self {
            kernel: host::pinned("kernel", &args.kernel.path, args.kernel.sum.as_ref())?,
            name: match &args.initrd {
                Some(initrd) => format!("kernel {:?} with initrd {initrd:?}", args.kernel.path),
                None => format!("kernel {:?}", args.kernel.path),
            },
            initrd: args.initrd.as_deref().map(|path| host::open("initrd", path)).transpose()?,
            cmdline: args.cmdline.clone(),
            memory: args.common.mem,
            cpus: args.common.cpus,
            disks: images(&args.common)?,
            agent: false,
            console: None,
            output: args.common.limits().output,
            streams: None,
        })
    }
}

/// Opens the root file system, or builds it; refuses at once what no image could make a command of.
pub fn prepare(args: &RunArgs) -> Result<Root> {
    if args.rootfs.is_none() {
        command(args, &Execution::default())?;
    }
    Root::of(args)
}

/// What is executed: the arguments that are given stand in place of the image's command, an entrypoint that
/// is given in place of both; what is executed is the entrypoint, and then the command.
fn command(args: &RunArgs, image: &Execution) -> Result<Vec<OsString>> {
    let mut words = match &args.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => image.entrypoint.clone(),
    };
    match args.entrypoint.is_none() && args.argv.is_empty() {
        true => words.extend_from_slice(&image.cmd),
        false => words.extend_from_slice(&args.argv),
    }
    if words.is_empty() {
        let why =
            "no command: the root file system says none, and none is given after -- (see --help)";
        bail!(Usage(why.to_owned()));
    }
    Ok(words)
}

fn images(args: &CommonArgs) -> Result<Vec<Image>> {
    args.disk.iter().map(|disk| host::image("disk image", disk)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_is_executed_is_the_entrypoint_and_then_the_command() {
        let image = |entrypoint: &[&str], cmd: &[&str]| Execution {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..Execution::default()
        };
        let (full, cmd_only) = (image(&["init", "-x"], &["a", "b"]), image(&[], &["sh"]));
        let rows: [(&[&str], &Execution, &[&str]); 9] = [
            (&[], &full, &["init", "-x", "a", "b"]),
            (&["--", "c"], &full, &["init", "-x", "c"]),
            (&["--entrypoint", "sh"], &full, &["sh"]),
            (&["--entrypoint", "sh", "--", "c"], &full, &["sh", "c"]),
            (&["--entrypoint", "", "--", "c"], &full, &["c"]),
            (&["--entrypoint", ""], &full, &[]),
            (&[], &cmd_only, &["sh"]),
            (&["--", "c", "d"], &cmd_only, &["c", "d"]),
            (&[], &Execution::default(), &[]),
        ];
        for (given, image, expected) in rows {
            let line = ["casemate", "run"].iter().chain(given);
            let Ok(Cli { command: Command::Run(args) }) = Cli::try_parse_from(line) else {
                panic!("{given:?}");
            };
            match command(&args, image) {
                Ok(found) => assert_eq!(found, words(expected), "{given:?}"),
                Err(error) => assert!(error.is::<Usage>() && expected.is_empty(), "{given:?}"),
            }
        }
    }
}
