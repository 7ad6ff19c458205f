//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use devices::bounds::Bounds;
use worker::jail::layers::Layer;
use worker::layout;

use crate::doctor::DoctorArgs;
use crate::drill::DrillArgs;
use crate::host::sum::Sum;
use crate::image::ImageArgs;
use crate::layers::{self, Requirement};
use crate::limits::{self, Limits, Time};

const EXIT_STATUS: &str = "\
Exit status:
  the command's own; 128+N when signal N ended it
    2  usage
  118  the guest ended without a status (panic, reset, power-off)
  119  the guest broke the device contract
  120  the jail stopped a worker
  124  the time was up
  125  casemate could not do its part
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
    Run(RunArgs),
    /// Boot a kernel as it is
    ///
    /// The same sandbox without casemate's agent, for guests that bring their own init and for
    /// bare-metal guests. The first console is stdin and stdout. A guest ends the run with an exit
    /// code by writing it, one byte, to I/O port 0x603.
    #[command(after_help = after_help())]
    Boot(BootArgs),
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
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Guest kernel, bzImage or ELF [default: a lean one if built, else the host's newest]
    #[arg(long, value_name = "FILE[,sha256=HEX]", value_parser = parse_file)]
    pub kernel: Option<FileArg>,
    /// The kernel's modules [default: lib/modules/VERSION beside the kernel's directory]
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Root file system, a raw squashfs, ext4 or erofs image [default: the one quickstart made]
    #[arg(long, value_name = "IMAGE[,sha256=HEX]", value_parser = parse_file)]
    pub rootfs: Option<FileArg>,
    /// Set a variable in the command's environment
    #[arg(long, value_name = "K=V", value_parser = parse_env)]
    pub env: Vec<OsString>,
    /// Directory to run the command in [default: /]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// Numeric user to run the command as; the group is the same number unless given
    #[arg(long, value_name = "UID[:GID]", value_parser = parse_user)]
    pub user: Option<(u32, u32)>,
    /// The guest's host name [default: casemate]
    #[arg(long, value_name = "NAME", value_parser = parse_hostname)]
    pub hostname: Option<String>,
    /// Keep the kernel's console in a file, at most its first 16 MiB
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
    /// The command to run, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub argv: Vec<OsString>,
}

/// What `boot` takes.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// Guest kernel, bzImage or ELF
    #[arg(long, value_name = "FILE[,sha256=HEX]", value_parser = parse_file)]
    pub kernel: FileArg,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "STRING", default_value = "")]
    pub cmdline: OsString,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What both take.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Add a raw disk image, for reading and writing unless `,ro` is added
    #[arg(long, value_name = "FILE[,ro][,sha256=HEX]", value_parser = parse_disk)]
    pub disk: Vec<DiskArg>,
    /// Guest memory in MiB, or with a unit: 512M, 4G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_memory)]
    pub mem: u64,
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(layout::CPUS_MAX)))]
    pub cpus: u8,
    /// End the run after this time: 90s, 5min; `none` for no limit
    #[arg(long, value_name = "DURATION", default_value = limits::TIME,
          value_parser = limits::parse_time)]
    pub timeout: Time,
    /// Write at most so much of stdout, and of stderr; the rest is dropped and counted
    #[arg(long, value_name = "SIZE", default_value = limits::OUTPUT,
          value_parser = limits::parse_bytes)]
    pub max_output: u64,
    /// Write at most so much of each in a second; what comes faster is held back
    #[arg(long, value_name = "SIZE", default_value = limits::RATE,
          value_parser = limits::parse_rate)]
    pub max_output_rate: u64,
    /// Refuse to start without this layer in full, or below this level of it [repeatable]
    #[arg(long, value_name = "LAYER[>=LEVEL]", value_delimiter = ',',
          value_parser = layers::parse_requirement)]
    pub require: Vec<Requirement>,
    /// Start even where this layer is missing
    #[arg(long, value_name = "LAYER", value_delimiter = ',', value_parser = layers::parse_layer)]
    pub insecure_allow_missing: Vec<Layer>,
    /// Let workers make forbidden system calls, and list the rules that would allow them
    #[arg(long)]
    pub insecure_learn_syscalls: bool,
    /// Write how the run ended, as a JSON object
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl CommonArgs {
    /// What the run is limited to.
    pub fn limits(&self) -> Limits {
        let output = Bounds { bytes: self.max_output, per_second: self.max_output_rate };
        Limits { time: self.timeout, output }
    }

    /// The options that weaken the default, as they were given.
    pub fn insecure(&self) -> Vec<String> {
        let missing = self.insecure_allow_missing.iter();
        let mut options: Vec<String> =
            missing.map(|layer| format!("insecure-allow-missing {}", layer.name())).collect();
        options.extend(self.insecure_learn_syscalls.then(|| "insecure-learn-syscalls".to_owned()));
        options
    }
}

/// A disk as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// The image.
    pub path: PathBuf,
    /// Writes are refused.
    pub read_only: bool,
    /// What its SHA-256 has to be at the start.
    pub sum: Option<Sum>,
}

/// A file as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileArg {
    /// The file.
    pub path: PathBuf,
    /// What its SHA-256 has to be.
    pub sum: Option<Sum>,
}

fn parse_disk(text: &str) -> Result<DiskArg, String> {
    let (text, mut sum) = split_sum(text)?;
    let (text, read_only) = match text.strip_suffix(",ro") {
        Some(path) => (path, true),
        None => (text, false),
    };
    // In either order.
    let (path, before) = split_sum(text)?;
    if before.is_some() && sum.is_some() {
        return Err("it has two SHA-256".to_owned());
    }
    sum = sum.or(before);
    if path.is_empty() {
        return Err("no file is named".to_owned());
    }
    Ok(DiskArg { path: path.into(), read_only, sum })
}

fn parse_file(text: &str) -> Result<FileArg, String> {
    let (path, sum) = split_sum(text)?;
    if path.is_empty() {
        return Err("no file is named".to_owned());
    }
    Ok(FileArg { path: path.into(), sum })
}

/// Takes `,sha256=HEX` off the end.
fn split_sum(text: &str) -> Result<(&str, Option<Sum>), String> {
    match text.rsplit_once(",sha256=") {
        Some((path, hex)) if !hex.contains(',') => Ok((path, Some(hex.parse()?))),
        _ => Ok((text, None)),
    }
}

fn parse_env(text: &str) -> Result<OsString, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.into()),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

fn parse_user(text: &str) -> Result<(u32, u32), String> {
    let id = |id: &str| id.parse().map_err(|_| format!("{id:?} is not a number"));
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, id(gid)?)),
        None => Ok((id(text)?, id(text)?)),
    }
}

fn parse_hostname(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if (1..=64).contains(&text.len()) && letters {
        Ok(text.to_owned())
    } else {
        Err("it has to be 1 to 64 letters, digits, dots and dashes".to_owned())
    }
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let parser = parse_size::Config::new().with_binary();
    let bytes = match text.parse::<u64>() {
        Ok(mebibytes) => mebibytes.checked_mul(1 << 20).ok_or("too large")?,
        Err(_) => parser.parse_size(text).map_err(|_| "not a size: try 512M or 4G")?,
    };
    if bytes < layout::RAM_MIN {
        return Err(format!("at least {} MiB", layout::RAM_MIN >> 20));
    }
    if bytes > layout::RAM_MAX {
        return Err(format!("at most {} GiB", layout::RAM_MAX >> 30));
    }
    Ok(bytes.next_multiple_of(1 << 20))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn memory_sizes() {
        let rows: [(&str, Option<u64>); 12] = [
            ("128", Some(128)),
            ("128M", Some(128)),
            ("128MiB", Some(128)),
            ("5G", Some(5 * 1024)),
            ("32", Some(32)),
            ("512G", Some(512 * 1024)),
            ("31", None),
            ("513G", None),
            ("0", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("many", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_memory(text).ok(), expected.map(|mib| mib << 20), "{text}");
        }
    }

    #[test]
    fn other_values() {
        let disk =
            |path: &str, read_only| Some(DiskArg { path: path.into(), read_only, sum: None });
        assert_eq!(parse_disk("a.img").ok(), disk("a.img", false));
        assert_eq!(parse_disk("a,b.img,ro").ok(), disk("a,b.img", true));
        assert_eq!(parse_disk(",ro").ok(), None);
        let hex = "0123456789abcdef".repeat(4);
        let sum: Option<Sum> = hex.parse().ok();
        assert!(sum.is_some());
        let pinned = |path: &str, read_only| {
            Some(DiskArg { path: path.into(), read_only, sum: sum.clone() })
        };
        assert_eq!(parse_disk(&format!("a,b,sha256={hex}")).ok(), pinned("a,b", false));
        assert_eq!(parse_disk(&format!("a,ro,sha256={hex}")).ok(), pinned("a", true));
        assert_eq!(parse_disk(&format!("a,sha256={hex},ro")).ok(), pinned("a", true));
        let file = Some(FileArg { path: "a".into(), sum: sum.clone() });
        assert_eq!(parse_file(&format!("a,sha256={hex}")).ok(), file);
        let wrong = [
            format!("a,sha256={hex},sha256={hex}"),
            format!("a,sha256={}", &hex[1..]),
            format!("a,sha256={hex}0"),
            format!("a,sha256={}g", &hex[1..]),
            format!(",sha256={hex}"),
            "a,sha256=".to_owned(),
        ];
        for text in wrong {
            assert_eq!(parse_disk(&text).ok(), None, "{text}");
        }
        assert_eq!(parse_user("1000").ok(), Some((1000, 1000)));
        assert_eq!(parse_user("1000:5").ok(), Some((1000, 5)));
        for bad in ["", "root", "1:", ":1", "1:2:3", "-1", "4294967296"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
        assert!(parse_env("A=").is_ok() && parse_env("=b").is_err() && parse_env("A").is_err());
        assert!(parse_hostname("a-b.c").is_ok() && parse_hostname("").is_err());
        assert!(parse_hostname("a b").is_err() && parse_hostname(&"a".repeat(65)).is_err());
    }

    #[test]
    fn cpus_are_1_to_32_and_a_command_is_needed() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).is_ok();
        assert!(parse(&["casemate", "run", "--cpus", "32", "--", "true"]));
        for cpus in ["0", "33", "x"] {
            assert!(!parse(&["casemate", "run", "--cpus", cpus, "--", "true"]), "{cpus}");
        }
        assert!(!parse(&["casemate", "run"]));
        assert!(!parse(&["casemate", "run", "true"]));
    }
}
