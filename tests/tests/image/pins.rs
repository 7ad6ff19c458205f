//! Pinned files: what does not have the SHA-256 that it has to have is not started.

use bare::Op;
use tests::archive::sha256;
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::{Scratch, noise};
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("pins::right", &[Need::Kvm], right),
        Test::new("pins::wrong", &[], wrong),
        Test::new("pins::malformed", &[], malformed),
    ]
}

/// A guest and a disk. Returns them as pinned, with their true sums.
fn files(dir: &Scratch) -> (String, String) {
    let kernel = bare::elf(&[Op::Exit(42)]);
    let disk = noise(1, 4096);
    dir.write(KERNEL, &kernel);
    dir.write("disk", &disk);
    (format!("{KERNEL},sha256={}", sha256(&kernel)), format!("disk,sha256={}", sha256(&disk)))
}

fn right() {
    let dir = Scratch::new();
    let (kernel, disk) = files(&dir);
    for disk in [disk.clone(), format!("{disk},ro"), disk.replace(",", ",ro,")] {
        let args = ["boot", "--kernel", &kernel, "--disk", &disk, "--report", REPORT];
        Run::new(&dir, &args).end().exits(42).outcome("exited").is_silent();
    }
}

fn wrong() {
    let dir = Scratch::new();
    let (kernel, disk) = files(&dir);
    let other = sha256(b"");
    let pinned = |file: &str| format!("{file},sha256={other}");
    let sum = |file: &str| sha256(&dir.read(file));
    let rows: [(&[&str], &str, &str); 4] = [
        (&["boot", "--kernel", &pinned(KERNEL)], "kernel", KERNEL),
        (&["boot", "--kernel", &kernel, "--disk", &pinned("disk")], "disk image", "disk"),
        (
            &["boot", "--kernel", &kernel, "--disk", &disk, "--disk", &(pinned("disk") + ",ro")],
            "disk image",
            "disk",
        ),
        (
            &["run", "--kernel", &kernel, "--rootfs", &pinned("disk"), "--", "true"],
            "root file system",
            "disk",
        ),
    ];
    for (args, what, file) in rows {
        // The first disk would be locked for the second if it were the same file for writing.
        let args: Vec<&str> =
            args.iter().map(|arg| if *arg == disk.as_str() { "disk,ro" } else { arg }).collect();
        let end = Run::new(&dir, &args).end();
        end.exits(125).explains(&[what, file, &sum(file), &other, "has to be"]).prints("");
    }
}

fn malformed() {
    let dir = Scratch::new();
    files(&dir);
    for text in ["disk,sha256=12", "disk,sha256=", &format!("disk,sha256={}", "g".repeat(64))] {
        let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--disk", text]).end();
        end.exits(2).explains(&["64 hexadecimal digits"]);
    }
}
