//! Linux guests, in casemate and in QEMU's microvm: the same kernel, memory, vCPU and disks.
//!
//! QEMU gets the devices that casemate has, and what of its own it can do without is off.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use cpio::newc::{Builder, trailer};
use tests::fixtures::Fixture;

use crate::subject::{Bench, Run, milliseconds};

/// What `first` writes to the exit port: casemate's status; QEMU's is twice that and one.
const CODE: i32 = 21;
/// Who is measured.
pub const PEERS: [&str; 2] = ["QEMU microvm", "casemate"];
/// Memory of every guest.
pub const MEBIBYTES: &str = "256";

/// What both boot.
#[derive(Debug)]
pub struct Machine {
    kernel: PathBuf,
    rootfs: PathBuf,
    initramfs: PathBuf,
}

impl Machine {
    /// The lean kernel, the Debian userland, and an initramfs with `first` in it.
    pub fn new(bench: &Bench) -> Result<Self> {
        let kernel = Fixture::Lean.find().map_err(|why| anyhow!(why))?;
        let rootfs = Fixture::Rootfs.find().map_err(|why| anyhow!(why))?;
        let program = std::fs::read(bench.program("first")).context("cannot read first")?;
        let mut entry =
            Builder::new("init").mode(0o100_755).write(Vec::new(), u32::try_from(program.len())?);
        std::io::Write::write_all(&mut entry, &program)?;
        let initramfs = bench.path("first.cpio");
        std::fs::write(&initramfs, trailer(entry.finish()?)?)?;
        // As an ELF file nothing has to be unpacked, by whichever of the two.
        Ok(Self { kernel: kernel.with_file_name("vmlinux"), rootfs, initramfs })
    }

    /// QEMU until `first` ends it.
    pub fn qemu_to_first(&self) -> Result<f64> {
        let mut command = self.qemu("quiet panic=-1 reboot=t");
        command.arg("-initrd").arg(&self.initramfs);
        command.args(["-device", "isa-debug-exit,iobase=0x603,iosize=1"]);
        timed(&mut command, 2 * CODE + 1)
    }

    /// casemate until `first` ends it.
    pub fn to_first(&self, bench: &Bench) -> Result<f64> {
        let mut command = bench.boot(&self.kernel, &["--mem", MEBIBYTES].map(str::to_owned));
        command.arg("--initrd").arg(&self.initramfs);
        command.args(["--cmdline", "quiet panic=-1 reboot=a"]);
        timed(&mut command, CODE)
    }

    /// QEMU with a command for its init, whose end is a panic that restarts the machine.
    pub fn qemu_runs(&self, program: &str) -> Result<f64> {
        let root = "quiet panic=-1 reboot=t root=/dev/vda rootfstype=squashfs ro";
        let mut command = self.qemu(&format!("{root} init={program}"));
        let drive =
            format!("id=root,file={},format=raw,if=none,readonly=on", self.rootfs.display());
        command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=root"]);
        timed(&mut command, 0)
    }

    /// casemate with the same command.
    pub fn runs(&self, bench: &Bench, cpus: &str, program: &str) -> Result<Run> {
        let mut command = Command::new(bench.program("casemate"));
        command.arg("run").arg("--kernel").arg(&self.kernel).arg("--rootfs").arg(&self.rootfs);
        command.args(["--mem", MEBIBYTES, "--cpus", cpus]);
        let report = bench.path("report.json");
        command.arg("--report").arg(&report).args(["--", program]);
        let whole = timed(&mut command, 0)?;
        Ok(Run { whole, report: serde_json::from_slice(&std::fs::read(&report)?)? })
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

/// Milliseconds from exec to exit of a command that ends with `status`.
fn timed(command: &mut Command, status: i32) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let ended =
        command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let took = milliseconds(begun);
    ensure!(ended.code() == Some(status), "{:?} ended with {ended}", command.get_program());
    Ok(took)
}
