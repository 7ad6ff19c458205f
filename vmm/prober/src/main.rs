//! Plays a worker that a guest has taken over. `casemate drill` starts it; it is no part of a sandbox
//! that runs a guest.

mod attacks;
mod raw;
mod walk;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::OnceLock;

use prober::answer::Answer;
use prober::bait::Bait;
use worker::fds;
use worker::plan::Plan;
use worker::workers;

use attacks::{Attack, Attacker};
use raw::{at, call, int};

/// What the prober is to do once it is sealed.
enum Task {
    Attack(Attack, Bait),
    /// Try every system call.
    Walk,
}

struct Prober {
    plan: Plan,
    task: Task,
    low: u32,
}

static PROBER: OnceLock<Prober> = OnceLock::new();

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let Some(prober) = parse(&args) else {
        eprintln!("casemate-prober: it is started by casemate drill, not by hand");
        return ExitCode::from(2);
    };
    let prober = PROBER.get_or_init(|| prober);
    workers::live(&prober.plan, Some(take_over))
}

fn parse(args: &[OsString]) -> Option<Prober> {
    let plan = Plan::from_args(args).ok()?;
    let attack = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("attack="))?;
    let task = match attack {
        "walk" => Task::Walk,
        id => Task::Attack(attacks::find(id)?, Bait::from_args(args)?),
    };
    Some(Prober { plan, task, low: low_page()? })
}

/// A page below 4 GiB with the path of /etc/passwd in it.
fn low_page() -> Option<u32> {
    const READ_WRITE: u64 = 3;
    const PRIVATE_ANONYMOUS_32BIT: u64 = 0x62;
    let args = [0, 4096, READ_WRITE, PRIVATE_ANONYMOUS_32BIT, int(-1), 0];
    let page = u32::try_from(call(libc::SYS_mmap, &args).ok()?).ok()?;
    raw::put(page, b"/etc/passwd\0");
    Some(page)
}

/// From here on this is the attacker.
fn take_over(kvm: &[RawFd]) -> ! {
    let answer = PROBER.get().map_or(Answer::Failed(raw::IN_VAIN), |prober| match &prober.task {
        Task::Walk => walk::all(&prober.plan, kvm),
        Task::Attack(attack, bait) => {
            let served = prober.plan.served().next().map_or(0, |(index, _)| index);
            let attacker = Attacker {
                bait: bait.clone(),
                kvm: kvm.to_vec(),
                low: prober.low,
                control: fds::control(served),
                kick: fds::kick(served, 0),
            };
            match attack(&attacker) {
                Ok(()) => Answer::Through(0),
                Err(errno) => Answer::Failed(errno),
            }
        }
    });
    let bytes = answer.encode();
    let _ = call(libc::SYS_write, &[int(fds::STATUS), at(&bytes), bytes.len() as u64]);
    worker::jail::leave(0)
}
