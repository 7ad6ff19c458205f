//! The hostile guest: for each class of virtio device bugs (V1 to V29, each from real ones) a bare-metal guest
//! tries it from inside a virtual machine, and the host is looked at afterwards.
//!
//! Each case begins with both devices in use. It ends in one of two ways: the guest broke the contract, so the
//! run ends with that violation; or the guest did what a guest may, and then the other device works as if
//! nothing had happened, and the one that was tried works after a reset. Either way the image is what it
//! was but for writes that were answered OK, the workers used little time and memory, and the host
//! has one line and a short report of it at most. `HOSTILE-GUEST.md` is made of the table; with
//! `CASEMATE_WRITE` set, it is written instead of compared.

mod document;
mod rows;
mod tries;

use std::time::Duration;

use bare::Op;
use devices::violation::Violation;
use rustix::process::Signal;
use tests::guests::{Console, Disk};
use tests::run::{End, Run};
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

/// Bytes of the disk.
const DISK: usize = 16 * 512;
/// The most that the worker of a device may have resident, in KiB: code, buffers, and what it touched of
/// guest memory, of which no case gives it more than a few pages.
const MEMORY: u64 = 16 * 1024;
/// The most processor time of a device worker, in ticks of 10 ms.
const TICKS: u64 = 300;
/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest report, in bytes.
const REPORT: usize = 16 * 1024;

/// How a case ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The guest broke the contract, as this worker found.
    Violation(&'static str, Violation),
    /// The guest goes on.
    GoesOn,
}

/// What the guest does with both devices up. What it has to find, it checks itself.
type Try = fn() -> Vec<Op>;

/// Which device is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Console,
    Disk,
}

/// One class of bugs.
struct Row {
    class: &'static str,
    what: &'static str,
    cases: &'static [(&'static str, Of, Try, Ends)],
    /// Where the rest of it is shown, or why there is none.
    rest: &'static str,
}

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for row in rows::ROWS {
        for &(name, of, attempt, ends) in row.cases {
            let title = format!("hostile::{}::{}", row.class, name.replace(' ', "_"));
            tests.push(Test::new(title, &[Need::Kvm], move || case(of, attempt, ends)));
        }
    }
    tests.push(Test::new("hostile::the_document_is_the_table", &[], document::is_the_table));
    tests
}

fn case(of: Of, attempt: Try, ends: Ends) {
    let dir = Scratch::new();
    let image = noise(11, DISK);
    dir.write("disk.img", &image);
    let program = around(of, attempt(), &image);
    let run = Run::boot(&dir, &program).args(&["--disk", "disk.img", "--mem", "3G"]);
    let end = match ends {
        Ends::Violation(worker, violation) => {
            let end = run.limit(PATIENCE).end();
            end.exits(119).outcome("violation").blames(worker).prints("before\n");
            end.explains(&[worker, &violation.to_string()]);
            end
        }
        Ends::GoesOn => goes_on(run),
    };
    assert_same(&dir.read("disk.img"), &image, "the image");
    bounded(&end, dir.read(tests::run::REPORT).len());
}

/// Waits until both devices have shown that they work, and looks at what that took and whether it is over.
fn goes_on(run: Run<'_>) -> End {
    let mut running = run.limit(PATIENCE).start();
    running.await_stdout("after\n");
    let workers = ["console", "blk0"].map(|name| running.worker(name));
    let took = workers.each_ref().map(|worker| worker.cpu_ticks());
    std::thread::sleep(Duration::from_millis(200));
    let idle = workers.each_ref().map(|worker| worker.cpu_ticks());
    running.signal(Signal::TERM);
    let end = running.end();
    end.exits(143).outcome("interrupted").prints("before\nafter\n");
    end.check(took.iter().all(|ticks| *ticks < TICKS), &format!("busy for {took:?} ticks"));
    let still = idle.iter().zip(took).any(|(then, now)| then - now > 2);
    end.check(!still, "a worker is busy although there is nothing to do");
    end
}

/// Both devices are used; the one that is to be tried is reset and tried; then it works after a reset, and
/// the other one as it is.
fn around(of: Of, attempt: Vec<Op>, image: &[u8]) -> Vec<Op> {
    let (mut console, mut disk) = (Console::new(), Disk::new(0));
    let mut ops = console.up();
    ops.extend(console.say("before\n"));
    ops.extend(disk.up());
    ops.extend(disk.read(0, &image[..512]));
    match of {
        Of::Disk => {
            ops.extend(tries::disk_again());
            ops.extend(attempt);
            ops.extend(tries::disk_again());
            ops.extend(Disk::new(0).read(0, &image[..512]));
            ops.extend(console.say("after\n"));
        }
        Of::Console => {
            ops.extend(tries::console_again());
            ops.extend(attempt);
            ops.extend(disk.read(1, &image[512..1024]));
            ops.extend(tries::console_again());
            ops.extend(Console::new().say("after\n"));
        }
    }
    ops.push(Op::Halt);
    ops
}

fn bounded(end: &End, report: usize) {
    end.check(end.stderr.len() < 300, "a long stderr");
    end.check(report < REPORT, "a long report");
    let workers = end.report.as_ref().and_then(|report| report["workers"].as_array());
    let workers = workers.cloned().unwrap_or_default();
    end.check(workers.len() == 3, "three workers");
    for worker in workers.iter().filter(|worker| worker["name"] != "vcpu") {
        let peak = worker["peak_memory_kib"].as_u64();
        end.check(peak.is_some_and(|peak| peak < MEMORY), "too much memory");
    }
}
