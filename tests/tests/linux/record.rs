//! `--record` of a whole Linux: its drivers' way to their devices, and what they ask of them.

use programs::whole::look;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::Test;

use crate::{LIMIT, NEEDS, run, script};

/// What the guest writes to its first console.
const WORDS: &str = "from inside, for the record";

pub fn tests() -> Vec<Test> {
    vec![Test::new("record::a_linux_guest_is_replayed", NEEDS, replayed)]
}

fn replayed() {
    let dir = Scratch::new();
    let words = format!("echo {WORDS} >/dev/hvc0; cat /bin/* | head -c 1000000 | wc -c");
    let options = ["--record", "record", "--console", "console"];
    let end = run(&dir, &options, &script(&words)).end();
    end.exits(0).outcome("exited").prints("1000000\n");
    // The agent's console is one more device.
    end.explains(&["the record is a part", "accesses to other devices"]);
    let program = dir.read("record");
    end.check(end.report.as_ref().unwrap()["record"]["stopped"].is_null(), "it stopped");

    // The models find nothing, and know of every byte that came from the console.
    let ought = look(&program);
    assert!(ought.first.is_none() && !ought.entangled, "{:?}", ought.first);
    let console = dir.read("console");
    assert!(String::from_utf8_lossy(&console).contains(WORDS), "the guest's words");
    assert!(ought.output.starts_with(&console), "another output");
    let end = Run::new(&dir, &["replay", "--json", "record"]).limit(LIMIT).end();
    end.exits(0);
    let json: serde_json::Value = serde_json::from_slice(&end.stdout).unwrap();
    end.check(json["console"]["bytes"] == ought.output.len(), "replayed as another output");
}
