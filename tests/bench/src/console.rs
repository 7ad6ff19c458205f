//! Console: bytes out, bytes in and the echo of one byte, against the same bytes through pipes and `cat`.
//!
//! A rate is that of the bytes between the first and the last, so that no start-up is in it. Guests wait
//! by looking.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bare::virtio::{Buffer, Queue, VERSION_1, bring_up};
use bare::{FREE, Op, Width};

use crate::sample::{Case, Series, Unit, in_turn};
use crate::subject::Bench;

const SUBJECTS: [&str; 2] = ["cat", "casemate"];
/// What casemate is given: without these it would keep output to 64 MiB a second.
const OPTIONS: [&str; 6] = ["--mem", "64", "--timeout", "5m", "--max-output-rate", "none"];
/// The console is device 0.
const DEVICE: u8 = 0;
/// Where the receive queue is, and a page behind it the transmit queue.
const QUEUES: u64 = FREE;
/// The buffers of a queue, one behind the other.
const BUFFERS: u64 = FREE + (1 << 20);
const PIECE: usize = 4096;
/// Chains in flight.
const DEPTH: u16 = 32;
/// Bytes that a benchmark moves in one round.
const MANY: usize = 64 << 20;
const FEW: usize = 1 << 20;
/// Echoes of which a round takes the middle.
const ECHOES: usize = 300;
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Exit code of a guest whose console fails it.
const FAILED: u8 = 1;

/// A way to write to the console.
struct Output {
    name: &'static str,
    /// Bytes of a chain, and of a write to `cat`.
    piece: usize,
    /// Chains in flight.
    depth: u16,
    /// Bytes in all.
    bytes: usize,
    /// Standard output is a file, not a pipe.
    file: bool,
}

const OUTPUTS: [Output; 3] = [
    Output {
        name: "out to a pipe, 4 KiB each",
        piece: PIECE,
        depth: DEPTH,
        bytes: MANY,
        file: false,
    },
    Output {
        name: "out to a file, 4 KiB each",
        piece: PIECE,
        depth: DEPTH,
        bytes: MANY,
        file: true,
    },
    Output { name: "out to a pipe, 64 bytes each", piece: 64, depth: 1, bytes: FEW, file: false },
];

/// The console's driver.
struct Driver {
    receive: Queue,
    transmit: Queue,
}

impl Driver {
    /// So many descriptors for each direction.
    fn new(receive: u16, transmit: u16) -> Self {
        let queue = |index, size| Queue { index, size, base: QUEUES + 0x1000 * u64::from(index) };
        Self { receive: queue(0, receive), transmit: queue(1, transmit) }
    }

    /// Makes the device ready, with a chain of one buffer in every slot of both queues.
    fn up(&self, received: usize, transmitted: usize) -> Vec<Op> {
        let mut ops = bring_up(DEVICE, VERSION_1, &[self.receive, self.transmit], FAILED);
        ops.extend(fill(&self.receive, received, true));
        ops.extend(fill(&self.transmit, transmitted, false));
        ops
    }

    /// Sends what lies in the next `count` buffers, over and over.
    fn send(&self, count: u16, times: usize) -> Op {
        Op::Repeat { count: times as u64, ops: self.transmit.again(DEVICE, count, FAILED) }
    }
}

/// A chain of one buffer of `len` bytes in every slot of a queue. Both queues have the same buffers.
fn fill(queue: &Queue, len: usize, writable: bool) -> impl Iterator<Item = Op> {
    (0..queue.size).flat_map(move |nth| {
        let slot = queue.avail() + 4 + 2 * u64::from(nth);
        let addr = BUFFERS + u64::from(nth) * PIECE as u64;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        [
            queue.chain(nth, &[Buffer { addr, len, writable }]),
            Op::Write { width: Width::Word, addr: slot, value: nth.into() },
        ]
    })
}

/// A program between two pipes, or a pipe and a file. Nothing is left of it when this value goes.
struct Piped(Child);

impl Piped {
    /// Starts a subject: `cat`, or casemate with a guest.
    fn start(bench: &Bench, subject: usize, guest: &Path, stdout: Stdio) -> Result<Self> {
        let mut command = match subject {
            0 => Command::new("cat"),
            _ => bench.boot(guest, &OPTIONS.map(str::to_owned)),
        };
        let child = command.stdin(Stdio::piped()).stdout(stdout).spawn();
        Ok(Self(child.with_context(|| format!("cannot run {}", SUBJECTS[subject]))?))
    }

    fn stdin(&mut self) -> Result<ChildStdin> {
        self.0.stdin.take().context("stdin is taken")
    }

    fn stdout(&mut self) -> Result<ChildStdout> {
        self.0.stdout.take().context("stdout is taken")
    }

    /// Waits for its end, which has to be a good one.
    fn end(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "a subject ended with {status}");
        Ok(())
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Output {
    fn guest(&self) -> Vec<Op> {
        let driver = Driver::new(1, self.depth);
        let mut ops = driver.up(PIECE, self.piece);
        ops.push(driver.send(self.depth, self.bytes / self.piece / usize::from(self.depth)));
        ops
    }

    fn measure(&self, bench: &Bench, rounds: usize) -> Result<Case> {
        let guest = bench.guest("out.elf", &self.guest())?;
        let series = in_turn(&SUBJECTS, rounds, |subject| self.rate(bench, subject, &guest))?;
        Ok(case(self.name, Unit::MebibytesPerSecond, series))
    }

    fn rate(&self, bench: &Bench, subject: usize, guest: &Path) -> Result<f64> {
        let file = File::create(bench.path("stdout"))?;
        let stdout = if self.file { file.try_clone()?.into() } else { Stdio::piped() };
        let mut piped = Piped::start(bench, subject, guest, stdout)?;
        let (mut stdin, piece, count) =
            (piped.stdin()?, vec![0; self.piece], self.bytes / self.piece);
        let feed = move || (0..count).try_for_each(|_| stdin.write_all(&piece));
        let feeder = (subject == 0).then(|| thread::spawn(feed));
        let rate = if self.file {
            rate_of(self.bytes, || {
                thread::sleep(Duration::from_micros(100));
                Ok(usize::try_from(file.metadata()?.len())?)
            })?
        } else {
            let (mut stdout, mut buffer, mut seen) = (piped.stdout()?, vec![0; 1 << 16], 0);
            rate_of(self.bytes, || {
                let count = stdout.read(&mut buffer)?;
                ensure!(count > 0, "the output ends after {seen} bytes");
                seen += count;
                Ok(seen)
            })?
        };
        if let Some(feeder) = feeder {
            feeder.join().map_err(|_| anyhow!("cannot feed cat"))??;
        }
        piped.end()?;
        Ok(rate)
    }
}

/// MiB a second between the first of so many bytes and the last. `seen` says how many there are up to now.
fn rate_of(bytes: usize, mut seen: impl FnMut() -> Result<usize>) -> Result<f64> {
    let started = Instant::now();
    let mut first = 0;
    while first == 0 {
        ensure!(started.elapsed() < PATIENCE, "nothing comes out");
        first = seen()?;
    }
    let begun = Instant::now();
    ensure!(first < bytes, "all came at once");
    while seen()? < bytes {
        ensure!(started.elapsed() < PATIENCE, "not everything comes out");
    }
    Ok(mebibytes(bytes - first) / begun.elapsed().as_secs_f64())
}

/// A guest that says so when it reads, and when it has read everything.
fn reader() -> Vec<Op> {
    let driver = Driver::new(DEPTH, 1);
    let mut ops = driver.up(PIECE, 1);
    ops.push(driver.send(1, 1));
    let mut round = driver.receive.again(DEVICE, DEPTH, FAILED);
    let (width, mask, value, code) = (Width::Long, u64::MAX, PIECE as u64, FAILED);
    let lengths = (0..DEPTH).map(|nth| driver.receive.used_len(nth));
    round.extend(lengths.map(|addr| Op::Expect { width, addr, mask, value, code }));
    ops.push(Op::Repeat { count: (MANY / PIECE / usize::from(DEPTH)) as u64, ops: round });
    ops.push(driver.send(1, 1));
    ops
}

/// What comes in on a pipe: until `cat`, its start included, has ended, or until the guest has it all.
fn input(bench: &Bench, rounds: usize) -> Result<Case> {
    let guest = bench.guest("in.elf", &reader())?;
    let data = vec![0; 16 * PIECE];
    let series = in_turn(&SUBJECTS, rounds, |subject| {
        let stdout = if subject == 0 { Stdio::null() } else { Stdio::piped() };
        let mut begun = Instant::now();
        let mut piped = Piped::start(bench, subject, &guest, stdout)?;
        let mut stdin = piped.stdin()?;
        let mut stdout = (subject != 0).then(|| piped.stdout()).transpose()?;
        if let Some(stdout) = &mut stdout {
            stdout.read_exact(&mut [0]).context("the guest does not start")?;
            begun = Instant::now();
        }
        (0..MANY / data.len()).try_for_each(|_| stdin.write_all(&data))?;
        drop(stdin);
        match &mut stdout {
            Some(stdout) => stdout.read_exact(&mut [0]).context("the guest has not read it all")?,
            None => drop(piped.0.wait()?),
        }
        let seconds = begun.elapsed().as_secs_f64();
        piped.end()?;
        Ok::<_, anyhow::Error>(mebibytes(MANY) / seconds)
    })?;
    Ok(case("in from a pipe", Unit::MebibytesPerSecond, series))
}

/// From the write of a byte until it has come back.
fn echo(bench: &Bench, rounds: usize) -> Result<Case> {
    let driver = Driver::new(1, 1);
    let mut ops = driver.up(PIECE, 1);
    let mut round = driver.receive.again(DEVICE, 1, FAILED);
    round.extend(driver.transmit.again(DEVICE, 1, FAILED));
    ops.push(Op::Repeat { count: u64::MAX, ops: round });
    let guest = bench.guest("echo.elf", &ops)?;
    let series = in_turn(&SUBJECTS, rounds, |subject| {
        let mut piped = Piped::start(bench, subject, &guest, Stdio::piped())?;
        let (mut stdin, mut stdout) = (piped.stdin()?, piped.stdout()?);
        let mut samples = Vec::new();
        for _ in 0..=ECHOES {
            let begun = Instant::now();
            stdin.write_all(b"e")?;
            stdout.read_exact(&mut [0])?;
            samples.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        // The first waited for the start.
        samples.remove(0);
        Ok::<_, anyhow::Error>(Series { subject: String::new(), samples }.median())
    })?;
    Ok(case("echo of a byte", Unit::Microseconds, series))
}

#[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn case(name: &str, unit: Unit, series: Vec<Series>) -> Case {
    Case { bench: "console".into(), name: name.to_owned(), unit, series, goal: None }
}

/// The console both ways, and there and back.
pub fn console(bench: &Bench, rounds: usize) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> =
        OUTPUTS.iter().map(|output| output.measure(bench, rounds)).collect::<Result<_>>()?;
    cases.push(input(bench, rounds)?);
    cases.push(echo(bench, rounds)?);
    Ok(cases)
}
