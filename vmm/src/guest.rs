//! What shall run: every file open, every value checked, nothing started yet.

use std::ffi::OsString;
use std::fs::File;

use anyhow::Result;
use devices::bounds::Bounds;
use devices::throttle::Rates;
use protocol::task::Task;

use crate::cli::{Access, BootArgs, CommonArgs, DiskArg, FileArg, RunArgs};
use crate::host::{self, Image};
use crate::initramfs;

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
    pub fn with_agent(args: &RunArgs) -> Result<Self> {
        let FileArg { path, sum } = match &args.kernel {
            Some(kernel) => kernel.clone(),
            None => FileArg { path: host::kernel::default()?, sum: None },
        };
        let kernel = host::pinned("kernel", &path, sum.as_ref())?;
        let modules = match args.modules.clone().or_else(|| host::kernel::modules_dir(&path)) {
            Some(dir) => host::modules::load(&dir)?,
            None => Vec::new(),
        };
        let rootfs = match &args.rootfs {
            Some(rootfs) => rootfs.clone(),
            None => FileArg { path: host::default_rootfs()?, sum: None },
        };
        let root = DiskArg {
            path: rootfs.path,
            access: Access::Read,
            rates: Rates::NONE,
            sum: rootfs.sum,
        };
        let root = host::image("root file system", &root)?;
        let agent = host::read(host::companion("casemate-agent")?)?;
        let task = Task {
            modules: Vec::new(),
            argv: args.argv.clone(),
            env: args.env.clone(),
            workdir: args.workdir.clone(),
            user: args.user,
            hostname: args.hostname.clone().map(OsString::from),
        };
        let initrd = initramfs::build(&agent, &modules, task)?;
        let console = args.console.as_deref().map(host::create).transpose()?;
        let mut disks = vec![root];
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

fn images(args: &CommonArgs) -> Result<Vec<Image>> {
    args.disk.iter().map(|disk| host::image("disk image", disk)).collect()
}
