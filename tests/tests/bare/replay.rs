//! `casemate replay`: what a program of the fuzz target `whole` comes to in a virtual machine is what its
//! models say.

use std::path::{Path, PathBuf};

use programs::whole::{Ended, look};
use serde_json::Value;
use steps::{CONSOLE, DISK};
use tests::run::{End, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

/// So many tests share the corpus.
const SHARES: usize = 6;

pub fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = (0..SHARES)
        .map(|share| {
            let check = move || corpus(share);
            Test::new(format!("replay::corpus_{share}_of_{SHARES}"), &[Need::Kvm], check)
        })
        .collect();
    tests.push(Test::new("replay::words_and_numbers", &[Need::Kvm], words_and_numbers));
    tests.push(Test::new("replay::what_no_guest_can_do_is_said", &[Need::Kvm], left_out));
    tests.push(Test::new("replay::refused", &[], refused));
    tests
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../devices/fuzz/corpus/whole")
}

fn replay(program: &[u8]) -> (End, Value) {
    let dir = Scratch::new();
    dir.write("program", program);
    let end = Run::new(&dir, &["replay", "--json", "program"]).end();
    let json = serde_json::from_slice(&end.stdout);
    end.check(json.is_ok(), "stdout is no JSON");
    assert_eq!(dir.list(), ["program"], "left behind");
    (end, json.unwrap())
}

/// Every program ends as its models say, and what it leaves on the disk and the console is theirs.
fn corpus(share: usize) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 100, "where is the corpus?");
    let mut compared = 0;
    for file in files.iter().skip(share).step_by(SHARES) {
        let program = std::fs::read(file).unwrap();
        let (end, json) = replay(&program);
        let what = file.display().to_string();
        let outcome = json["outcome"].as_str().unwrap_or_default();
        end.check(["exited", "violation"].contains(&outcome), &what);
        let left_out = json["left_out"].as_object().unwrap().values().any(|count| *count != 0);
        let ought = look(&program);
        if !left_out && !ought.entangled {
            agree(&end, &json, &ought, &what);
            compared += 1;
        }
    }
    assert!(compared > files.len() / SHARES / 3, "only {compared} were compared");
}

fn agree(end: &End, json: &Value, ought: &Ended, what: &str) {
    let worker = match ought.first {
        Some(DISK) => Value::from("blk0"),
        Some(CONSOLE) => Value::from("console"),
        _ => Value::Null,
    };
    end.check(json["worker"] == worker, &format!("{what}: expected {worker} to end it"));
    end.check(json["exit_status"] == if worker.is_null() { 0 } else { 119 }, what);
    if worker.is_null() && json["log_as_raw"] == false {
        let sum = |bytes: &[u8]| sha256(bytes);
        let image = &ought.image[..4096];
        end.check(json["disk"]["sha256"] == sum(image), &format!("{what}: another disk"));
        let output = &ought.output;
        end.check(json["console"]["sha256"] == sum(output), &format!("{what}: another output"));
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn words_and_numbers() {
    let dir = Scratch::new();
    let file = folder().join("seed-raw");
    let end = Run::new(&dir, &["replay", file.to_str().unwrap(), "--report", "report.json"]).end();
    end.exits(0).outcome("exited").is_silent();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    for part in ["115 register writes", "left out: nothing", "outcome: exited, exit status 0"] {
        end.check(text.contains(part), part);
    }
}

/// A program that fails the image, has a vcpu worker lie, closes the console's reader, and types too late.
fn left_out() {
    let program = [
        // No device is brought up, none has to prove itself.
        0x04, //
        // An image that fails; one that is short; memory that changes meanwhile.
        0x1c, 1, 1, 0, 0x1c, 0, 2, 0x1c, 3, 0, 0, 7, //
        // The input ends, and something is typed; the reader goes away.
        0x1d, 1, 0xff, 0x1d, 2, 3, b'a', b'b', b'c', 0x1d, 0, 0xff, //
        // Stop, from a vcpu worker.
        0x30, 0xff, 0, 0,
    ];
    let (end, json) = replay(&program);
    end.exits(0);
    for (name, count) in [
        ("failing_images", 2),
        ("racing_writes", 1),
        ("gone_readers", 1),
        ("typed", 3),
        ("control_messages", 1),
    ] {
        end.check(json["left_out"][name] == count, name);
    }
}

fn refused() {
    let dir = Scratch::new();
    dir.write("program", [0]);
    let rows: [(&[&str], i32, &[&str]); 4] = [
        (&["missing"], 125, &["cannot open the program \"missing\""]),
        (&["."], 125, &["a directory"]),
        (&["program", "--target", "blk"], 2, &["blk", "stdin -- blk FILE"]),
        (&["program", "--target", "hole"], 2, &["no such fuzz target"]),
    ];
    for (args, code, words) in rows {
        let end = Run::new(&dir, &["replay"]).args(args).end();
        end.exits(code).prints("").explains(words);
    }
}
