//! What shall run: every file open, every value checked, nothing started yet.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use devices::blk::SECTOR;
use devices::bounds::Bounds;
use image::execution::Execution;
use protocol::collected::ARCHIVE;
use protocol::task::Task;

use crate::cli::{BootArgs, CommonArgs, FileArg, PlaceArg, RunArgs, ScratchArg};
use crate::collect::Output;
use crate::ext4;
use crate::host::directory::Most;
use crate::host::{self, Image};
use crate::image::{Root, most_read, of_directory};
use crate::initramfs;
use crate::limits;
use crate::memory::Memory;
use crate::outcome::Usage;
use crate::terminal;

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
    /// RAM.
    pub memory: Memory,
    /// Number of vCPUs.
    pub cpus: u8,
    /// Disks, in the order in which the guest will see them.
    pub disks: Vec<Image>,
    /// The command has a terminal, joined to the user's.
    pub terminal: bool,
    /// The agent runs a command; otherwise the guest is on its own.
    pub agent: bool,
    /// Where the kernel's console is kept.
    pub console: Option<File>,
    /// There is an early console.
    pub early: bool,
    /// Where the guest's accesses are recorded.
    pub record: Option<File>,
    /// How much output there may be, of each stream.
    pub output: Bounds,
    /// Directories that something comes out to.
    pub collected: Vec<Output>,
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

/// What comes out at most, in bytes, when no less is asked for.
const MOST_OUT: u64 = 512 << 30;

/// The kernel's command line with the agent.
const CMDLINE: &str = "console=hvc0 quiet panic=-1 reboot=a";
/// The same with an early console, on which the kernel is not to be quiet.
const CMDLINE_EARLY: &str = "console=hvc0 panic=-1 reboot=a earlyprintk=ttyS0,115200";

impl Guest {
    /// A guest that runs a command under the agent.
    pub fn with_agent(args: &RunArgs, prepared: Prepared) -> Result<Self> {
        let Prepared { root: Root { image, execution }, argv, inputs: copies } = prepared;
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
        let mut disks = vec![image];
        disks.append(&mut images(&args.common)?);
        let scratch =
            args.scratch.map(|scratch| add(&mut disks, scratch_disk(scratch)?)).transpose()?;
        let mut inputs = Vec::new();
        for (PlaceArg { place, .. }, disk) in args.input.iter().zip(copies) {
            inputs.push((add(&mut disks, disk)?, place.clone()));
        }
        let (mut outputs, mut collected) = (Vec::new(), Vec::new());
        for PlaceArg { directory, place } in &args.output {
            let (disk, output) = output_disk(directory, args.max_out)?;
            outputs.push((add(&mut disks, disk)?, place.clone()));
            collected.push(output);
        }
        let task = Task {
            modules: Vec::new(),
            argv,
            env: [execution.env, term(args), args.env.clone()].concat(),
            workdir: args.workdir.clone().or(execution.workdir),
            user: args.user.clone().or(execution.user),
            hostname: args.hostname.clone().map(OsString::from),
            terminal: args.tty.then(terminal::size),
            scratch,
            inputs,
            outputs,
        };
        let initrd = initramfs::build(&agent, &modules, task)?;
        let console = args.console.as_deref().map(host::create).transpose()?;
        Ok(Self {
            kernel,
            name: format!("kernel {path:?}"),
            initrd: Some(initrd),
            cmdline: if args.common.earlycon { CMDLINE_EARLY } else { CMDLINE }.into(),
            memory: args.common.memory(),
            cpus: args.common.cpus,
            disks,
            terminal: args.tty,
            agent: true,
            console,
            early: args.common.earlycon,
            record: record(&args.common)?,
            output: args.common.limits().output,
            collected,
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
            memory: args.common.memory(),
            cpus: args.common.cpus,
            disks: images(&args.common)?,
            terminal: false,
            agent: false,
            console: None,
            early: args.common.earlycon,
            record: record(&args.common)?,
            output: args.common.limits().output,
            collected: Vec::new(),
            streams: None,
        })
    }
}

/// Where the guest's accesses are recorded, if they are to be.
fn record(args: &CommonArgs) -> Result<Option<File>> {
    args.record.as_deref().map(host::create_regular).transpose()
}

/// The variable that says of which kind the command's terminal is, if it has one.
fn term(args: &RunArgs) -> Vec<OsString> {
    let kind = std::env::var_os("TERM").filter(|kind| !kind.is_empty());
    let mut term = OsString::from("TERM=");
    term.push(kind.unwrap_or_else(|| "xterm".into()));
    args.tty.then_some(term).into_iter().collect()
}

/// Adds a disk; returns the name of its device in the guest.
fn add(disks: &mut Vec<Image>, disk: Image) -> Result<OsString> {
    let letter = (b'a'..=b'z').nth(disks.len()).context("too many disks")?;
    disks.push(disk);
    Ok(format!("/dev/vd{}", char::from(letter)).into())
}

/// An empty file system in a file without a name.
fn scratch_disk(scratch: ScratchArg) -> Result<Image> {
    let file = host::temporary()?;
    ext4::format(&file, scratch.size)?;
    Image::temporary(file, scratch.rates)
}

/// A file system with a copy of a directory.
fn input_disk(directory: &Path, args: &RunArgs) -> Result<Image> {
    let most = Most { bytes: args.max_in, option: "--max-in" };
    let file = of_directory(directory, most, &args.common.jail.insecure_allow_missing)
        .with_context(|| format!("cannot bring in {directory:?}"))?;
    Image::read_only(file)
}

/// An empty disk for an archive, and where what is in it goes.
fn output_disk(path: &Path, most: u64) -> Result<(Image, Output)> {
    let file = host::temporary()?;
    // No file system takes a file without any end.
    let most = most.min(MOST_OUT);
    let length = ARCHIVE + most_read(most);
    file.set_len(length - length % SECTOR).context("cannot size a temporary file")?;
    let disk = file.try_clone().context("cannot keep a temporary file")?;
    let directory = host::output_directory(path)?;
    let output = Output { path: path.to_owned(), directory, disk, most };
    Ok((Image::temporary(file, limits::SCRATCH)?, output))
}

/// What takes long to make for a guest, and needs neither its clock nor its signals.
#[derive(Debug)]
pub struct Prepared {
    root: Root,
    /// What is executed.
    argv: Vec<OsString>,
    /// File systems with what comes in.
    inputs: Vec<Image>,
}

/// Opens the root file system or builds it, and builds what comes in; refuses at once what cannot be run.
pub fn prepare(args: &RunArgs) -> Result<Prepared> {
    check_places(args)?;
    if args.rootfs.is_none() {
        command(args, &Execution::default())?;
    }
    let root = Root::of(args)?;
    let argv = command(args, &root.execution)?;
    let inputs = args.input.iter().map(|input| input_disk(&input.directory, args));
    Ok(Prepared { argv, inputs: inputs.collect::<Result<_>>()?, root })
}

/// Refuses two directories at one place.
fn check_places(args: &RunArgs) -> Result<()> {
    let mut taken = Vec::new();
    for PlaceArg { place, .. } in &args.input {
        if taken.contains(&place) {
            bail!("two directories come in at {place:?} (--in DIR:PATH gives each a place)");
        }
        taken.push(place);
    }
    for PlaceArg { place, .. } in &args.output {
        if taken.contains(&place) {
            bail!("{place:?} is taken already (--out DIR:PATH gives each directory a place)");
        }
        taken.push(place);
    }
    Ok(())
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
