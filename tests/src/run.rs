//! One run of casemate, as a user would start it, within a time limit.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde_json::Value;

use crate::process::{self, PATIENCE, Process};
use crate::scratch::Scratch;
use crate::terminal::Terminal;

/// The file that every run is told to write its report to, in the test's directory.
pub const REPORT: &str = "report.json";
/// The file that holds a bare guest, in the test's directory.
pub const KERNEL: &str = "guest.elf";
/// What makes root run a program as somebody with no rights at all.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// What makes /dev/kvm everybody's in a mount namespace of its own. The directory to do it in follows.
const KVM_FOR_ALL: [&str; 5] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "mount -t tmpfs none \"$0\" && mknod -m 666 \"$0\"/kvm c 10 232 &&
     mount --bind \"$0\"/kvm /dev/kvm && umount -l \"$0\" && exec \"$@\"",
];

/// How long a run may take unless its test says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// The directory of the programs that were built with this test: that of `casemate`.
pub fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // …/PROFILE/deps/TEST-HASH
    let dir = own.parent().and_then(Path::parent).unwrap().to_owned();
    let there = dir.join("casemate").exists() && dir.join("casemate-worker").exists();
    assert!(there, "no casemate in {dir:?}: run cargo build --workspace --release first");
    dir
}

/// What stdin is.
#[derive(Debug, Default)]
enum Input {
    #[default]
    Null,
    Bytes(Vec<u8>),
    Open,
}

/// A run that has not been started.
#[derive(Debug)]
pub struct Run<'a> {
    dir: &'a Scratch,
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    stdin: Input,
    terminal: Option<&'a Terminal>,
    unprivileged: bool,
    kvm_for_all: bool,
    limit: Duration,
}

impl<'a> Run<'a> {
    /// `casemate` with these arguments, run in `dir`.
    pub fn new(dir: &'a Scratch, args: &[&str]) -> Self {
        Self {
            dir,
            wrapper: Vec::new(),
            args: args.iter().map(OsString::from).collect(),
            stdin: Input::Null,
            terminal: None,
            unprivileged: false,
            kvm_for_all: false,
            limit: LIMIT,
        }
    }

    /// `casemate boot` of a guest made of these operations.
    pub fn boot(dir: &'a Scratch, program: &[bare::Op]) -> Self {
        dir.write(KERNEL, bare::elf(program));
        Self::new(dir, &["boot", "--kernel", KERNEL, "--report", REPORT])
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: &[impl AsRef<OsStr>]) -> Self {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// All of stdin; without this, it is /dev/null.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Input::Bytes(bytes);
        self
    }

    /// Stdin is a pipe that the test writes: [`Running::stdin`].
    #[must_use]
    pub fn open_stdin(mut self) -> Self {
        self.stdin = Input::Open;
        self
    }

    /// Runs in a session of its own on this terminal, in front.
    #[must_use]
    pub fn on(self, terminal: &'a Terminal) -> Self {
        Self { terminal: Some(terminal), ..self }.by(&["setsid", "--ctty"])
    }

    /// Runs as somebody who is not root, whoever runs the test.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Runs as a user of KVM who is not root, whoever runs the test.
    ///
    /// Where the host's /dev/kvm is for root alone, root gives the run one of its own that is not, in a
    /// mount namespace of its own: nothing of the host is changed.
    #[must_use]
    pub fn as_user(mut self) -> Self {
        self.kvm_for_all = rustix::process::geteuid().is_root();
        self.unprivileged()
    }

    /// Runs casemate by another program.
    #[must_use]
    pub fn by(mut self, program: &[impl AsRef<OsStr>]) -> Self {
        self.wrapper = program.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Ends the run as failed after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut words = self.wrapper.clone();
        if self.kvm_for_all {
            let place = self.dir.path("kvm-for-all");
            std::fs::create_dir_all(&place).unwrap();
            words.extend(KVM_FOR_ALL.map(OsString::from));
            words.push(place.into());
        }
        if self.unprivileged && rustix::process::geteuid().is_root() {
            words.extend(AS_NOBODY.map(OsString::from));
        }
        words.push(self.program().into());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.dir.dir());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if matches!(self.stdin, Input::Null) {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        if let Some(terminal) = self.terminal {
            command.stdin(terminal.stream()).stdout(terminal.stream()).stderr(terminal.stream());
        }
        let report = self.args.iter().any(|arg| arg == REPORT).then(|| self.dir.path(REPORT));
        let begun = Instant::now();
        let mut child = process::spawn(&mut command);
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = self.stdin
            && let Some(mut pipe) = stdin.take()
        {
            // A run that ends without having read it all closes the pipe.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Running {
            words,
            stdout: child.stdout.take().map(Output::Unread),
            stderr: child.stderr.take().map(Output::read),
            stdin,
            child,
            begun,
            limit: self.limit,
            report,
        }
    }

    /// Starts it and waits for its end.
    pub fn end(self) -> End {
        self.start().end()
    }

    /// The program: for somebody else, copies that they may read wherever the originals are.
    fn program(&self) -> PathBuf {
        let originals = programs();
        if !self.unprivileged || !rustix::process::geteuid().is_root() {
            return originals.join("casemate");
        }
        let dir = self.dir.path("bin");
        std::fs::create_dir_all(&dir).unwrap();
        let names =
            ["casemate", "casemate-worker", "casemate-agent", "casemate-image", "casemate-prober"];
        for name in names {
            std::fs::copy(originals.join(name), dir.join(name)).unwrap();
        }
        dir.join("casemate")
    }
}

/// A stream of a run: nobody reads it yet, or a thread does.
#[derive(Debug)]
enum Output {
    Unread(ChildStdout),
    Read { pieces: Receiver<Vec<u8>>, bytes: Vec<u8> },
}

impl Output {
    fn read(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self::Read { pieces, bytes: Vec::new() }
    }

    fn begin(self) -> Self {
        match self {
            Self::Unread(stream) => Self::read(stream),
            read => read,
        }
    }

    /// Reads until `enough`, or the end. False if the time was up before.
    fn read_until(&mut self, until: Instant, enough: impl Fn(&[u8]) -> bool) -> bool {
        let Self::Read { pieces, bytes } = self else { return false };
        while !enough(bytes) {
            match pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(piece) => bytes.extend(piece),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
        true
    }

    /// Reads until there is `text`. Why there is not, if so.
    fn await_text(&mut self, text: &str, until: Instant) -> Option<String> {
        let holds = |bytes: &[u8]| find(bytes, text.as_bytes()).is_some();
        let in_time = self.read_until(until, holds);
        let why = if in_time { "ended" } else { "took too long" };
        (!holds(self.bytes())).then(|| format!("{why} before it held {text:?}"))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Read { bytes, .. } => bytes,
            Self::Unread(_) => &[],
        }
    }
}

/// A run that has been started.
#[derive(Debug)]
pub struct Running {
    words: Vec<OsString>,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    begun: Instant,
    limit: Duration,
    report: Option<PathBuf>,
}

impl Running {
    /// The launcher's process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The pipe that is stdin. It closes when it is dropped.
    pub fn stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// The pipe that is stdout, for a test that does not read it as it comes.
    pub fn stdout(&mut self) -> ChildStdout {
        match self.stdout.take() {
            Some(Output::Unread(stream)) => stream,
            other => panic!("stdout is being read: {other:?}"),
        }
    }

    /// The workers, as /proc has them.
    pub fn workers(&self) -> Vec<Process> {
        let mut workers = process::children_of(self.pid());
        workers.retain(|worker| worker.name.starts_with("casemate-"));
        workers
    }

    /// The worker of this name.
    pub fn worker(&self, name: &str) -> Process {
        let name = format!("casemate-{name}");
        let workers = self.workers();
        let found = workers.iter().find(|worker| worker.name == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} among {workers:?}"))
    }

    /// Sends a signal to the launcher.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until stdout holds `text`.
    pub fn await_stdout(&mut self, text: &str) {
        let mut stdout = self.stdout.take().unwrap().begin();
        let missing = stdout.await_text(text, self.begun + self.limit);
        self.stdout = Some(stdout);
        if let Some(why) = missing {
            self.give_up(&format!("stdout {why}"));
        }
    }

    /// Waits until stderr holds `text`.
    pub fn await_stderr(&mut self, text: &str) {
        let until = self.begun + self.limit;
        if let Some(why) = self.stderr.as_mut().unwrap().await_text(text, until) {
            self.give_up(&format!("stderr {why}"));
        }
    }

    /// Ends everything and fails, with all there is to know.
    fn give_up(&mut self, why: &str) -> ! {
        let workers = self.workers();
        let _ = self.child.kill();
        let _ = self.child.wait();
        process::forget(&self.child);
        let until = Instant::now() + PATIENCE;
        let mut text = format!("{why}\n  command: {:?}\n  workers: {workers:?}", self.words);
        for (name, output) in [("stdout", self.stdout.take()), ("stderr", self.stderr.take())] {
            let Some(output) = output else { continue };
            let mut output = output.begin();
            output.read_until(until, |_| false);
            let _ = write!(text, "\n  {name}: {}", shown(output.bytes()));
        }
        process::await_no_orphans();
        panic!("{text}");
    }

    /// Waits for the end of the launcher, and of all that it started.
    pub fn end(mut self) -> End {
        drop(self.stdin.take());
        self.stdout = self.stdout.take().map(Output::begin);
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let left = (self.begun + self.limit).saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        if !poll(&mut fds, left.as_ref()).is_ok_and(|count| count > 0) {
            self.give_up(&format!("not over after {:?}", self.limit));
        }
        let took = self.begun.elapsed();
        let pid = self.pid();
        let status = self.child.wait().unwrap();
        process::forget(&self.child);
        process::await_no_orphans();
        let groups = process::groups_of(pid);
        assert!(groups.is_empty(), "left behind: {groups:?}");
        let until = Instant::now() + PATIENCE;
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            assert!(output.read_until(until, |_| false), "somebody still holds the run's output");
        }
        let bytes = |output: &Option<Output>| {
            output.as_ref().map(|output| output.bytes().to_vec()).unwrap_or_default()
        };
        End {
            words: std::mem::take(&mut self.words),
            code: status.code(),
            stdout: bytes(&self.stdout),
            stderr: String::from_utf8_lossy(&bytes(&self.stderr)).into_owned(),
            took,
            // A launcher that was killed may have come to any point of it.
            report: status.code().and_then(|_| self.read_report()),
        }
    }

    fn read_report(&self) -> Option<Value> {
        let text = std::fs::read(self.report.as_ref()?).ok()?;
        let report = serde_json::from_slice(&text);
        Some(
            report
                .unwrap_or_else(|error| panic!("the report is no JSON: {error}: {}", shown(&text))),
        )
    }
}

/// A test that fails in the middle of a run does not leave it behind.
impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            process::forget(&self.child);
        }
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct End {
    words: Vec<OsString>,
    /// The exit code; none when a signal ended the launcher.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// The report, if there is one.
    pub report: Option<Value>,
}

impl End {
    /// Fails with all there is to know, unless `holds`.
    #[track_caller]
    pub fn check(&self, holds: bool, what: &str) -> &Self {
        assert!(
            holds,
            "{what}\n  command: {}\n  exit code: {:?} after {:?}\n  stdout: {}\n  stderr: {}\n  report: {}",
            shown(self.words.join(OsStr::new(" ")).as_encoded_bytes()),
            self.code,
            self.took,
            shown(&self.stdout),
            shown(self.stderr.as_bytes()),
            self.report.as_ref().map_or_else(|| "none".to_owned(), Value::to_string),
        );
        self
    }

    /// Fails unless the exit code is this one, and the report, if there is one, says the same.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        self.check(self.code == Some(code), &format!("expected exit code {code}"));
        let agrees = self.report.as_ref().is_none_or(|report| report["exit_status"] == code);
        self.check(agrees, "the report has another exit status")
    }

    /// Fails unless this is the report's outcome.
    #[track_caller]
    pub fn outcome(&self, kind: &str) -> &Self {
        self.check(self.text("outcome") == kind, &format!("expected outcome {kind}"))
    }

    /// Fails unless the report blames this worker.
    #[track_caller]
    pub fn blames(&self, worker: &str) -> &Self {
        self.check(self.text("worker") == worker, &format!("expected {worker} to be blamed"))
    }

    /// Fails unless this is all of stdout.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        self.check(self.stdout == text.as_bytes(), &format!("expected on stdout: {text:?}"))
    }

    /// Fails unless stderr is one line of casemate's with all of these words.
    #[track_caller]
    pub fn explains(&self, words: &[&str]) -> &Self {
        let line = self.stderr.strip_prefix("casemate: ").and_then(|text| text.strip_suffix('\n'));
        let is_line = line.is_some_and(|line| !line.contains('\n') && !line.is_empty());
        self.check(is_line, "expected one line on stderr that begins with \"casemate: \"");
        for word in words {
            self.check(self.stderr.contains(word), &format!("expected {word:?} on stderr"));
        }
        self
    }

    /// Fails unless there is nothing on stderr.
    #[track_caller]
    pub fn is_silent(&self) -> &Self {
        self.check(self.stderr.is_empty(), "expected nothing on stderr")
    }

    /// A string of the report, empty if it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.report.as_ref().and_then(|report| report[key].as_str()).unwrap_or_default()
    }

    /// Milliseconds from the start to a phase, if it was reached.
    pub fn phase(&self, name: &str) -> Option<f64> {
        self.report.as_ref()?["phases_ms"][name].as_f64()
    }
}

/// The place of `part` in `bytes`.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The beginning of some bytes, fit for a message.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 1000;
    let text = String::from_utf8_lossy(bytes.get(..MOST).unwrap_or(bytes)).into_owned();
    match bytes.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{text:?} and {more} bytes more"),
        _ => format!("{text:?}"),
    }
}
