//! The launcher's own jail, put on before the guest runs: no path, no exec, no socket left.
//!
//! It keeps its user, since it could not signal its workers otherwise, and what it has open. From
//! here on it only waits, counts, writes its report and kills.

use anyhow::{Context, Result};
use worker::jail::confine;
use worker::jail::seccomp::rules::{Pin, Rule};

/// The descriptor of the terminal whose size is the guest's.
const STDOUT: u64 = 1;
/// `MADV_DONTNEED`.
const DONTNEED: u64 = 4;

/// What the launcher may still call.
fn rules(learn: bool, terminal: bool) -> Vec<Rule> {
    let rule = |number, name, reason| Rule { number, name, pins: Vec::new(), reason };
    let ioctl = |request: u64, reason| Rule {
        number: libc::SYS_ioctl,
        name: "ioctl",
        pins: vec![Pin { argument: 1, value: request }],
        reason,
    };
    let mut rules = vec![
        rule(libc::SYS_ppoll, "ppoll", "wait"),
        rule(libc::SYS_read, "read", "records, signals"),
        rule(libc::SYS_write, "write", "the go, orders, messages, the report"),
        rule(libc::SYS_pidfd_send_signal, "pidfd_send_signal", "kill workers"),
        rule(libc::SYS_wait4, "wait4", "reap workers and the janitor"),
        rule(libc::SYS_close, "close", "let go of what is no longer needed"),
        rule(libc::SYS_brk, "brk", "the heap"),
        Rule {
            number: libc::SYS_madvise,
            name: "madvise",
            pins: vec![Pin { argument: 2, value: DONTNEED }],
            reason: "give back what a long wait does not need",
        },
        rule(libc::SYS_clock_gettime, "clock_gettime", "the time, where the vDSO cannot tell it"),
        rule(libc::SYS_exit_group, "exit_group", "end"),
        ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, "hear of a forbidden call"),
    ];
    if learn {
        rules.push(ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, "let a forbidden call through"));
    }
    if terminal {
        let pins = [(0, STDOUT), (1, libc::TIOCGWINSZ)];
        let pins = pins.map(|(argument, value)| Pin { argument, value }).to_vec();
        let reason = "the size of the terminal";
        rules.push(Rule { number: libc::SYS_ioctl, name: "ioctl", pins, reason });
    }
    rules
}

/// Gives up everything that the launcher does not need any more. `learn`: it has to be able to let
/// forbidden calls through; `terminal`: to look for the size of the user's terminal.
pub fn launcher(learn: bool, terminal: bool) -> Result<()> {
    confine(&rules(learn, terminal)).context("cannot confine the launcher")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_twelve_calls_and_a_reason_for_each() {
        for (learn, terminal) in [(false, false), (true, false), (false, true), (true, true)] {
            let rules = rules(learn, terminal);
            let mut numbers: Vec<i64> = rules.iter().map(|rule| rule.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert!(numbers.len() <= 12);
            assert!(rules.iter().all(|rule| !rule.reason.is_empty()));
        }
    }
}
