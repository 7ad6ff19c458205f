//! The targets on stable: the committed corpus, and a fixed number of random programs.
#![cfg(test)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use programs::{TARGETS, Target};

/// Random programs of each target; fewer when they take long.
const PROGRAMS: usize = 20_000;
const ENOUGH: Duration = Duration::from_millis(1500);

/// A repeatable sequence of numbers that look random (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Runs a program, and says which one it was if it is a finding.
fn run((name, body): Target, program: &[u8], what: &str) {
    let result = std::panic::catch_unwind(|| body(program));
    if let Err(finding) = result {
        eprintln!("target {name}, {what}: {program:?}");
        std::panic::resume_unwind(finding);
    }
}

fn random(target: Target) {
    let mut numbers = Numbers(0x5eed);
    let begun = Instant::now();
    let mut ran = 0;
    while ran < PROGRAMS && (ran < 500 || begun.elapsed() < ENOUGH) {
        let len = usize::try_from(numbers.next() % 400).unwrap();
        let program: Vec<u8> = (0..len).map(|_| numbers.next().to_le_bytes()[6]).collect();
        run(target, &program, &format!("random program {ran}"));
        ran += 1;
    }
    println!("{}: {ran} random programs in {:?}", target.0, begun.elapsed());
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.0 == name).expect("there is no such target")
}

#[test]
fn the_corpus_finds_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for target in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(target.0)).unwrap() {
            let path = entry.unwrap().path();
            run(target, &fs::read(&path).unwrap(), &path.display().to_string());
            count += 1;
        }
        assert!(count > 0, "target {} has no corpus", target.0);
    }
}

#[test]
fn random_registers_find_nothing() {
    random(target("registers"));
}

#[test]
fn random_rings_find_nothing() {
    random(target("ring"));
}

#[test]
fn random_blk_requests_find_nothing() {
    random(target("blk"));
}

#[test]
fn random_consoles_find_nothing() {
    random(target("console"));
}

#[test]
fn random_control_messages_find_nothing() {
    random(target("control"));
}

#[test]
fn random_frames_find_nothing() {
    random(target("frames"));
}

#[test]
fn random_images_find_nothing() {
    random(target("loader"));
}

#[test]
fn random_archives_find_nothing() {
    random(target("archive"));
}

#[test]
fn random_squashfs_images_find_nothing() {
    random(target("inspect"));
}

#[test]
fn random_overlays_find_nothing() {
    random(target("overlay"));
}

#[test]
fn random_limits_find_nothing() {
    random(target("limits"));
}

#[test]
fn random_outputs_find_nothing() {
    random(target("output"));
}

#[test]
fn random_machines_find_nothing() {
    random(target("whole"));
}

/// With `CASEMATE_WRITE` set, they are written instead of compared.
#[test]
fn the_seeds_are_those_that_are_made() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, _) in TARGETS {
        for (seed, program) in programs::seeds::seeds(name) {
            let path = corpus.join(name).join(format!("seed-{seed}"));
            if std::env::var_os("CASEMATE_WRITE").is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &program).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), program, "{}", path.display());
        }
    }
}

/// A seed that is refused at its door would begin nothing.
#[test]
fn the_seeds_of_images_are_taken() {
    for (name, program) in programs::seeds::seeds("archive") {
        let built =
            programs::archive::drive(&program).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(built.counts.files > 0 && built.counts.directories > 1, "{name}: {built:?}");
    }
    for (name, program) in programs::seeds::seeds("inspect") {
        programs::inspect::drive(&program).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}
