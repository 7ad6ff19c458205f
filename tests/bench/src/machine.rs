//! Linux guests, in casemate and in its peers: the same kernel, memory, vCPU and disks.
//!
//! Each peer gets the devices that casemate has, and what of its own it can do without is off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ::tests::fixtures::Fixture;
use ::tests::suite::has_program;
use anyhow::{Context, Result, anyhow, ensure};
use cpio::newc::{Builder, trailer};
use serde_json::{Value, json};

use crate::cpu_time;
use crate::subject::{Bench, Run, milliseconds};

/// What `first` and `load` write to the exit port: casemate's status; QEMU's is twice that and one. Firecracker has
/// no such port, and ends with 0 when the guest restarts because its init has ended.
const CODE: i32 = 21;
/// Memory of every guest.
pub const MEBIBYTES: &str = "256";

/// How long a run may take, in seconds of the host's clock: in an emulated host a guest has been seen to wait for
/// ever. It is run again then.
const SECONDS: &str = "5";
const ATTEMPTS: usize = 5;
/// Of every guest: silent, and restarted when its init ends.
const QUIET: &str = "quiet panic=-1";
const ROOT: &str = "root=/dev/vda rootfstype=squashfs ro";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// QEMU's microvm, which the others are compared with.
    Qemu,
    /// casemate, from the directory of this program.
    Casemate,
    /// Firecracker, by its documentation.
    Firecracker,
}

impl Peer {
    /// Those that are here.
    pub fn all() -> Vec<Self> {
        let others = has_program("firecracker").then_some(Self::Firecracker);
        [Self::Qemu, Self::Casemate].into_iter().chain(others).collect()
    }

    /// As the table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU microvm",
            Self::Casemate => "casemate",
            Self::Firecracker => "Firecracker",
        }
    }
}

/// What all of them boot.
#[derive(Debug)]
pub struct Machine {
    kernel: PathBuf,
    rootfs: PathBuf,
    first: PathBuf,
    load: PathBuf,
}

/// One guest.
struct Guest<'a> {
    initramfs: Option<&'a Path>,
    disk: Option<Disk<'a>>,
    /// Of the kernel's command line, besides how it restarts.
    words: String,
}

struct Disk<'a> {
    image: &'a Path,
    read_only: bool,
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
        // As an ELF file nothing has to be unpacked, by whichever of them.
        let kernel = kernel.with_file_name("vmlinux");
        let (first, load) = (initramfs(bench, "first")?, initramfs(bench, "load")?);
        Ok(Self { kernel, rootfs, first, load })
    }

    /// Until `first` ends it: milliseconds.
    pub fn to_first(&self, bench: &Bench, peer: Peer) -> Result<f64> {
        let guest = Guest { initramfs: Some(&self.first), disk: None, words: QUIET.to_owned() };
        Ok(self.boots(bench, peer, &guest)?.whole)
    }

    /// Until `load` has used the disk in `image`. With each of them a write is durable after a flush.
    pub fn loads(&self, bench: &Bench, peer: Peer, image: &Path, load: &str) -> Result<Spent> {
        let disk = Some(Disk { image, read_only: false });
        let words = format!("{QUIET} -- {load}");
        self.boots(bench, peer, &Guest { initramfs: Some(&self.load), disk, words })
    }

    /// Until a program of the userland has ended as init, whose end is a panic that restarts the machine:
    /// milliseconds. Not of casemate, which [runs](Self::runs) it as a command.
    pub fn ends_as_init(&self, bench: &Bench, peer: Peer, program: &str) -> Result<f64> {
        let disk = Some(Disk { image: &self.rootfs, read_only: true });
        let words = format!("{QUIET} {ROOT} init={program}");
        let guest = Guest { initramfs: None, disk, words };
        Ok(self.boots(bench, peer, &guest)?.whole)
    }

    /// `casemate run` of a program.
    pub fn runs(&self, bench: &Bench, cpus: &str, program: &str) -> Result<Run> {
        let mut command = Command::new(bench.program("casemate"));
        command.arg("run").arg("--kernel").arg(&self.kernel).arg("--rootfs").arg(&self.rootfs);
        command.args(["--mem", MEBIBYTES, "--cpus", cpus]);
        let report = bench.path("report.json");
        command.arg("--report").arg(&report).args(["--", program]);
        let whole = timed(&command, 0)?.whole;
        Ok(Run { whole, report: serde_json::from_slice(&std::fs::read(&report)?)? })
    }

    /// A guest until it ends.
    fn boots(&self, bench: &Bench, peer: Peer, guest: &Guest<'_>) -> Result<Spent> {
        let by_port = guest.initramfs.is_some();
        match peer {
            Peer::Qemu => timed(&self.qemu(guest), if by_port { 2 * CODE + 1 } else { 0 }),
            Peer::Casemate => timed(&self.casemate(bench, guest), CODE),
            Peer::Firecracker => timed(&self.firecracker(bench, guest)?, 0),
        }
    }

    fn casemate(&self, bench: &Bench, guest: &Guest<'_>) -> Command {
        let mut command = bench.boot(&self.kernel, &["--mem", MEBIBYTES].map(str::to_owned));
        command.arg("--cmdline").arg(format!("reboot=a {}", guest.words));
        command.args(guest.initramfs.into_iter().flat_map(|file| [Path::new("--initrd"), file]));
        let disks = guest.disk.iter();
        command.args(disks.flat_map(|disk| [Path::new("--disk"), disk.image]));
        command
    }

    fn qemu(&self, guest: &Guest<'_>) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let machine = "microvm,accel=kvm,rtc=off,isa-serial=off";
        command.args(["-M", machine, "-cpu", "host", "-m", MEBIBYTES]);
        command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel);
        command.arg("-append").arg(format!("reboot=t {}", guest.words));
        if let Some(file) = guest.initramfs {
            command.arg("-initrd").arg(file);
            command.args(["-device", "isa-debug-exit,iobase=0x603,iosize=1"]);
        }
        if let Some(Disk { image, read_only }) = &guest.disk {
            let read_only = if *read_only { "on" } else { "off" };
            let drive = format!(
                "id=disk,file={},format=raw,if=none,cache=writeback,readonly={read_only}",
                image.display()
            );
            command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk"]);
        }
        command
    }

    fn firecracker(&self, bench: &Bench, guest: &Guest<'_>) -> Result<Command> {
        let path = bench.path("firecracker.json");
        let config = self.firecracker_config(guest)?;
        std::fs::write(&path, config.to_string()).context("cannot write a configuration")?;
        let mut command = Command::new("firecracker");
        command.args(["--no-api", "--config-file"]).arg(path);
        Ok(command)
    }

    fn firecracker_config(&self, guest: &Guest<'_>) -> Result<Value> {
        let drive = |disk: &Disk<'_>| {
            json!({
                "drive_id": "disk", "path_on_host": disk.image, "is_root_device": false,
                "is_read_only": disk.read_only, "cache_type": "Writeback",
            })
        };
        let mut boot = json!({
            "kernel_image_path": self.kernel,
            "boot_args": format!("reboot=k {}", guest.words),
        });
        if let Some(file) = guest.initramfs {
            boot["initrd_path"] = json!(file);
        }
        Ok(json!({
            "boot-source": boot,
            "drives": guest.disk.iter().map(drive).collect::<Vec<_>>(),
            "machine-config": {"vcpu_count": 1, "mem_size_mib": MEBIBYTES.parse::<u32>()?},
        }))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Its kernel and disk, and what becomes of it, are the others'.
    #[test]
    fn what_firecracker_is_told() {
        let [kernel, rootfs, first, load] = ["vmlinux", "root", "first", "load"].map(PathBuf::from);
        let machine = Machine { kernel, rootfs, first, load };
        let disk = |read_only| Some(Disk { image: Path::new("disk"), read_only });
        let rows = [
            (Some(Path::new("first")), None, json!("first"), json!([])),
            (Some(Path::new("load")), disk(false), json!("load"), json!([[false, "disk"]])),
            (None, disk(true), Value::Null, json!([[true, "disk"]])),
        ];
        for (initramfs, disk, initrd, drives) in rows {
            let guest = Guest { initramfs, disk, words: QUIET.to_owned() };
            let config = machine.firecracker_config(&guest).unwrap();
            let boot = &config["boot-source"];
            assert_eq!(boot["kernel_image_path"], "vmlinux");
            assert_eq!(boot["boot_args"], "reboot=k quiet panic=-1");
            assert_eq!(boot.get("initrd_path").unwrap_or(&Value::Null), &initrd);
            let told = config["drives"].as_array().unwrap().iter();
            let told = told.map(|drive| json!([drive["is_read_only"], drive["path_on_host"]]));
            assert_eq!(told.collect::<Value>(), drives);
            assert_eq!(config["machine-config"], json!({"vcpu_count": 1, "mem_size_mib": 256}));
        }
    }
}
