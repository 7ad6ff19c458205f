//! Linux guests, in casemate and in QEMU's microvm: the same kernel, memory, vCPU and disks.
//!
//! QEMU gets the devices that casemate has, and what of its own it can do without is off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use cpio::newc::{Builder, trailer};
use tests::fixtures::Fixture;

use crate::cpu_time;
use crate::subject::{Bench, Run, milliseconds};

/// What `first` and `load` write to the exit port: casemate's status; QEMU's is twice that and one.
const CODE: i32 = 21;
/// Who is measured.
pub const PEERS: [&str; 2] = ["QEMU microvm", "casemate"];
/// Memory of every guest.
pub const MEBIBYTES: &str = "256";

/// How long a run may take, in seconds of the host's clock: in an emulated host a guest of QEMU's has been seen to
/// wait for an interrupt for ever. It is run again then.
const SECONDS: &str = "5";
const ATTEMPTS: usize = 5;
/// Of every guest that is ended by its init.
const QUIET: &str = "quiet panic=-1";
const QEMU_EXIT: [&str; 2] = ["-device", "isa-debug-exit,iobase=0x603,iosize=1"];

/// What both boot.
#[derive(Debug)]
pub struct Machine {
    kernel: PathBuf,
    rootfs: PathBuf,
    first: PathBuf,
    load: PathBuf,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// From exec to exit, in milliseconds.
    pub whole: f64,
    /// Of the processor, by all of its processes, in milliseconds.
    pub cpu: f64,
}

impl Spent {
    /// What is left of it when what another run took is taken off.
    pub fn without(self, other: Self) -> Self {
        Self { whole: self.whole - other.whole, cpu: self.cpu - other.cpu }
    }
}

impl Machine {
    /// The lean kernel, the Debian userland, and initramfs with `first` and with `load`.
    pub fn new(bench: &Bench) -> Result<Self> {
        let kernel = Fixture::Lean.find().map_err(|why| anyhow!(why))?;
        let rootfs = Fixture::Rootfs.find().map_err(|why| anyhow!(why))?;
        // As an ELF file nothing has to be unpacked, by whichever of the two.
        let kernel = kernel.with_file_name("vmlinux");
        let (first, load) = (initramfs(bench, "first")?, initramfs(bench, "load")?);
        Ok(Self { kernel, rootfs, first, load })
    }

    /// QEMU until `first` ends it.
    pub fn qemu_to_first(&self) -> Result<f64> {
        let mut command = self.qemu(&format!("{QUIET} reboot=t"));
        command.arg("-initrd").arg(&self.first).args(QEMU_EXIT);
        Ok(timed(&command, 2 * CODE + 1)?.whole)
    }

    /// casemate until `first` ends it.
    pub fn to_first(&self, bench: &Bench) -> Result<f64> {
        Ok(timed(&self.casemate(bench, &self.first, ""), CODE)?.whole)
    }

    /// QEMU until `load` has used the disk in `image`. As in casemate, a write is durable after a flush.
    pub fn qemu_loads(&self, image: &Path, load: &str) -> Result<Spent> {
        let mut command = self.qemu(&format!("{QUIET} reboot=t -- {load}"));
        command.arg("-initrd").arg(&self.load).args(QEMU_EXIT);
        let drive = format!("id=disk,file={},format=raw,if=none,cache=writeback", image.display());
        command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk"]);
        timed(&command, 2 * CODE + 1)
    }

    /// casemate until `load` has done the same.
    pub fn loads(&self, bench: &Bench, image: &Path, load: &str) -> Result<Spent> {
        let mut command = self.casemate(bench, &self.load, load);
        command.arg("--disk").arg(image);
        timed(&command, CODE)
    }

    /// QEMU with a command for its init, whose end is a panic that restarts the machine.
    pub fn qemu_runs(&self, program: &str) -> Result<f64> {
        let root = "quiet panic=-1 reboot=t root=/dev/vda rootfstype=squashfs ro";
        let mut command = self.qemu(&format!("{root} init={program}"));
        let drive =
            format!("id=root,file={},format=raw,if=none,readonly=on", self.rootfs.display());
        command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=root"]);
        Ok(timed(&command, 0)?.whole)
    }

    /// casemate with the same command.
    pub fn runs(&self, bench: &Bench, cpus: &str, program: &str) -> Result<Run> {
        let mut command = Command::new(bench.program("casemate"));
        command.arg("run").arg("--kernel").arg(&self.kernel).arg("--rootfs").arg(&self.rootfs);
        command.args(["--mem", MEBIBYTES, "--cpus", cpus]);
        let report = bench.path("report.json");
        command.arg("--report").arg(&report).args(["--", program]);
        let whole = timed(&command, 0)?.whole;
        Ok(Run { whole, report: serde_json::from_slice(&std::fs::read(&report)?)? })
    }

    /// `casemate boot` with a program as PID 1.
    fn casemate(&self, bench: &Bench, initramfs: &Path, arguments: &str) -> Command {
        let mut command = bench.boot(&self.kernel, &["--mem", MEBIBYTES].map(str::to_owned));
        command.arg("--initrd").arg(initramfs);
        command.arg("--cmdline").arg(format!("{QUIET} reboot=a -- {arguments}"));
        command
    }

    fn qemu(&self, cmdline: &str) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let machine = "microvm,accel=kvm,rtc=off,isa-serial=off";
        command.args(["-M", machine, "-cpu", "host", "-m", MEBIBYTES]);
        command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).arg("-append").arg(cmdline);
        command
    }
}

/// An initramfs whose init is a program of this crate.
fn initramfs(bench: &Bench, name: &str) -> Result<PathBuf> {
    let program =
        std::fs::read(bench.program(name)).with_context(|| format!("cannot read {name}"))?;
    let mut entry =
        Builder::new("init").mode(0o100_755).write(Vec::new(), u32::try_from(program.len())?);
    std::io::Write::write_all(&mut entry, &program)?;
    let path = bench.path(&format!("{name}.cpio"));
    std::fs::write(&path, trailer(entry.finish()?)?)?;
    Ok(path)
}

/// What a command takes that ends with `status`.
fn timed(command: &Command, status: i32) -> Result<Spent> {
    let mut last = once(command, status);
    for _ in 1..ATTEMPTS {
        let Err(why) = &last else { break };
        eprintln!("bench: {why:#}; again");
        last = once(command, status);
    }
    last
}

/// What it takes this time; killed if it does not end in `SECONDS`.
fn once(command: &Command, status: i32) -> Result<Spent> {
    let program = command.get_program();
    let mut bounded = Command::new("timeout");
    bounded.args(["--signal", "KILL", SECONDS]).arg(program).args(command.get_args());
    bounded.stdin(Stdio::null()).stdout(Stdio::null());
    let (begun, used) = (Instant::now(), cpu_time::of_children()?);
    let ended = bounded.status().with_context(|| format!("cannot run {program:?}"))?;
    let spent = Spent { whole: milliseconds(begun), cpu: cpu_time::of_children()? - used };
    ensure!(ended.code() == Some(status), "{program:?} ended with {ended}");
    Ok(spent)
}
