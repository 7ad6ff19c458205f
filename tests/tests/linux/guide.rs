//! The guide, `vmm/GUIDE.md`: every command in it is run, and prints what stands there; what it says of
//! failures is what casemate says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::fixtures::Fixture;
use tests::run::programs;
use tests::scratch::Scratch;
use tests::suite::{Need, Test, own_mounts};

use crate::{KERNEL, picture};

const GUIDE: &str = include_str!("../../../vmm/GUIDE.md");

/// Blocks of commands that are not run, and a word of each.
const NOT_RUN: [&str; 2] = ["scripts/quickstart", "docker://"];

/// What a reader sees, as the guide's table has it, and commands that bring it about.
const FAILURES: [(&str, &str); 17] = [
    (
        "cannot open /dev/kvm",
        "$MOUNTS sh -c 'mkdir dev; touch dev/null; mount --bind /dev/null dev/null
         mount --rbind dev /dev; casemate run -- true'",
    ),
    (
        "layer user-ns",
        "unshare --map-root-user sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; casemate run -- true'",
    ),
    (
        "virtio_mmio",
        "mkdir none; touch none/modules.dep; casemate run --kernel \"$KERNEL\" --modules none -- true",
    ),
    ("did not start the command within", "casemate run --boot-timeout 10ms -- true"),
    ("give --mem", "casemate run --mem 32M -- true"),
    ("huge pages of 2 MiB", "casemate run --hugepages --mem 512G -- true"),
    (
        "Killed",
        "casemate run --mem 128M -- sh -c 'python3 -c \"a = []
while True: a.append(b\\\"x\\\" * 1000000)\"; exit $?'",
    ),
    (
        "No space left on device",
        "casemate run --mem 128M -- sh -c 'head -c 100M /dev/zero >/large'",
    ),
    ("the time was up", "casemate run --timeout 10ms -- true"),
    ("(--max-in)", "mkdir in; echo much >in/much; casemate run --in in --max-in 1 -- true"),
    ("(--max-out)", "casemate run --out new --max-out 1K -- sh -c 'head -c 1M /dev/zero >/out/much'"),
    ("(--max-output)", "casemate run --max-output 2 -- echo much"),
    (
        "it keeps no more",
        "truncate -s 1M disk
         casemate run --disk disk,ephemeral,max=4K -- sh -c 'head -c 9000 /dev/zero >/dev/vdb' 2>&1",
    ),
    ("is not empty", "mkdir full; touch full/x; casemate run --out full -- true"),
    ("a symbolic link", "casemate run --out linked -- ln -s x /out/x"),
    ("SHA-256", "truncate -s 4K x; casemate run --disk x,sha256=$(printf '%064d' 0) -- true"),
    ("did you mean", "casemate run --tiemout 5s -- true"),
];

pub fn tests() -> Vec<Test> {
    let fixtures = [KERNEL, Fixture::Lean, Fixture::Rootfs, Fixture::Compiler].map(Need::Fixture);
    let tools = ["tar", "gzip", "unshare", "cmp"].map(Need::Tool);
    let needs = [&[Need::Linux, Need::Namespaces][..], &fixtures, &tools].concat();
    vec![
        Test::new("guide::every_command_does_what_it_says", &needs, commands),
        Test::new("guide::failures_are_told_as_it_says", &needs, failures),
    ]
}

/// Commands of the guide.
#[derive(Debug)]
struct Block {
    /// Where they begin.
    line: usize,
    text: String,
    /// What they print, if the guide shows it.
    shown: Option<String>,
    /// Why they are not run.
    not_run: Option<String>,
}

/// The fenced blocks: `sh` ones, and the `text` that follows one is what it prints.
fn blocks() -> Vec<Block> {
    let (mut blocks, mut not_run) = (Vec::<Block>::new(), None);
    let mut lines = GUIDE.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(reason) = line.strip_prefix("<!-- not run: ") {
            not_run = reason.strip_suffix(" -->").map(str::to_owned);
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().take_while(|(line, _)| *line != "```");
        let text: String = inside.map(|(line, _)| format!("{line}\n")).collect();
        match kind {
            "sh" => {
                let not_run = not_run.take();
                blocks.push(Block { line: number, text, shown: None, not_run });
            }
            "text" => blocks.last_mut().unwrap().shown = Some(text),
            other => panic!("line {number}: a block of {other:?} is neither commands nor output"),
        }
    }
    blocks
}

/// The source's directory.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs commands in a directory as the guide's reader does. Returns all that they print, and the status.
fn shell(dir: &Path, text: &str) -> (String, Option<i32>) {
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", &format!("exec 2>&1\n{text}")]).current_dir(dir);
    command.env("PATH", path).env("CASEMATE_SOURCE", source());
    command.env("KERNEL", KERNEL.path()).env("MOUNTS", own_mounts().join(" "));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = tests::process::spawn(&mut command).wait_with_output().unwrap();
    tests::process::await_no_orphans();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

fn commands() {
    let dir = Scratch::new();
    let (left_out, run): (Vec<_>, Vec<_>) =
        blocks().into_iter().partition(|block| block.not_run.is_some());
    assert_eq!(left_out.len(), NOT_RUN.len(), "blocks that are not run: {left_out:?}");
    for (block, word) in left_out.iter().zip(NOT_RUN) {
        assert!(block.text.contains(word), "line {}: not run, and has no {word}", block.line);
    }
    assert!(run.iter().any(|block| block.text.contains("plot.py")), "no commands were found");
    for Block { line, text, shown, .. } in run {
        let (said, status) = shell(dir.dir(), &text);
        assert_eq!(status, Some(0), "GUIDE.md, line {line}: {said}");
        assert_eq!(said, shown.unwrap_or_default(), "GUIDE.md, line {line}");
    }
    picture::check(&dir.read("plots/plot.png"), 480, 320);
}

fn failures() {
    let table = GUIDE.split_once("| what you see |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let symptoms: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(symptoms, FAILURES.map(|(symptom, _)| symptom), "the guide's table");
    for (symptom, text) in FAILURES {
        let dir = Scratch::new();
        let (said, _) = shell(dir.dir(), text);
        assert!(said.contains(symptom), "{symptom:?} is not in what was said: {said}");
    }
}
