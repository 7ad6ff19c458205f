//! A command on a terminal: what people are used to of a shell.

use std::time::Duration;

use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};
use tests::terminal::Terminal;

use crate::{LIMIT, NEEDS, run};

pub fn tests() -> Vec<Test> {
    let needs = &[NEEDS, &[Need::Tool("setsid")]].concat();
    vec![
        Test::new("terminal::a_shell_as_people_know_it", needs, shell),
        Test::new("terminal::all_output_comes_and_the_terminal_is_the_users", needs, user),
        Test::new("terminal::without_t_there_is_none", needs, none),
    ]
}

/// Types a line and waits for what it brings. The shell shows what is typed, so the answer must differ.
fn say(terminal: &mut Terminal, line: &str, answer: &str) {
    terminal.press(line);
    terminal.press("\r");
    terminal.find(answer, LIMIT);
}

/// A command on this terminal, which is of the kind `vt220`.
fn on<'a>(dir: &'a Scratch, terminal: &'a Terminal, options: &[&str], command: &[&str]) -> Run<'a> {
    run(dir, options, command).on(terminal).by(&["env", "TERM=vt220", "setsid", "--ctty"])
}

fn shell() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(31, 97);
    let before = terminal.settings();
    let bash = ["bash", "--norc", "--noprofile"];
    let running = on(&dir, &terminal, &["-it", "--env", "PS1=% "], &bash).start();
    terminal.find("% ", LIMIT);
    say(&mut terminal, "tty; stty size; echo $TERM", "/dev/pts/0\r\n31 97\r\nvt220\r\n");
    terminal.resize(50, 132);
    say(&mut terminal, "stty size", "50 132\r\n");
    // Ctrl-C ends the program in front, and not the shell. It says itself that it is there: a key that
    // comes before the shell has put it in front is the shell's.
    terminal.press("sh -c 'echo up$((1+1)); exec sleep 1000'\r");
    terminal.find("up2\r\n", LIMIT);
    terminal.press("\x03");
    say(&mut terminal, "echo is $?", "is 130\r\n");
    // Ctrl-D ends the input of the program in front.
    terminal.press("echo now$((1+1)); cat; echo ended with $?\r");
    terminal.find("now2\r\n", LIMIT);
    say(&mut terminal, "line", "line\r\nline\r\n");
    terminal.press("\x04");
    terminal.find("ended with 0\r\n", LIMIT);
    // Job control: no complaint at the start, a job is stopped, listed, and comes to the front again.
    assert!(!terminal.shown().contains("no job control"), "{}", terminal.shown());
    terminal.press("sh -c 'echo on$((1+1)); exec sleep 1001'\r");
    terminal.find("on2\r\n", LIMIT);
    terminal.press("\x1a");
    terminal.find("Stopped", LIMIT);
    say(&mut terminal, "jobs", "Stopped");
    terminal.press("fg\r");
    terminal.find("sleep 1001'\r\n", LIMIT);
    std::thread::sleep(Duration::from_secs(1));
    terminal.press("\x03");
    say(&mut terminal, "echo again $?", "again 130\r\n");
    // The shell's own end: that of its input, with the last status.
    say(&mut terminal, "(exit 5)", "(exit 5)");
    terminal.find("% ", LIMIT);
    terminal.press("\x04");
    let end = running.end();
    end.exits(5).outcome("exited");
    assert_eq!(terminal.settings(), before);
}

/// What a command writes last comes before its end is told, however much it is.
fn user() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let text = "echo mine >\"$(tty)\" && seq 3000; exit 3";
    let running = on(&dir, &terminal, &["-t", "--user", "1000"], &["sh", "-c", text]).start();
    terminal.find("\r\n3000\r\n", LIMIT);
    running.end().exits(3).outcome("exited");
    let shown = terminal.shown().replace('\r', "");
    let expected: String = (1..=3000).map(|n| format!("{n}\n")).collect();
    assert_eq!(shown, format!("mine\n{expected}"));
}

fn none() {
    let dir = Scratch::new();
    let mut terminal = Terminal::new(24, 80);
    let text = "tty; test -t 1 || echo no terminal; printf '\\033[31mred\\n'";
    on(&dir, &terminal, &["-i"], &["sh", "-c", text]).end().exits(0).outcome("exited");
    assert_eq!(terminal.shown(), "not a tty\r\nno terminal\r\n^[[31mred\r\n");
}
