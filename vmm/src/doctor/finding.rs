//! What a check finds.

use serde::Serialize;

/// How a finding bears on hostile guests, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Could be stricter or is worth knowing; casemate's own layers cover it.
    Note,
    /// A layer is missing or weaker than it should be, or a guest's data can leave it.
    Warning,
    /// By a known technique a guest reads, alters or stops the host or another guest.
    Unsafe,
    /// casemate cannot run here, or only with less than its default layers.
    CannotRun,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was read.
    pub read: String,
    /// How to mend it.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding without a remedy.
    pub fn new(verdict: Verdict, read: impl Into<String>) -> Self {
        Self { verdict, read: read.into(), fix: None }
    }

    /// All is well.
    pub fn good(read: impl Into<String>) -> Self {
        Self::new(Verdict::Good, read)
    }

    /// The same with a remedy: a command or a kernel parameter.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What belongs together on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// KVM and how it is set.
    Kvm,
    /// The CPU's weaknesses and what is done about them.
    Cpu,
    /// Where guest memory can go.
    Memory,
    /// What the jail's layers need.
    Jail,
    /// What a process that broke out of its worker would find.
    Kernel,
    /// The machine.
    Platform,
}

impl Group {
    /// The group's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Cpu => "CPU",
            Self::Memory => "Memory",
            Self::Jail => "Jail",
            Self::Kernel => "Kernel",
            Self::Platform => "Platform",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it belongs to.
    pub group: Group,
    /// A name that stays the same from version to version.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was read, on one line.
    pub read: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it; null where nothing has to be or nothing can be mended.
    pub fix: Option<String>,
}

impl Row {
    /// Joins what is known of a check with what it found.
    pub fn new(group: Group, name: &str, why: &str, finding: Finding) -> Self {
        let Finding { verdict, read, fix } = finding;
        let (name, why) = (one_line(name), why.to_owned());
        Self { group, name, verdict, read: one_line(&read), why, fix }
    }
}

/// Longest line of what was read, in characters.
const LONGEST: usize = 240;

/// The first line of `text`, cut where it is long, without what could steer a terminal.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if line.chars().count() > LONGEST {
        short.push('…');
    }
    short
}
