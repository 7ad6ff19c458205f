use std::io::Read;

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{WaitOptions, waitpid};

use super::*;

fn task(argv: &[&str]) -> Task {
    Task { argv: argv.iter().map(OsString::from).collect(), ..Task::default() }
}

fn output(pipe: OwnedFd) -> String {
    fcntl_setfl(&pipe, OFlags::empty()).unwrap();
    let mut text = String::new();
    std::fs::File::from(pipe).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_command_gets_its_streams_directory_and_environment() {
    let script = "echo $A $PWD $PATH; echo e >&2; read x; exit 7";
    let task = Task {
        env: vec!["A=b c".into(), "PATH=/usr/bin:/bin".into()],
        workdir: Some("/usr".into()),
        ..task(&["sh", "-c", script])
    };
    let running = start(&task).unwrap();
    drop(running.ends.stdin);
    let (_, status) = waitpid(Some(running.pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(7));
    assert_eq!(output(running.ends.stdout), "b c /usr /usr/bin:/bin\n");
    assert_eq!(output(running.ends.stderr.unwrap()), "e\n");
}

#[test]
fn a_command_on_a_terminal_has_it_to_itself() {
    // Its size, the three streams, and the terminal of the session, which is open by its own name too.
    let script = "stty size; test -t 0 -a -t 1 -a -t 2 && echo all; read x </dev/tty; \
                  echo \"$x $(ps -o tty= -p $$ | grep -c pts)\" >&2; stty size; exit 7";
    let task = Task { terminal: Some((31, 97)), ..task(&["sh", "-c", script]) };
    let running = start(&task).unwrap();
    let terminal = running.ends.terminal.unwrap();
    let mut seen = String::new();
    let mut see = |until: &str| {
        let begun = std::time::Instant::now();
        while !seen.contains(until) && begun.elapsed().as_secs() < 20 {
            let mut piece = [0; 100];
            let count = rustix::io::read(&running.ends.stdout, &mut piece).unwrap_or(0);
            seen.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        seen.clone()
    };
    assert_eq!(see("all\r\n"), "31 97\r\nall\r\n");
    terminal.resize(5, 6).unwrap();
    rustix::io::write(&running.ends.stdin, b"typed\n").unwrap();
    assert_eq!(see("5 6\r\n"), "31 97\r\nall\r\ntyped\r\ntyped 1\r\n5 6\r\n");
    let (_, status) = waitpid(Some(running.pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(7));
    assert!(running.ends.stderr.is_none());
}

#[test]
fn each_failure_has_its_kind_and_names_its_object() {
    let directory = std::env::temp_dir().join(format!("agent-command-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(mode);
        rustix::fs::chmod(&path, mode).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "x", 0o644);
    let text = file("text", "echo no shebang\n", 0o755);
    let orphan = file("orphan", "#!/none/sh\n", 0o755);
    let rows = [
        ("no-such-command", Failure::NotFound, "command \"no-such-command\" not found".to_owned()),
        ("", Failure::NotFound, "command \"\" not found".to_owned()),
        ("/etc/passwd/x", Failure::NotFound, "command \"/etc/passwd/x\" not found".to_owned()),
        (&plain, Failure::NotExecutable, format!("cannot execute {plain:?}: Permission denied")),
        ("/etc", Failure::NotExecutable, "cannot execute \"/etc\": Permission denied".to_owned()),
        (&text, Failure::NotExecutable, format!("cannot execute {text:?}: Exec format error")),
        (
            &orphan,
            Failure::NotExecutable,
            format!(
                "cannot execute {orphan:?}: its interpreter or loader is not in the root image"
            ),
        ),
    ];
    for (name, failure, text) in rows {
        assert_eq!(start(&task(&[name])).unwrap_err(), Failed { failure, text });
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let lost = Task { workdir: Some("/none".into()), ..task(&["true"]) };
    let expected = "cannot enter working directory \"/none\": No such file or directory";
    assert_eq!(start(&lost).unwrap_err(), Failed::setup(expected));
    assert_eq!(start(&Task::default()).unwrap_err(), Failed::setup("the task names no command"));
}

#[test]
fn a_command_is_looked_up_like_execvp_does() {
    let rows: [(&str, &str, &[&str]); 6] = [
        ("ls", "/usr/bin:/bin", &["/usr/bin/ls", "/bin/ls"]),
        ("ls", "", &["ls"]),
        ("ls", ":/bin", &["ls", "/bin/ls"]),
        ("./ls", "/bin", &["./ls"]),
        ("/bin/ls", "/usr/bin", &["/bin/ls"]),
        ("", "/bin", &[]),
    ];
    for (name, path, expected) in rows {
        assert_eq!(candidates(OsStr::new(name), OsStr::new(path)), expected, "{name} in {path}");
    }
}
