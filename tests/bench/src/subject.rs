//! Who is measured: programs, and what they are started with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bare::Op;
use serde_json::Value;
use tempfile::TempDir;

/// What the names of directories for benches begin with; the number of the process follows.
const PREFIX: &str = "casemate-bench-";

/// Where the programs are, and a directory for what they need.
#[derive(Debug)]
pub struct Bench {
    programs: PathBuf,
    dir: TempDir,
}

/// How one run of casemate went.
#[derive(Debug)]
pub struct Run {
    /// From exec to exit, in milliseconds.
    pub whole: f64,
    /// Its report.
    pub report: Value,
}

impl Run {
    /// When a phase was reached, in milliseconds from the beginning of `main`.
    pub fn phase(&self, name: &str) -> Result<f64> {
        let phase = &self.report["phases_ms"][name];
        phase.as_f64().with_context(|| format!("the report has no phase {name}"))
    }
}

impl Bench {
    /// The programs beside this one.
    pub fn new() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let programs = own.parent().context("this program has no directory")?.to_owned();
        for program in ["casemate", "casemate-worker", "floor"] {
            let path = programs.join(program);
            ensure!(path.exists(), "there is no {path:?}: cargo build --release --workspace");
        }
        remove_leftovers();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        Ok(Self { programs, dir })
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The path of a file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a bare guest.
    pub fn guest(&self, name: &str, program: &[Op]) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, bare::elf(program)).context("cannot write a guest")?;
        Ok(path)
    }

    /// Runs the floor: milliseconds from exec to exit, and from `main` to the guest.
    pub fn floor(&self, mebibytes: u64) -> Result<(f64, f64)> {
        let mut command = Command::new(self.program("floor"));
        command.arg(mebibytes.to_string()).stderr(Stdio::inherit());
        let begun = Instant::now();
        let output = command.output().context("cannot run the floor")?;
        let whole = milliseconds(begun);
        ensure!(output.status.success(), "the floor failed");
        let entered: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        Ok((whole, entered / 1000.0))
    }

    /// `casemate boot` of a guest with these options.
    pub fn boot(&self, guest: &Path, options: &[String]) -> Command {
        let mut command = Command::new(self.program("casemate"));
        command.arg("boot").arg("--kernel").arg(guest).args(options).stdin(Stdio::null());
        command
    }

    /// Runs a guest that ends with status 0.
    pub fn run(&self, guest: &Path, options: &[String]) -> Result<Run> {
        let report = self.path("report.json");
        let mut command = self.boot(guest, options);
        command.arg("--report").arg(&report).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status().context("cannot run casemate")?;
        let whole = milliseconds(begun);
        ensure!(status.success(), "casemate ended with {status}");
        let text = std::fs::read(&report).context("cannot read the report")?;
        Ok(Run { whole, report: serde_json::from_slice(&text)? })
    }
}

/// Removes the directories of benches that were killed.
fn remove_leftovers() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = rest.and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Somebody else's stays.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Milliseconds since `begun`.
pub fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
