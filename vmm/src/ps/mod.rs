//! `casemate ps`: the running sandboxes of this user.
//!
//! There is no daemon and no file to look at: /proc is the list, so nothing can be left behind in it. A
//! launcher is known by its name and its command line; what its guest got, by the plan that its vcpu
//! worker was started with. A host that hides processes from their own user (`hidepid=2`) hides these too,
//! because they are not dumpable.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

mod sandbox;
mod text;

use crate::host::processes::{Process, uptime};
use crate::say;

/// What `ps` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct PsArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// What a run is called as long as its launcher lives: the launcher's process id and when it began, which
/// no other process of this host has both of. In hexadecimal: `1a2b-3c4d5e`.
pub fn id(launcher: &Process) -> String {
    format!("{:x}-{:x}", launcher.pid, launcher.begun)
}

/// Lists the running sandboxes; returns the exit status.
pub fn run(args: &PsArgs) -> Result<u8> {
    let own = Process::own()?;
    let user = rustix::process::getuid().as_raw();
    let mut sandboxes = sandbox::find(&own, user, &Process::all()?, &Clock::now()?);
    sandboxes.sort_by(|a, b| a.started.cmp(&b.started).then(a.pid.cmp(&b.pid)));
    let text = match args.json {
        true => serde_json::to_string_pretty(&sandboxes)? + "\n",
        false => text::table(&sandboxes),
    };
    say(&text)?;
    Ok(0)
}

/// What time it is, on the clock that processes' beginnings are counted on and on the wall.
pub struct Clock {
    uptime: f64,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Result<Self> {
        Ok(Self { uptime: uptime()?, wall: SystemTime::now() })
    }

    /// How old a process is that began at this tick, and when that was.
    fn age(&self, begun: u64) -> Result<(Duration, String)> {
        let begun = u32::try_from(begun / rustix::param::clock_ticks_per_second())?;
        let age = Duration::from_secs_f64((self.uptime - f64::from(begun)).max(0.0));
        let started = self.wall.checked_sub(age).context("the clock is before 1970")?;
        Ok((age, humantime::format_rfc3339_seconds(started).to_string()))
    }
}
