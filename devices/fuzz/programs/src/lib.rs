//! What the fuzzers run: each target a function from bytes to nothing, which panics on a finding.
//!
//! | module | what a program drives | compared with |
//! |---|---|---|
//! | [`registers`] | the register state machine | [`model::registers`] |
//! | [`ring`] | virtqueues and chains | [`model::ring`]; no byte is read twice ([`fetch`]) |
//! | [`blk`] | block requests | [`model::blk`] |
//! | [`console`] | a console's two queues | [`model::console`] |
//! | [`control`] | control messages, and the worker's side of them | what the encoder writes |
//! | [`frames`] | the agent's frames through the console worker's loop | the stream that was sent |
//! | [`loader`] | kernel images and initrds, within a time limit | |
//! | [`archive`], [`tar`] | sources of images: tar, gzip, zstd, containers; the squashfs made of them | itself, twice; what is read back |
//! | [`inspect`] | squashfs images | what adds up |
//! | [`overlay`] | copy-on-write | a flat image |
//! | [`limits`] | a disk's rates and an output's, under a clock of the program's | the rate itself |
//! | [`output`] | outputs made fit for a terminal, through a sink | the same in one piece |
//! | [`whole`] | all of this at once: registers, memory, kicks, resets, backends | all models |
//!
//! Programs are bytes that [`bytes::Bytes`] turns into mostly valid accesses, so that every input
//! is a program and a mutation of one is another. The same functions run under libFuzzer
//! (`devices/fuzz`), under anything that feeds standard input (the `stdin` binary), and on stable
//! in `cargo test`, with the committed corpus and a fixed number of random programs.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a finding is a panic, and so is a program that cannot be set up"
)]

pub mod archive;
pub mod blk;
pub mod clock;
pub mod console;
pub mod control;
pub mod fetch;
pub mod frames;
pub mod inspect;
pub mod limits;
pub mod loader;
pub mod model;
pub mod output;
pub mod overlay;
pub mod registers;
pub mod rig;
pub mod ring;
pub mod seeds;
pub mod streams;
pub mod tar;
pub mod whole;

pub use steps::bytes;

/// A fuzz target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("registers", registers::run),
    ("ring", ring::run),
    ("blk", blk::run),
    ("console", console::run),
    ("control", control::run),
    ("frames", frames::run),
    ("loader", loader::run),
    ("archive", archive::run),
    ("inspect", inspect::run),
    ("overlay", overlay::run),
    ("limits", limits::run),
    ("output", output::run),
    ("whole", whole::run),
];
