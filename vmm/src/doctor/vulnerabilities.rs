//! A row for each file of /sys/devices/system/cpu/vulnerabilities.

use super::backend::Backend;
use super::cmdline::weakening;
use super::finding::{Finding, Group, Row, Verdict};
use super::hole::{Hole, holes, verdict};
use super::setting::unreadable;
use super::source::{Fact, Source};
use super::weakness::{Weakness, known};

const DIRECTORY: &str = "/sys/devices/system/cpu/vulnerabilities";

/// One row for each file.
pub fn rows(source: &Source) -> Vec<Row> {
    let names = source.names(DIRECTORY).unwrap_or_default();
    if names.is_empty() {
        let finding = Finding::new(Verdict::Warning, format!("{DIRECTORY} is missing or empty"))
            .fix("mount -t sysfs sysfs /sys; it takes a kernel from 4.15 on");
        return vec![Row::new(
            Group::Cpu,
            "cpu/all",
            "nothing is known of this CPU's weaknesses",
            finding,
        )];
    }
    let software = Backend::of(source) == Backend::SoftwarePaging;
    let row = |name: &String| {
        let finding = find(source, name, known(name), software);
        Row::new(Group::Cpu, &format!("cpu/{name}"), known(name).why, finding)
    };
    names.iter().map(row).collect()
}

fn find(source: &Source, name: &str, weakness: &Weakness, software: bool) -> Finding {
    let path = format!("{DIRECTORY}/{name}");
    let text = match source.read(&path) {
        Fact::Text(text) => text,
        Fact::Absent => return Finding::new(Verdict::Note, format!("{path}: gone")),
        Fact::Unreadable(reason) => return unreadable(&path, &reason),
    };
    let holes = holes(&text);
    let verdict = holes.iter().map(|hole| verdict(*hole, weakness, software)).max();
    let worst = holes.into_iter().max().unwrap_or(Hole::Unknown);
    let finding = Finding::new(verdict.unwrap_or(Verdict::Warning), text);
    match fix(source, &finding.read, worst, weakness) {
        Some(fix) => finding.fix(fix),
        None => finding,
    }
}

fn fix(source: &Source, text: &str, worst: Hole, weakness: &Weakness) -> Option<String> {
    let cpu = source.cpuinfo();
    let below = || "ask whoever runs the hypervisor below this host".to_owned();
    let words = || weakening(source).words.join(" ");
    let lacks_microcode =
        text.to_ascii_lowercase().contains("no microcode") || weakness.name == "old_microcode";
    let fix = match worst {
        Hole::None => return None,
        Hole::Siblings => {
            "echo off >/sys/devices/system/cpu/smt/control; boot with nosmt".to_owned()
        }
        Hole::SiblingsUnknown => below(),
        Hole::Unknown if cpu.is_guest() => below(),
        _ if lacks_microcode => match words() {
            none if none.is_empty() => cpu.microcode_fix(),
            words => format!("{}; boot without {words}", cpu.microcode_fix()),
        },
        _ => match words() {
            none if none.is_empty() => {
                format!("boot with {}; update kernel and microcode", weakness.parameter)
            }
            words => format!("boot with {}, without {words}", weakness.parameter),
        },
    };
    Some(fix)
}
