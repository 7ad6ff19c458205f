//! What is the same in every run: system calls, instructions, sizes of programs, memory. Kept within stored limits.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bare::Op;

use crate::disk;
use crate::footprint::footprint;
use crate::sample::{Case, Series, Unit};
use crate::subject::Bench;

/// Requests of the run whose system calls are counted for each request.
const REQUESTS: u64 = 1000;
/// The same for what the device core does in one process: rings and buffers come round in so many.
const SERVED: u64 = 1024;
/// Devices as `requests` has them.
const DEVICES: [(&str, &str); 2] =
    [("blk", "a block request of 4 KiB"), ("console", "64 bytes to a console")];
/// The C library chooses among its ways to copy memory by the processor: none of a newer one's.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX2,-ERMS,-FSRM";
/// What a sandbox is made of.
const PROGRAMS: [&str; 4] = ["casemate", "casemate-worker", "casemate-image", "casemate-agent"];
/// Calls that are made again for as long as there is nothing to do.
const WAITING: [&str; 2] = [" ppoll(", " read("];
/// A number may grow by this part before it is over its limit.
const HEAD_ROOM: f64 = 0.05;

/// Numbers that are the same however busy the machine is.
pub fn repeatable(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let request = calls_of_a_request(bench)?;
    let mut cases = vec![
        count(
            "system calls of a run that ends at once, but for waiting",
            calls(bench, &[Op::Exit(0)], &[])?.busy,
        ),
        count("system calls for a block request", request.all),
        count("exits to a process for a block request", request.exits),
    ];
    for (device, what) in DEVICES {
        let work = work_of_a_request(bench, device)?;
        cases
            .push(count(&format!("instructions of the device core for {what}"), work.instructions));
        cases.push(count(&format!("allocations of the device core for {what}"), work.allocations));
    }
    for program in PROGRAMS {
        let size = std::fs::metadata(bench.program(program))
            .with_context(|| format!("there is no {program}"))?
            .len();
        #[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
        let mebibytes = size as f64 / f64::from(1 << 20);
        cases.push(one(&format!("size of {program}"), Unit::Mebibytes, mebibytes));
    }
    // Without its goals, which are compared with elsewhere.
    for case in footprint(bench, rounds)? {
        cases.extend(case.series.last().map(|ours| one(&case.name, case.unit, ours.median())));
    }
    Ok(cases)
}

/// Compares with the limits in `path`, by name.
pub fn check(cases: &[Case], path: &Path) -> Result<()> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
    let limits: BTreeMap<String, f64> = serde_json::from_slice(&text)?;
    let mut over = Vec::new();
    for case in cases.iter().filter(|case| case.bench == "repeatable") {
        let limit = limits.get(&case.name);
        let limit = limit.with_context(|| format!("{path:?} has no limit for {:?}", case.name))?;
        let value = case.series.first().map_or(f64::NAN, Series::median);
        if value.is_nan() || value > limit * (1.0 + HEAD_ROOM) {
            over.push(format!("{}: {value:.3}, and {limit:.3} is stored", case.name));
        }
    }
    ensure!(over.is_empty(), "over their limits: {}", over.join("; "));
    Ok(())
}

/// What a limits file for these numbers says.
pub fn limits(cases: &[Case]) -> Result<String> {
    let of = |case: &Case| {
        let median = case.series.first().map_or(f64::NAN, Series::median);
        (case.name.clone(), (median * 1000.0).round() / 1000.0)
    };
    let limits: BTreeMap<String, f64> =
        cases.iter().filter(|case| case.bench == "repeatable").map(of).collect();
    Ok(serde_json::to_string_pretty(&limits)? + "\n")
}

fn one(name: &str, unit: Unit, value: f64) -> Case {
    let series = vec![Series { subject: "casemate".to_owned(), samples: vec![value] }];
    Case { bench: "repeatable".into(), name: name.to_owned(), unit, series, goal: None }
}

fn count(name: &str, value: f64) -> Case {
    one(name, Unit::Count, value)
}

/// System calls of all processes of a run.
#[derive(Clone, Copy)]
struct Calls {
    all: f64,
    /// Those that do not wait: how often a process has to look again depends on who is faster.
    busy: f64,
    /// Those that let a vCPU run: one for each exit that KVM does not answer itself.
    exits: f64,
}

/// System calls that a block request adds to a run.
fn calls_of_a_request(bench: &Bench) -> Result<Calls> {
    let image = bench.path("image");
    std::fs::write(&image, vec![0; 1 << 20]).context("cannot write an image")?;
    let options = ["--disk".to_owned(), image.display().to_string()];
    let with = calls(bench, &disk::requests_one_by_one(REQUESTS), &options)?;
    let without = calls(bench, &disk::requests_one_by_one(0), &options)?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let for_each = |with: f64, without: f64| (with - without) / REQUESTS as f64;
    Ok(Calls {
        all: for_each(with.all, without.all),
        busy: for_each(with.busy, without.busy),
        exits: for_each(with.exits, without.exits),
    })
}

/// The fewest system calls of some runs: waiting may take one more or less.
fn calls(bench: &Bench, guest: &[Op], options: &[String]) -> Result<Calls> {
    let guest = bench.guest("counted.elf", guest)?;
    let mut fewest = Calls { all: f64::INFINITY, busy: f64::INFINITY, exits: f64::INFINITY };
    for _ in 0..5 {
        let calls = traced(bench, &bench.boot(&guest, options))?;
        fewest.all = fewest.all.min(calls.all);
        fewest.busy = fewest.busy.min(calls.busy);
        fewest.exits = fewest.exits.min(calls.exits);
    }
    Ok(fewest)
}

fn traced(bench: &Bench, run: &Command) -> Result<Calls> {
    let trace = bench.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&trace);
    strace.arg(run.get_program()).args(run.get_args());
    let status = strace.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.context("cannot run strace (Debian's package strace)")?;
    if !status.success() {
        bail!("casemate under strace ended with {status}");
    }
    let text = std::fs::read_to_string(&trace)?;
    // A call that was interrupted by another process's is continued in a line of its own.
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("resumed>"));
    let count = |wanted: fn(&str) -> bool| {
        let found = calls.clone().filter(|line| wanted(line)).count();
        Ok::<_, anyhow::Error>(f64::from(u32::try_from(found)?))
    };
    Ok(Calls {
        all: count(|_| true)?,
        busy: count(|line| !WAITING.iter().any(|call| line.contains(call)))?,
        exits: count(|line| line.contains("KVM_RUN"))?,
    })
}

/// What a process does between its system calls.
struct Work {
    instructions: f64,
    allocations: f64,
}

/// What a request adds to a process in which the device core serves requests.
fn work_of_a_request(bench: &Bench, device: &str) -> Result<Work> {
    let (more, less) = (work(bench, device, 2 * SERVED)?, work(bench, device, SERVED)?);
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let for_each = |more: f64, less: f64| (more - less) / SERVED as f64;
    Ok(Work {
        // How the program begins differs by a few instructions from run to run.
        instructions: for_each(more.instructions, less.instructions).round(),
        allocations: for_each(more.allocations, less.allocations),
    })
}

fn work(bench: &Bench, device: &str, requests: u64) -> Result<Work> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(bench.program("requests")).args([device, &requests.to_string()]);
    let output = valgrind.env("GLIBC_TUNABLES", PLAIN).stdin(Stdio::null()).output();
    let output = output.context("cannot run valgrind (Debian's package valgrind)")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind ended with {}: {told}", output.status);
    // ==1234== I   refs:      1,234,567
    let counted = told.lines().find_map(|line| line.split_once("refs:"));
    let (_, counted) = counted.with_context(|| format!("valgrind counted nothing: {told}"))?;
    Ok(Work {
        instructions: counted.trim().replace(',', "").parse()?,
        allocations: String::from_utf8_lossy(&output.stdout).trim().parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_grow_by_a_twentieth_and_each_has_to_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("limits.json");
        std::fs::write(&path, limits(&[count("calls", 100.0)]).unwrap()).unwrap();
        for (value, good) in [(90.0, true), (105.0, true), (105.1, false), (f64::NAN, false)] {
            assert_eq!(check(&[count("calls", value)], &path).is_ok(), good, "{value}");
        }
        assert!(check(&[count("others", 1.0)], &path).is_err());
    }
}
