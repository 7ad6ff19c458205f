//! Starts the command: its user, directory, streams and environment, and why it did not start.
//!
//! Memory: the kernel never kills PID 1 for lack of it, and the command inherits the default
//! `oom_score_adj` of 0, so there is nothing to set.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

use protocol::frame::Failure;
use protocol::task::Task;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, chdir, ioctl_tiocsctty, setsid};
use rustix::stdio::stdin;

use crate::environment::{environment, value};
use crate::failure::{Failed, cause};
use crate::streams::{self, Ends, Streams};
use crate::sys;
use crate::user::{self, User};

/// A command that has been executed.
#[derive(Debug)]
pub struct Running {
    /// The main process, and its process group.
    pub pid: Pid,
    /// The agent's ends of its streams.
    pub ends: Ends,
}

/// All that the child needs for its exec, made before the fork.
struct Image {
    user: Option<User>,
    directory: OsString,
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Stdin is a terminal, which becomes the session's.
    terminal: bool,
}

/// What the child was doing when it failed. The standard library carries one number from child to
/// parent: an errno, and in the bits above it one of these.
const STEPS: [Step; 4] = [Step::Directory, Step::Execute, Step::Interpreter, Step::Terminal];
const STEP_SHIFT: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Step {
    Directory = 1 << STEP_SHIFT,
    Execute = 2 << STEP_SHIFT,
    Interpreter = 3 << STEP_SHIFT,
    Terminal = 4 << STEP_SHIFT,
}

/// Starts the task's command in a session of its own. No descriptor but its three streams, no signal
/// setting and no supplementary group of the agent is passed on.
pub fn start(task: &Task) -> Result<Running, Failed> {
    let name = task.argv.first().ok_or_else(|| Failed::setup("the task names no command"))?;
    let user = match &task.user {
        Some(user) => Some(User::find(user)?),
        None => None,
    };
    let owner = user.as_ref().map(|user| user.uid);
    let image = Image::new(task, name, user)?;
    let (Streams { stdin, stdout, stderr }, ends) = streams::make(task.terminal, owner)?;
    let mut command = Command::new(name);
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let child = sys::spawn(&mut command, move || Err(image.execute()))
        .map_err(|error| explain(&error, task, name))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failed::setup("the command's process id is out of range"))?;
    Ok(Running { pid, ends })
}

impl Image {
    fn new(task: &Task, name: &OsStr, user: Option<User>) -> Result<Self, Failed> {
        let passwd = user::passwd();
        let uid = user.as_ref().map_or(0, |user| user.uid);
        let environment = environment(&passwd, uid, &task.env);
        let candidates = candidates(name, value(&environment, "PATH").unwrap_or_default());
        Ok(Self {
            user,
            directory: task.workdir.clone().unwrap_or_else(|| "/".into()),
            candidates: c_strings(candidates)?,
            arguments: c_strings(task.argv.clone())?,
            environment: c_strings(environment)?,
            terminal: task.terminal.is_some(),
        })
    }

    /// In the child: becomes the command. Like execvp(3), but it hands no file to a shell that the
    /// kernel does not take for a program, and tells a missing interpreter from a missing command.
    fn execute(&self) -> io::Error {
        let failed = |step: Step, errno: Errno| {
            io::Error::from_raw_os_error(step as i32 | errno.raw_os_error())
        };
        if let Err(errno) = setsid() {
            return errno.into();
        }
        if self.terminal
            && let Err(errno) = ioctl_tiocsctty(stdin())
        {
            return failed(Step::Terminal, errno);
        }
        if let Some(user) = &self.user
            && let Err(errno) = user.become_it()
        {
            return errno.into();
        }
        if let Err(errno) = chdir(&self.directory) {
            return failed(Step::Directory, errno);
        }
        let mut verdict = failed(Step::Execute, Errno::NOENT);
        for path in &self.candidates {
            match sys::execve(path, &self.arguments, &self.environment) {
                Errno::NOENT if access(path, Access::EXISTS).is_ok() => {
                    verdict = failed(Step::Interpreter, Errno::NOENT);
                }
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => verdict = failed(Step::Execute, Errno::ACCESS),
                errno => return failed(Step::Execute, errno),
            }
        }
        verdict
    }
}

/// Where a command may be: the name itself if it is a path, else that name in each directory of PATH.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<OsString> {
    let name = name.as_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![OsString::from_vec(name.to_vec())];
    }
    let place = |directory: &[u8]| match directory {
        b"" => name.to_vec(), // an empty entry is the working directory
        directory => [directory, b"/", name].concat(),
    };
    path.as_bytes().split(|&byte| byte == b':').map(place).map(OsString::from_vec).collect()
}

fn c_strings(strings: Vec<OsString>) -> Result<Vec<CString>, Failed> {
    let all: Result<_, _> = strings.into_iter().map(|s| CString::new(s.into_vec())).collect();
    all.map_err(|_| Failed::setup("a NUL byte in the command, its environment or /etc/passwd"))
}

fn explain(error: &io::Error, task: &Task, name: &OsStr) -> Failed {
    let code = error.raw_os_error().unwrap_or_default();
    let step = STEPS.into_iter().find(|step| code >> STEP_SHIFT == *step as i32 >> STEP_SHIFT);
    let errno = Errno::from_raw_os_error(code & ((1 << STEP_SHIFT) - 1));
    let because = cause(errno);
    let directory = task.workdir.as_deref().unwrap_or(OsStr::new("/"));
    let (failure, text) = match (step, errno) {
        (Some(Step::Execute), Errno::NOENT | Errno::NOTDIR) => {
            (Failure::NotFound, format!("command {name:?} not found"))
        }
        (Some(Step::Execute), _) => {
            (Failure::NotExecutable, format!("cannot execute {name:?}: {because}"))
        }
        (Some(Step::Interpreter), _) => (
            Failure::NotExecutable,
            format!("cannot execute {name:?}: its interpreter or loader is not in the root image"),
        ),
        (Some(Step::Terminal), _) => {
            (Failure::Setup, format!("cannot give the command its terminal: {because}"))
        }
        (Some(Step::Directory), _) => {
            (Failure::Setup, format!("cannot enter working directory {directory:?}: {because}"))
        }
        (None, _) => {
            let user = task.user.as_deref().unwrap_or(OsStr::new("root"));
            (Failure::Setup, format!("cannot start a process as user {user:?}: {because}"))
        }
    };
    Failed { failure, text }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
