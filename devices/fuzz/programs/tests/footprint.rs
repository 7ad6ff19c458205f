//! No program leaves a descriptor or a thread behind. A test alone in its process, since it counts.
#![cfg(test)]

use std::fs;
use std::path::Path;

use programs::TARGETS;

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

#[test]
fn a_corpus_of_programs_leaves_no_descriptor_and_no_thread() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, body) in TARGETS {
        let files = fs::read_dir(corpus.join(name)).unwrap();
        let programs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        // What a target keeps for all programs is there after the first round, and whole after the
        // empty program, whatever one closed.
        let round = || {
            programs.iter().chain([&Vec::new()]).for_each(|program| body(program));
            (count("fd"), count("task"))
        };
        assert_eq!(round(), round(), "{name}");
    }
}
