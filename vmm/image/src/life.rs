//! The life of the process: get jailed, get sealed, do what was ordered, end.
//!
//! What it may call once it is sealed is less than any worker may: it waits for the launcher's go, reads
//! one descriptor, writes another, and tells the launcher. Nothing is opened, and nothing is closed.

use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::Resource;
use worker::fds;
use worker::jail::seccomp::rules::{Pin, Rule};
use worker::jail::{self, leave};
use worker::status::Record;

use crate::build::{self, Built};
use crate::config;
use crate::error::Error;
use crate::inspect;
use crate::order::{self, Order, Task};
use crate::source::{Source, Window};
use crate::unpack::{self, Unpacked};
use crate::word::Word;

/// Private memory in bytes: room for as many entries and names as [`crate::tree`] takes.
pub const MEMORY: u64 = 1 << 30;
/// The same for unpacking: room for what [`crate::unpack`] keeps of names.
pub const UNPACK_MEMORY: u64 = 128 << 20;
/// Address space besides that in bytes: the program and its stack.
const ADDRESS_SPACE: u64 = 256 << 20;
/// The most that is said of an image, in bytes: text of which every byte is escaped.
pub const FOUND_MAX: u64 = 6 * config::LENGTH_MAX as u64;
/// The least that is copied between two words on progress, in bytes, and the most of such words.
const STEP: u64 = 4 << 20;
const STEPS: u64 = 256;

static STATUS: OnceLock<OwnedFd> = OnceLock::new();

/// Why nothing could even be begun.
#[derive(Debug, thiserror::Error)]
enum Unready {
    #[error(transparent)]
    Jail(#[from] jail::Error),
    #[error("descriptor {0} was not inherited")]
    Descriptor(RawFd),
    #[error("cannot look at the source: {0}")]
    Source(#[source] std::io::Error),
    #[error("cannot wait for the go: {0}")]
    Go(#[source] Errno),
}

/// What the work is done with.
struct Tools {
    source: Source,
    /// Length of the source in bytes.
    length: u64,
    result: &'static File,
    /// The launcher's pipe: what comes after the go asks for the end.
    go: ManuallyDrop<OwnedFd>,
}

fn write(record: &[u8]) {
    if let Some(status) = STATUS.get() {
        // When the launcher is gone there is nobody to tell.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(status, record));
    }
}

fn tell(word: &Word) {
    write(&word.encode());
}

/// Does what `order` says, to the end of the process.
pub fn live(order: &Order) -> ! {
    let tools = match get_ready(order) {
        Ok(tools) => tools,
        Err(error) => {
            write(&Record::Failed(error.to_string()).encode());
            leave(1)
        }
    };
    match obey(order, &tools) {
        Ok(word) => {
            tell(&word);
            leave(0)
        }
        Err(error) => {
            tell(&Word::Failed(error.to_string()));
            leave(1)
        }
    }
}

/// Puts on every layer, and says so.
fn get_ready(order: &Order) -> Result<Tools, Unready> {
    let unpacks = matches!(order.task, Task::Unpack { .. });
    let writable = unpacks.then_some(order::RESULT);
    let (jailed, mut inherited) = jail::enter_with(order.layers, Order::descriptors(), writable)?;
    let mut take = |number| inherited.take(number).ok_or(Unready::Descriptor(number));
    STATUS.get_or_init({
        let status = take(fds::STATUS)?;
        || status
    });
    // Never closed: the filter has no call for that, and the process ends with them.
    let source: Source = Box::leak(Box::new(File::from(take(order::SOURCE)?)));
    let result: &File = Box::leak(Box::new(File::from(take(order::RESULT)?)));
    let go = ManuallyDrop::new(take(fds::GO)?);
    let length = source.metadata().map_err(Unready::Source)?.len();
    // Permissions are the archive's; nothing else is made in this process.
    rustix::process::umask(rustix::fs::Mode::empty());
    let [_, file] = jail::next_descriptors()?;
    let limits = |next| limits(order.task, next);
    let sealed = jailed.seal_with(limits, &rules(order.task, file))?;
    std::panic::set_hook(Box::new(|panic| tell(&Word::Failed(panic.to_string()))));
    write(&Record::Sealed(sealed.landlock, sealed.listener).encode());
    let byte = rustix::io::retry_on_intr(|| rustix::io::read(&*go, &mut [0]));
    if byte.map_err(Unready::Go)? == 0 {
        // The launcher is gone, or wants nothing done behind the layers that it found.
        leave(1);
    }
    if unpacks {
        // From here on to be looked at, and not waited for.
        fcntl_setfl(&*go, OFlags::NONBLOCK).map_err(Unready::Go)?;
    }
    Ok(Tools { source, length, result, go })
}

fn obey(order: &Order, tools: &Tools) -> Result<Word, Error> {
    let Tools { source, length, result, .. } = *tools;
    match order.task {
        Task::Build { most, plain } => {
            let mut told = 0;
            let progress = |done: u64, all: u64| {
                if done - told >= STEP.max(all / STEPS) || (done == all && told < all) {
                    told = done;
                    tell(&Word::Progress(done, all));
                }
            };
            let built = build::build(source, length, result, most, plain, progress)?;
            let Built { counts, length, left_out } = built;
            Ok(Word::Built(counts, length, left_out))
        }
        Task::Unpack { most } => {
            // A byte more, or the launcher's end.
            let ends = || rustix::io::read(&*tools.go, &mut [0]) != Err(Errno::AGAIN);
            let directory = result.as_fd();
            let Unpacked { files, bytes } = unpack::unpack(source, length, directory, most, &ends)?;
            Ok(Word::Unpacked(files, bytes))
        }
        Task::Inspect => {
            let image = Window::all(source, length);
            let (shape, counts) = inspect::inspect(image)?;
            if let Some(config) = config::read(image, length)? {
                say(result, config::to_text(&config)?.as_bytes())?;
            }
            Ok(Word::Inspected(shape, counts))
        }
        Task::Execution => {
            let execution = config::execution(Window::all(source, length), length)?;
            say(result, &execution.encode())?;
            Ok(Word::Told)
        }
    }
}

fn say(mut result: &File, bytes: &[u8]) -> Result<(), Error> {
    result.write_all(bytes).map_err(Error::Write)
}

/// What the process is limited to. `next`: the number that the filter's listener will have; there is
/// no room for a descriptor after it, but for one file at a time that is unpacked.
pub fn limits(task: Task, next: u64) -> Vec<(Resource, u64)> {
    let longest = match task {
        Task::Build { most, .. } => build::most_written(most),
        Task::Inspect | Task::Execution => FOUND_MAX,
        Task::Unpack { most } => most,
    };
    let unpacks = matches!(task, Task::Unpack { .. });
    let memory = if unpacks { UNPACK_MEMORY } else { MEMORY };
    vec![
        (Resource::Data, memory),
        (Resource::As, memory + ADDRESS_SPACE),
        (Resource::Fsize, longest),
        (Resource::Nproc, 0),
        (Resource::Nofile, next + 1 + u64::from(unpacks)),
    ]
}

/// The allow-list. `file`: the number of every file that is unpacked, one at a time.
pub fn rules(task: Task, file: RawFd) -> Vec<Rule> {
    let rule = |number, name, descriptor: Option<RawFd>, reason| {
        let pin = |fd: RawFd| Pin { argument: 0, value: u64::from(fd.unsigned_abs()) };
        Rule { number, name, pins: descriptor.map(pin).into_iter().collect(), reason }
    };
    let result = Some(order::RESULT);
    let mut rules = match task {
        Task::Build { .. } => {
            vec![rule(libc::SYS_pwrite64, "pwrite64", result, "write the image")]
        }
        Task::Inspect | Task::Execution => {
            vec![rule(libc::SYS_write, "write", result, "what is found")]
        }
        // Where a path leads no filter can see: that is Landlock's part, and openat2's.
        Task::Unpack { .. } => vec![
            rule(libc::SYS_openat2, "openat2", result, "make a file"),
            rule(libc::SYS_mkdirat, "mkdirat", result, "make a directory"),
            rule(libc::SYS_unlinkat, "unlinkat", result, "take back what was made"),
            rule(libc::SYS_write, "write", Some(file), "write a file"),
            rule(libc::SYS_close, "close", Some(file), "be done with a file"),
            nonblocking(),
        ],
    };
    rules.extend([
        rule(libc::SYS_read, "read", Some(fds::GO), "wait for the go"),
        rule(libc::SYS_pread64, "pread64", Some(order::SOURCE), "read the source"),
        rule(libc::SYS_write, "write", Some(fds::STATUS), "tell the launcher"),
        rule(libc::SYS_brk, "brk", None, "the heap, within RLIMIT_DATA"),
        rule(libc::SYS_exit_group, "exit_group", None, "end"),
    ]);
    rules
}

/// The go is looked at while files are made: what comes after it asks for the end.
fn nonblocking() -> Rule {
    // rustix says that files may be large, and to a pipe that means nothing.
    let flag = u64::from((OFlags::NONBLOCK | OFlags::LARGEFILE).bits());
    let arguments = [(0, fds::GO.unsigned_abs().into()), (1, libc::F_SETFL.unsigned_abs().into())];
    let pins = arguments.into_iter().chain([(2, flag)]);
    Rule {
        number: libc::SYS_fcntl,
        name: "fcntl",
        pins: pins.map(|(argument, value)| Pin { argument, value }).collect(),
        reason: "look at the go without waiting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_calls_and_only_its_own_descriptors() {
        for task in [Task::Inspect, Task::Execution, Task::Build { most: 1, plain: false }] {
            let rules = rules(task, 1);
            assert_eq!(rules.len(), 6);
            for rule in rules {
                let free = matches!(rule.name, "brk" | "exit_group");
                assert_eq!(rule.pins.len(), usize::from(!free), "{}", rule.name);
                assert!(rule.pins.iter().all(|pin| {
                    pin.argument == 0
                        && Order::descriptors()
                            .iter()
                            .any(|fd| u64::from(fd.unsigned_abs()) == pin.value)
                }));
            }
        }
    }
}
