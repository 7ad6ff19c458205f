//! What `run` and `boot` take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use devices::bounds::Bounds;
use worker::jail::layers::Layer;
use worker::layout;

use super::values::{
    DiskArg, FileArg, parse_disk, parse_env, parse_file, parse_hostname, parse_memory, parse_user,
};
use crate::layers::{self, Requirement};
use crate::limits::{self, Limits, Time};

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
    /// Add a raw disk image
    ///
    /// For reading and writing; `,ro` for reading alone. With `,ephemeral` the guest may write, the
    /// image stays as it is, and what was written is gone with the run: `,max=SIZE` of it at most (4 GiB).
    /// `,max-rate=SIZE` and `,max-ops=N` bound bytes and requests in a second, `,sha256=HEX` refuses
    /// any other file.
    #[arg(long, value_name = "FILE[,OPTION…]", value_parser = parse_disk)]
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
    #[command(flatten)]
    pub jail: JailArgs,
    /// Write how the run ended, as a JSON object
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Take options from a TOML file; those on the command line stand in place of the file's
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the options that would be in force, as such a file, and run nothing
    #[arg(long)]
    pub print_config: bool,
}

/// What the jail has to be like.
#[derive(Debug, Args)]
pub struct JailArgs {
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
}

impl JailArgs {
    /// The options that weaken the default, as they were given.
    pub fn insecure(&self) -> Vec<String> {
        let missing = self.insecure_allow_missing.iter();
        let mut options: Vec<String> =
            missing.map(|layer| format!("insecure-allow-missing {}", layer.name())).collect();
        options.extend(self.insecure_learn_syscalls.then(|| "insecure-learn-syscalls".to_owned()));
        options
    }
}

impl CommonArgs {
    /// What the run is limited to.
    pub fn limits(&self) -> Limits {
        let output = Bounds { bytes: self.max_output, per_second: self.max_output_rate };
        Limits { time: self.timeout, output }
    }
}
