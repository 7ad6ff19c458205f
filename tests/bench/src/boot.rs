//! Boot: a Linux guest's way to PID 1 and to the end of a command, against QEMU's microvm with the same kernel.
//!
//! To be run where KVM runs Linux guests. QEMU gets the devices that casemate has, in its fastest form.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use cpio::newc::{Builder, trailer};
use tests::fixtures::Fixture;

use crate::sample::{Case, Series, Unit, in_turn};
use crate::subject::{Bench, Run, milliseconds};

/// What `first` writes to the exit port: casemate's status; QEMU's is twice that and one.
const CODE: i32 = 21;
/// At most so many times QEMU's.
const GOAL: f64 = 0.6;
const MEBIBYTES: &str = "256";
const VCPUS: [&str; 3] = ["1", "2", "4"];
/// Of a command's run, by their names in the report.
const PHASES: [&str; 5] =
    ["kernel_entered", "agent_up", "command_started", "command_ended", "ended"];

/// Boots that end at PID 1, and that run a command.
pub fn boot(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let machine = Machine::new(bench)?;
    let peers = ["QEMU microvm", "casemate"];
    let first = in_turn(&peers, rounds, |subject| match subject {
        0 => timed(&mut machine.qemu_to_first(), 2 * CODE + 1),
        _ => timed(&mut machine.to_first(bench), CODE),
    })?;
    let mut phases = vec![Vec::new(); PHASES.len()];
    let command = in_turn(&peers, rounds, |subject| {
        if subject == 0 {
            return timed(&mut machine.qemu_to_true(), 0);
        }
        let run = machine.to_true(bench, "1")?;
        for (samples, phase) in phases.iter_mut().zip(PHASES) {
            samples.push(run.phase(phase)?);
        }
        Ok(run.whole)
    })?;
    let by_vcpus =
        in_turn(&VCPUS.map(|cpus| if cpus == "1" { "1 vCPU" } else { cpus }), rounds, |index| {
            Ok::<_, anyhow::Error>(machine.to_true(bench, VCPUS[index])?.whole)
        })?;
    let phases = PHASES.iter().zip(phases).map(|(phase, samples)| Series {
        subject: phase.replace('_', " "),
        // The first round does not count.
        samples: samples[1..].to_vec(),
    });
    Ok(vec![
        case("exec to PID 1's end, the same initramfs", first, Some(GOAL)),
        case("exec to the exit of /bin/true", command, Some(GOAL)),
        case("from main, in a run of /bin/true", phases.collect(), None),
        case("exec to the exit of /bin/true by vCPUs", by_vcpus, None),
    ])
}

fn case(name: &str, series: Vec<Series>, goal: Option<f64>) -> Case {
    Case {
        bench: "boot".into(),
        name: format!("{name}, {MEBIBYTES} MiB"),
        unit: Unit::Milliseconds,
        series,
        goal,
    }
}

/// What is booted.
struct Machine {
    kernel: PathBuf,
    rootfs: PathBuf,
    initramfs: PathBuf,
}

impl Machine {
    fn new(bench: &Bench) -> Result<Self> {
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

    fn qemu(&self, cmdline: &str) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let machine = "microvm,accel=kvm,rtc=off,isa-serial=off";
        command.args(["-M", machine, "-cpu", "host", "-m", MEBIBYTES]);
        command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).arg("-append").arg(cmdline);
        command
    }

    fn qemu_to_first(&self) -> Command {
        let mut command = self.qemu("quiet panic=-1 reboot=t");
        command.arg("-initrd").arg(&self.initramfs);
        command.args(["-device", "isa-debug-exit,iobase=0x603,iosize=1"]);
        command
    }

    /// Its init is the command, whose end is a panic that restarts the machine.
    fn qemu_to_true(&self) -> Command {
        let mut command = self
            .qemu("quiet panic=-1 reboot=t root=/dev/vda rootfstype=squashfs ro init=/bin/true");
        let drive =
            format!("id=root,file={},format=raw,if=none,readonly=on", self.rootfs.display());
        command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=root"]);
        command
    }

    fn to_first(&self, bench: &Bench) -> Command {
        let mut command = bench.boot(&self.kernel, &["--mem", MEBIBYTES].map(str::to_owned));
        command.arg("--initrd").arg(&self.initramfs);
        command.args(["--cmdline", "quiet panic=-1 reboot=a"]);
        command
    }

    fn to_true(&self, bench: &Bench, cpus: &str) -> Result<Run> {
        let mut command = Command::new(bench.program("casemate"));
        command.arg("run").arg("--kernel").arg(&self.kernel).arg("--rootfs").arg(&self.rootfs);
        command.args(["--mem", MEBIBYTES, "--cpus", cpus]);
        let report = bench.path("report.json");
        command.arg("--report").arg(&report).args(["--", "/bin/true"]);
        let whole = timed(&mut command, 0)?;
        Ok(Run { whole, report: serde_json::from_slice(&std::fs::read(&report)?)? })
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
