//! The guest's PID 1: the initramfs' `/init`.
//!
//! It loads the kernel's modules, opens the channel to the host, puts a private overlay over the
//! read-only root disk, runs the task's command there, carries its streams, writes what shall come out to
//! its disks, says how it ended and powers the guest off. One thread serves everything, a second one only reaps processes.
//!
//! | ends with | when |
//! |---|---|
//! | `Exited`, `Signaled` as the last frame | the command ran |
//! | `Failed` as the last frame | the command could not be run |
//! | one line on the kernel's console, exit code 125 at the I/O port | there is no channel |
//! | one line on the kernel's console | the host broke the protocol, or the agent itself is broken |
//!
//! Invariant: whatever happens, the guest ends; the agent never waits for anybody but the command and
//! the host's credit for its output.

#![cfg_attr(not(test), no_main)]

mod channel;
mod collect;
mod command;
mod console;
mod device;
mod environment;
mod failure;
mod input;
mod modules;
mod mounts;
mod network;
mod output;
mod reaper;
mod root;
mod serve;
mod shutdown;
mod streams;
mod sys;
mod user;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use protocol::frame::FromGuest;
use protocol::task::{self, Task};

use crate::channel::Channel;
use crate::failure::{Failed, cause};
use crate::modules::Modules;
use crate::reaper::End;

/// The C entry: Rust's own one needs a `/dev/null`, which no initramfs has before `/dev` is mounted.
#[cfg_attr(
    not(test),
    expect(unsafe_code, reason = "an exported symbol named main, as the C runtime wants it"),
    unsafe(no_mangle)
)]
extern "C" fn main() -> ! {
    if !rustix::process::getpid().is_init() {
        eprintln!("casemate-agent: runs only as the first process of a casemate guest");
        std::process::exit(2);
    }
    shutdown::on_panic();
    if let Err(errno) = mounts::devices() {
        shutdown::without_channel(&format!("cannot mount devtmpfs at /dev: {}", cause(errno)));
    }
    console::open();
    let task = read_task();
    let modules = Modules::load(task.as_ref().map_or(&[], |task| &task.modules));
    let mut channel = Channel::open().unwrap_or_else(|errno| {
        let cause = cause(errno);
        // A task that cannot be read names no modules, so it is the first thing to tell.
        let task =
            task.as_ref().map_or_else(|failed| format!("{}; ", failed.text), |_| String::new());
        shutdown::without_channel(&format!(
            "{task}no channel to the host: cannot open {}: {cause}; the guest kernel needs \
             virtio_mmio and virtio_console{modules}",
            channel::PATH
        ))
    });
    let last = task.and_then(|task| run(&task, &modules, &mut channel));
    let sent = channel.finish(&match &last {
        Ok(End::Exited(code)) => FromGuest::Exited(*code),
        Ok(End::Signaled(signal)) => FromGuest::Signaled(*signal),
        Err(Failed { failure, text }) => FromGuest::Failed(*failure, text),
    });
    if let Err(errno) = sent {
        console::say(&format!("cannot write to the channel: {}", cause(errno)));
    }
    shutdown::power_off()
}

/// Runs the task from the root disk to the command's end, and leaves every disk clean.
fn run(task: &Task, modules: &Modules, channel: &mut Channel) -> Result<End, Failed> {
    root::enter(task, modules)?;
    let name = task.hostname.as_deref().unwrap_or(OsStr::new("casemate"));
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| {
        Failed::setup(format!("cannot set host name {name:?}: {}", cause(errno)))
    })?;
    network::loopback();
    collect::prepare(task)?;
    let command = command::start(task)?;
    let reaper = reaper::start(command.pid)?;
    let ended = serve::serve(channel, command, reaper);
    if ended.is_ok() {
        collect::collect(task);
    }
    shutdown::settle();
    ended.map_err(|breach| shutdown::give_up(&breach.to_string()))
}

/// Reads the task, which then only takes memory away from the guest.
fn read_task() -> Result<Task, Failed> {
    let bytes = std::fs::read(task::PATH).map_err(|error| {
        Failed::setup(format!("cannot read {} of the initramfs: {error}", task::PATH))
    })?;
    mounts::forget(task::PATH);
    Task::decode(&bytes).map_err(|malformed| Failed::setup(malformed.to_string()))
}
