//! What the end-to-end tests stand on: the real `casemate`, run as a user runs it.
//!
//! | module | job |
//! |---|---|
//! | [`suite`] | tests by name, what each needs, and what becomes of one that cannot run here |
//! | [`run`] | one run of casemate: started, watched, ended, within a time limit |
//! | [`process`] | the processes of a run: which there are, what they hold, that they are gone |
//! | [`inject`] | makes a worker call what it never would |
//! | [`scratch`] | a directory for one test, and bytes to fill files with |
//! | [`terminal`] | a terminal for a run: keys, window and screen are the test's |
//! | [`guests`] | parts of bare-metal guests that several tests use |
//! | [`huge_pages`] | huge pages of the host, set aside for a test |
//! | [`archive`] | tar archives that are as wrong as a test wants |
//! | [`fixtures`] | kernels and root images for tests with Linux guests |
//!
//! The program `without` runs another one on a kernel that seems to lack a feature.
//!
//! Two suites, each a test executable: `bare` has guests of a few instructions, which every KVM runs;
//! `linux` has Linux guests and needs a KVM that runs them. Invariants: a test that cannot run says so
//! by name, and no test of a suite named in `CASEMATE_REQUIRE` may; every process that a run started is
//! gone when its test ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod archive;
pub mod fixtures;
pub mod guests;
pub mod huge_pages;
pub mod inject;
pub mod process;
pub mod run;
pub mod scratch;
pub mod suite;
pub mod terminal;
