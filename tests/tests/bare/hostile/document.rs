//! `tests/HOSTILE-GUEST.md`, made of the table.

use std::fmt::Write;
use std::path::Path;

use super::{Ends, Of, rows::ROWS};

pub fn is_the_table() {
    for (number, row) in (1..).zip(ROWS) {
        assert_eq!(row.class, format!("V{number}"));
        assert!(
            !row.cases.is_empty() || row.rest.len() > 10,
            "{}: no case and no reason",
            row.class
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("HOSTILE-GUEST.md");
    if std::env::var_os("CASEMATE_WRITE").is_some() {
        std::fs::write(&path, text()).unwrap();
    }
    let same = std::fs::read_to_string(&path).is_ok_and(|there| there == text());
    assert!(same, "HOSTILE-GUEST.md is old: run this test with CASEMATE_WRITE=1");
}

fn text() -> String {
    let mut text = String::from(
        "# The hostile guest\n\n\
         Made by `hostile::the_document_is_the_table` of `tests/tests/bare/hostile`, which fails when this file is \
         old. For each class of virtio device bugs a bare-metal guest tries it from inside a virtual machine. \
         Both devices are in use before. Where the run goes on, the other device works as it is and the tried \
         one after a reset; a device worker used less than 3 s of a processor, and none once there was \
         nothing to do. Where it ends, the worker and the violation are named. In every case the image is what it \
         was, a device worker had less than 16 MiB resident, stderr has one line of less than 300 bytes at \
         most, and the report is shorter than 16 KiB.\n\n\
         | class | bug | the guest tries | verdict | otherwise |\n|---|---|---|---|---|\n",
    );
    for row in ROWS {
        if row.cases.is_empty() {
            writeln!(text, "| {} | {} | | not from inside | {} |", row.class, row.what, row.rest)
                .unwrap();
        }
        for (index, (name, of, _, ends)) in row.cases.iter().enumerate() {
            let (class, what, rest) =
                if index == 0 { (row.class, row.what, row.rest) } else { ("", "", "") };
            let of = match of {
                Of::Console => "console",
                Of::Disk => "disk",
            };
            let verdict = match ends {
                Ends::Violation(worker, violation) => {
                    format!("`violation`: {violation} ({worker})")
                }
                Ends::GoesOn => "goes on".to_owned(),
            };
            writeln!(text, "| {class} | {what} | {of}: {name} | {verdict} | {rest} |").unwrap();
        }
    }
    text
}
