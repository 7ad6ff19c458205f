//! The processes of a run, as /proc has them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper,
    waitpid,
};

/// How long something may take that takes no time on a machine with nothing else to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's id.
    pub parent: i32,
    /// When it started: with the id, this is the same process and no later one.
    started: u64,
    /// Ended and not yet waited for.
    zombie: bool,
    /// The first word of its command line: for a worker, `casemate-` and its name.
    pub name: String,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // The program's name may hold anything, blanks and parentheses too.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            pid: Pid::from_raw(pid)?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            zombie: fields.first() == Some(&"Z"),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    /// The process with this id, which runs.
    pub fn of(pid: Pid) -> Self {
        Self::read(pid.as_raw_nonzero().get()).unwrap()
    }

    /// True while the process runs.
    pub fn is_alive(&self) -> bool {
        let now = Self::read(self.pid.as_raw_nonzero().get());
        now.is_some_and(|now| now.started == self.started && !now.zombie)
    }

    /// Waits until the process has ended. False if it has not within [`PATIENCE`].
    pub fn await_end(&self) -> bool {
        let Ok(pidfd) = pidfd_open(self.pid, PidfdFlags::empty()) else { return !self.is_alive() };
        if !self.is_alive() {
            return true;
        }
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let limit = Timespec::try_from(PATIENCE).ok();
        poll(&mut fds, limit.as_ref()).is_ok_and(|count| count > 0)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid)).join(below)
    }

    /// Its open descriptors: number, and what it is open on.
    pub fn descriptors(&self) -> BTreeMap<i32, String> {
        descriptors_of(self.pid)
    }

    /// The flags that descriptor `number` was opened with, as open(2) has them.
    pub fn flags(&self, number: i32) -> u32 {
        let text = std::fs::read_to_string(self.path(&format!("fdinfo/{number}"))).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap()
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(self.path("task")).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.map(|name| name.unwrap().trim_end().to_owned()).collect()
    }

    /// The bytes of each of its mappings of an object whose name holds `part`.
    pub fn mappings_of(&self, part: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.path("maps")).unwrap();
        let lines = text.lines().filter(|line| line.contains(part));
        let size = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            Some(number(end)? - number(start)?)
        };
        lines.filter_map(size).collect()
    }

    /// The bytes of a page of each of these mappings.
    pub fn page_sizes_of(&self, part: &str) -> Vec<u64> {
        let sizes = self.fields_of(part, "KernelPageSize:").into_iter();
        sizes.map(|size| size.trim_end_matches(" kB").parse::<u64>().unwrap() << 10).collect()
    }

    /// A field of each of these mappings, as /proc/PID/smaps has it.
    pub fn fields_of(&self, part: &str, field: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("smaps")).unwrap();
        let mut wanted = false;
        let mut values = Vec::new();
        for line in text.lines() {
            let (name, value) = line.split_once(char::is_whitespace).unwrap_or_default();
            // A mapping begins with its addresses, a field with its name.
            if !name.ends_with(':') {
                wanted = line.contains(part);
            } else if wanted && name == field {
                values.push(value.trim().to_owned());
            }
        }
        values
    }

    /// The ids of its threads, its own first.
    pub fn thread_ids(&self) -> Vec<i32> {
        let tasks = std::fs::read_dir(self.path("task")).unwrap();
        let names = tasks.map(|task| task.unwrap().file_name());
        let mut ids: Vec<i32> = names.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
        ids.sort_unstable();
        ids
    }

    /// A field of the status of one of its threads; empty if the kernel does not tell.
    pub fn status(&self, thread: i32, field: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("task/{thread}/status"))).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    }

    /// Which namespace of a kind one of its threads is in.
    pub fn namespace(&self, thread: i32, kind: &str) -> PathBuf {
        std::fs::read_link(self.path(&format!("task/{thread}/ns/{kind}"))).unwrap()
    }

    /// A hard and a soft limit, as /proc/PID/limits has them.
    pub fn limit(&self, name: &str) -> (String, String) {
        let text = std::fs::read_to_string(self.path("limits")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let soft = words.next().unwrap();
        (words.next().unwrap(), soft)
    }

    /// The time it has run, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(self.path("stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
        // utime and stime are the 14th and 15th field; state, the first one here, is the third.
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Its mounts, a line each.
    pub fn mounts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("mountinfo")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The names in its root directory.
    pub fn root_entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("root")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Its environment as it was given.
    pub fn environment(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("environ")).unwrap()).into_owned()
    }
}

/// The open descriptors of a process: number, and what it is open on.
pub fn descriptors_of(pid: Pid) -> BTreeMap<i32, String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let entries = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    });
    entries.collect()
}

/// Every process there is.
pub fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read).collect()
}

/// The processes that `parent` started and that still run.
pub fn children_of(parent: Pid) -> Vec<Process> {
    let parent = parent.as_raw_nonzero().get();
    all().into_iter().filter(|process| process.parent == parent && !process.zombie).collect()
}

/// The control groups of the sandbox that launcher `pid` made.
pub fn groups_of(pid: Pid) -> Vec<PathBuf> {
    fn search(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(name) {
                found.push(entry.path());
            }
            search(&entry.path(), name, found);
        }
    }
    let mut found = Vec::new();
    search(Path::new("/sys/fs/cgroup"), &format!("casemate-{pid}-"), &mut found);
    found
}

/// How many bytes of memory a process may have that is alone in a control group of launcher `pid`'s.
pub fn alone_with(process: &Process, pid: Pid) -> u64 {
    let id = process.pid.to_string();
    let members = |group: &PathBuf| {
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let groups = groups_of(pid).into_iter();
    let own: Vec<_> = groups.filter(|group| members(group).contains(&id)).collect();
    assert!(!own.is_empty(), "{} is in no group of its launcher's", process.name);
    assert!(own.iter().all(|group| members(group) == [id.clone()]), "somebody else is in {own:?}");
    let files = own
        .iter()
        .flat_map(|group| ["memory.max", "memory.limit_in_bytes"].map(|file| group.join(file)));
    let limit = files.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap();
    limit.trim().parse().unwrap()
}

/// Ids of the children that this process started itself.
static OWN: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// From now on, processes whose parents die become children of this one, which makes them easy to find.
pub fn adopt_orphans() {
    set_child_subreaper(Some(getpid())).unwrap();
}

/// Starts a process that is not an orphan.
pub fn spawn(command: &mut Command) -> Child {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    own.get_or_insert_default().insert(i32::try_from(child.id()).unwrap());
    child
}

/// Forgets a process that [`spawn`] started and that has been waited for.
pub fn forget(child: &Child) {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.get_or_insert_default().remove(&i32::try_from(child.id()).unwrap());
}

/// What lost its parent: what runs of it, once what has ended is cleared away.
fn orphans() -> Vec<Process> {
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let me = getpid().as_raw_nonzero().get();
    let is_own = |process: &Process| {
        own.as_ref().is_some_and(|own| own.contains(&process.pid.as_raw_nonzero().get()))
    };
    let orphans = all().into_iter().filter(|process| process.parent == me && !is_own(process));
    let (ended, running): (Vec<_>, Vec<_>) = orphans.partition(|process| process.zombie);
    for process in ended {
        let _ = waitpid(Some(process.pid), WaitOptions::NOHANG);
    }
    running
}

/// Waits until every orphan has ended. Panics, and ends them, if one does not.
pub fn await_no_orphans() {
    let begun = Instant::now();
    loop {
        let left = orphans();
        let Some(one) = left.first() else { return };
        if !one.await_end() || begun.elapsed() > PATIENCE {
            left.iter().for_each(|process| process.signal(Signal::KILL));
            panic!("left behind: {left:?}");
        }
    }
}
