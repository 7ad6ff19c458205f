//! The table that `ps` prints.

use std::time::Duration;

use super::sandbox::{Sandbox, State};

/// The longest command that is printed, in characters.
const LONGEST: usize = 80;

/// A line for each sandbox, below a heading.
pub fn table(sandboxes: &[Sandbox]) -> String {
    let heading = ["ID", "PID", "AGE", "STATE", "CPUS", "MEMORY", "WHAT"].map(str::to_owned);
    let rows: Vec<[String; 7]> =
        std::iter::once(heading).chain(sandboxes.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(&row[6]);
        text.push('\n');
    }
    text
}

fn row(sandbox: &Sandbox) -> [String; 7] {
    let unknown = || "-".to_owned();
    let age = humantime::format_duration(Duration::from_secs(sandbox.age_seconds)).to_string();
    [
        sandbox.id.clone(),
        sandbox.pid.to_string(),
        age.replace(' ', ""),
        match sandbox.state {
            State::Starting => "starting",
            State::Running => "running",
            State::Stopped => "stopped",
            State::Ending => "ending",
        }
        .to_owned(),
        sandbox.cpus.map_or_else(unknown, |cpus| cpus.to_string()),
        sandbox.memory_bytes.map_or_else(unknown, |bytes| format!("{}M", bytes >> 20)),
        shown(&what(sandbox)),
    ]
}

/// The command, else the kernel, else the profile that says so.
fn what(sandbox: &Sandbox) -> String {
    match (&sandbox.command, &sandbox.kernel, &sandbox.config) {
        (Some(command), _, _) => command.join(" "),
        (None, Some(kernel), None) => format!("kernel {kernel}"),
        (None, _, Some(config)) => format!("profile {config}"),
        (None, None, None) => "-".to_owned(),
    }
}

/// Fit for a terminal, whatever somebody called his command.
fn shown(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.chars().count() > LONGEST { plain + "…" } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> Sandbox {
        Sandbox {
            id: "4d2-10e1".to_owned(),
            pid: 1234,
            started: "2026-01-01T00:00:00Z".to_owned(),
            age_seconds: 3725,
            state: State::Running,
            cpus: Some(2),
            memory_bytes: Some(512 << 20),
            command: Some(vec!["sh".to_owned(), "-c".to_owned(), "a\x1b[2Jb\nc".to_owned()]),
            kernel: Some("k".to_owned()),
            config: None,
        }
    }

    #[test]
    fn a_line_for_each_and_nothing_for_the_terminal() {
        let other = Sandbox { state: State::Starting, cpus: None, memory_bytes: None, ..sandbox() };
        let expected = "\
ID        PID   AGE     STATE     CPUS  MEMORY  WHAT
4d2-10e1  1234  1h2m5s  running   2     512M    sh -c a [2Jb c
4d2-10e1  1234  1h2m5s  starting  -     -       sh -c a [2Jb c
";
        assert_eq!(table(&[sandbox(), other]), expected);
    }

    #[test]
    fn long_commands_are_cut_and_profiles_named() {
        assert_eq!(shown(&"x".repeat(LONGEST + 1)), "x".repeat(LONGEST) + "…");
        assert_eq!(shown(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
        let boot = Sandbox { command: None, ..sandbox() };
        assert_eq!(what(&boot), "kernel k");
        assert_eq!(what(&Sandbox { config: Some("p".to_owned()), ..boot }), "profile p");
    }
}
