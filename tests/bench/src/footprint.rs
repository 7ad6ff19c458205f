//! Footprint: what an idle sandbox costs in memory besides its guest's, and how many fit.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bare::Op;

use crate::sample::{Case, Series, Unit};
use crate::subject::{Bench, milliseconds};

/// A goal: all processes of a sandbox together, in MiB of proportional memory.
const PSS: f64 = 1.8;
/// A goal: private dirty memory of the process that has the most, in MiB.
const DIRTY: f64 = 0.35;
/// A launcher that has waited for a second gives its code back.
const SETTLED: Duration = Duration::from_millis(1200);
/// Memory that idle sandboxes may fill, in MiB.
const ROOM: f64 = 8192.0;
/// What the memory of a guest is called in a process's mappings.
const GUEST_MEMORY: &str = "guest-memory";

/// A sandbox whose guest waits for ever; it ends with this value.
struct Idle(Child);

impl Idle {
    fn start(bench: &Bench) -> Result<Self> {
        let forever = Op::Poll {
            width: bare::Width::Byte,
            addr: bare::FREE,
            mask: 1,
            value: 1,
            bound: u64::MAX,
            code: 1,
        };
        // A guest that halts costs no time while many of them wait.
        let guest = bench.guest("idle.elf", &[Op::Halt, forever])?;
        let options = ["--mem", "128", "--timeout", "1h"].map(str::to_owned);
        let mut command = bench.boot(&guest, &options);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let idle = Self(child);
        let begun = Instant::now();
        while idle.processes().len() < 3 || !idle.is_running() {
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("a sandbox did not start");
            }
            sleep(Duration::from_micros(200));
        }
        Ok(idle)
    }

    /// The launcher, its workers and its janitor.
    fn processes(&self) -> Vec<u32> {
        let launcher = self.0.id();
        let path = format!("/proc/{launcher}/task/{launcher}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(launcher).chain(children).collect()
    }

    /// A vCPU is in the guest: the launcher confined itself before it let it run.
    fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        status.is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory of one process besides the guest's, in MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    proportional: f64,
    private_dirty: f64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps"))
            .context("cannot read a worker's memory: run it as root")?;
        let mut memory = Self::default();
        let mut guests = false;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(field), Some(value)) = (words.next(), words.next()) else { continue };
            // A mapping begins with its addresses, a field with its name.
            if !field.ends_with(':') {
                guests = line.contains(GUEST_MEMORY);
                continue;
            }
            let Ok(kibibytes) = value.parse::<f64>() else { continue };
            match field {
                "Pss:" if !guests => memory.proportional += kibibytes / 1024.0,
                "Private_Dirty:" if !guests => memory.private_dirty += kibibytes / 1024.0,
                _ => {}
            }
        }
        Ok(memory)
    }
}

/// The memory of one idle sandbox.
pub fn footprint(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    // Pages of a program that was just built are dirty until they are on the disk, and count as such.
    for program in ["casemate", "casemate-worker"] {
        fs::File::open(bench.program(program))?.sync_all()?;
    }
    let (mut pss, mut dirty) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let idle = Idle::start(bench)?;
        sleep(SETTLED);
        let all: Vec<Memory> =
            idle.processes().into_iter().map(Memory::of).collect::<Result<_>>()?;
        pss.push(all.iter().map(|memory| memory.proportional).sum());
        dirty.push(all.iter().map(|memory| memory.private_dirty).fold(0.0, f64::max));
    }
    let case = |name: &str, goal, samples| {
        let goal_series = Series { subject: "goal".to_owned(), samples: vec![goal; rounds] };
        let ours = Series { subject: "casemate".to_owned(), samples };
        Case {
            bench: "footprint".into(),
            name: name.to_owned(),
            unit: Unit::Mebibytes,
            series: vec![goal_series, ours],
            goal: Some(1.0),
        }
    };
    Ok(vec![
        case("PSS of all processes", PSS, pss),
        case("private dirty, the process with the most", DIRTY, dirty),
    ])
}

/// How many idle sandboxes fit, and what starting one more takes along the way.
pub fn density(bench: &Bench, _rounds: usize) -> Result<Vec<Case>> {
    let before = available()?;
    let (mut all, mut times) = (Vec::new(), Vec::new());
    while before - available()? < ROOM {
        let begun = Instant::now();
        match Idle::start(bench) {
            Ok(idle) => all.push(idle),
            // Threads or descriptors can run out before memory does: what fits, fits.
            Err(_) if !all.is_empty() => break,
            Err(error) => return Err(error),
        }
        times.push(milliseconds(begun));
    }
    let used = before - available()?;
    let count = u32::try_from(all.len())?;
    let one = |subject: &str, value| Series { subject: subject.to_owned(), samples: vec![value] };
    let quarter = times.len().div_ceil(4);
    let span = |subject: &str, samples: &[f64]| Series {
        subject: subject.to_owned(),
        samples: samples.to_vec(),
    };
    let case = |name: &str, unit, series| Case {
        bench: "density".into(),
        name: name.to_owned(),
        unit,
        series,
        goal: None,
    };
    Ok(vec![
        case(
            "idle sandboxes in 8 GiB",
            Unit::Count,
            vec![one("casemate", f64::from(count) * ROOM / used.max(ROOM))],
        ),
        case(
            "memory of one more, all told",
            Unit::Mebibytes,
            vec![one("casemate", used / f64::from(count.max(1)))],
        ),
        case(
            "start of one more, until its guest runs",
            Unit::Milliseconds,
            vec![
                span("first quarter", &times[..quarter]),
                span("last quarter", &times[times.len() - quarter..]),
            ],
        ),
    ])
}

/// Memory that the host could still give, in MiB.
fn available() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let value = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    value.map(|kibibytes| kibibytes / 1024.0).context("the kernel does not tell its free memory")
}
