//! What `run` and `boot` take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use devices::bounds::Bounds;
use worker::jail::layers::Layer;
use worker::layout;
use worker::memory::HUGE_PAGE;

use super::values::{
    DiskArg, FileArg, PlaceArg, ScratchArg, parse_disk, parse_env, parse_file, parse_hostname,
    parse_in, parse_memory, parse_out, parse_scratch, parse_user,
};
use crate::layers::{self, Requirement};
use crate::limits::{self, Limits, Time};
use crate::memory::Memory;

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Guest kernel, bzImage or ELF [default: a lean one if built, else the host's newest]
    #[arg(long, value_name = "FILE[,sha256=HEX]", value_parser = parse_file)]
    pub kernel: Option<FileArg>,
    /// The kernel's modules [default: lib/modules/VERSION beside the kernel's directory]
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Root file system: a raw squashfs, ext4 or erofs image, or what one is built of and kept
    /// in the cache: a directory, a container image, .tar, .tar.gz, .tgz, .tar.zst or .tzst
    /// [default: the image quickstart made]
    #[arg(long, value_name = "IMAGE[,sha256=HEX]", value_parser = parse_file)]
    pub rootfs: Option<FileArg>,
    /// How much the cache of built images may hold
    #[arg(long, value_name = "SIZE", default_value = limits::IMAGES,
          value_parser = limits::parse_bytes)]
    pub image_cache_size: u64,
    /// What is executed in place of the image's entrypoint and command; '' for neither
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,
    /// Set a variable in the command's environment, on top of the image's
    #[arg(long, value_name = "K=V", value_parser = parse_env)]
    pub env: Vec<OsString>,
    /// Directory to run the command in [default: the image's, else /]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// User to run the command as, by its name in the guest or a number, which is the group's
    /// too unless that is given [default: the image's, else root]
    #[arg(long, value_name = "USER[:GROUP]", value_parser = parse_user)]
    pub user: Option<OsString>,
    /// The guest's host name [default: casemate]
    #[arg(long, value_name = "NAME", value_parser = parse_hostname)]
    pub hostname: Option<String>,
    /// Pass stdin to the command, which is done anyway; `-it` is what people type
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal of its own, joined to yours as it is
    ///
    /// Every key goes to the guest, Ctrl-C too, and all of its output to your terminal, escape sequences
    /// too. Without it, a terminal only shows what the guest writes, and obeys nothing of it.
    #[arg(short, long)]
    pub tty: bool,
    /// Keep what is written to the root on a temporary disk of this size, not in guest memory
    ///
    /// A file without a name in $TMPDIR or /var/tmp, which grows as it is written to. `,max-rate=SIZE` and
    /// `,max-ops=N` bound bytes and requests in a second (256 MiB and 20000; `none` for no bound).
    #[arg(long, value_name = "SIZE[,OPTION…]", value_parser = parse_scratch)]
    pub scratch: Option<ScratchArg>,
    /// Give the guest a copy of a directory, for reading, at PATH (/in) [repeatable]
    #[arg(long = "in", value_name = "DIR[:PATH]", value_parser = parse_in)]
    pub input: Vec<PlaceArg>,
    /// How much may be in each of these directories
    #[arg(long, value_name = "SIZE", default_value = limits::IN, value_parser = limits::parse_bytes)]
    pub max_in: u64,
    /// Collect what the command leaves at PATH (/out) in a directory, which is made or has to be empty
    /// [repeatable]
    ///
    /// Files and directories come out, without owners and times. A link, a device, a set-id bit or more than
    /// --max-out refuses it all; then the exit status is 125, unless the command had another than 0.
    #[arg(long = "out", value_name = "DIR[:PATH]", value_parser = parse_out)]
    pub output: Vec<PlaceArg>,
    /// How much may come out to each of these directories
    #[arg(long, value_name = "SIZE", default_value = limits::OUT, value_parser = limits::parse_bytes)]
    pub max_out: u64,
    /// End the run if the command has not started by this time after the guest; `none` to wait for ever
    #[arg(long, value_name = "DURATION", default_value = limits::BOOT,
          value_parser = limits::parse_time)]
    pub boot_timeout: Time,
    /// Keep the kernel's console in a file, at most its first 16 MiB
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
    /// The command to run, and its arguments: in place of the image's command, and the arguments
    /// of its entrypoint if it has one
    #[arg(last = true, value_name = "COMMAND")]
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
    /// Take guest memory from the huge pages of 2 MiB that the host has set aside
    ///
    /// --mem is a multiple of 2 MiB then. All of it is reserved before the guest starts, or it does not start;
    /// the line that says so has the number that root has to set aside.
    #[arg(long)]
    pub hugepages: bool,
    /// Back guest memory with pages of 4 KiB alone, with no transparent huge pages
    ///
    /// A guest that needs little takes less, and none learns as much of physical addresses. Its work is slower.
    #[arg(long)]
    pub small_pages: bool,
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
    /// Give the guest a write-only early console, and show what it says there
    ///
    /// It is one more device, if a small one: I/O port 0x3f8, as Linux' `earlyprintk=ttyS0,115200` wants
    /// it (`boot` takes that on --cmdline). At most 512 lines are shown, and none of their control
    /// characters.
    #[arg(long)]
    pub earlycon: bool,
    /// Record what the guest does with its first disk and console, as a program for `casemate replay`
    ///
    /// The file has data of the guest's in it: what it writes to them, up to 4 MiB in all; what is typed is
    /// not. Each kick of a queue takes longer meanwhile.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
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

impl RunArgs {
    /// What the run is limited to.
    pub fn limits(&self) -> Limits {
        Limits { boot: self.boot_timeout, ..self.common.limits() }
    }
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
    /// Refuses what cannot be together.
    ///
    /// # Errors
    /// What that is, in a line.
    pub fn check(&self) -> Result<(), String> {
        if self.hugepages && self.small_pages {
            return Err("--hugepages and --small-pages exclude each other".to_owned());
        }
        if self.hugepages && !self.mem.is_multiple_of(HUGE_PAGE as u64) {
            let mebibytes = self.mem >> 20;
            return Err(format!(
                "--hugepages takes a multiple of 2 MiB for memory, and --mem is {mebibytes} MiB"
            ));
        }
        Ok(())
    }

    /// The guest's memory.
    pub fn memory(&self) -> Memory {
        match (self.hugepages, self.small_pages) {
            (true, _) => Memory::huge(self.mem),
            (_, true) => Memory::small(self.mem),
            _ => Memory::ordinary(self.mem),
        }
    }

    /// What any run is limited to.
    pub fn limits(&self) -> Limits {
        let output = Bounds { bytes: self.max_output, per_second: self.max_output_rate };
        Limits { time: self.timeout, boot: Time(None), output }
    }
}
