//! What is refused of directories that come in and of scratch disks, before anything is started.

use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::Test;

/// Options, the exit status, and words of the line that refuses them.
type Row = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const ROWS: [Row; 13] = [
    (
        "more_than_may_come_in",
        &["--in", "data", "--max-in", "1K"],
        125,
        &["\"data\"", "1024 bytes", "--max-in"],
    ),
    ("nothing_there", &["--in", "nothing"], 125, &["\"nothing\"", "No such file"]),
    ("no_directory", &["--in", "data/file"], 125, &["\"data/file\"", "is no directory"]),
    (
        "one_place_for_two",
        &["--in", "data", "--in", "data:/in"],
        125,
        &["two directories", "\"/in\""],
    ),
    ("the_root_as_a_place", &["--in", "data:/"], 2, &["no place in the guest"]),
    ("a_place_that_climbs", &["--in", "data:/a/../b"], 2, &["no place in the guest"]),
    ("no_name", &["--in", ":/in"], 2, &["no directory"]),
    ("out_to_what_is_not_empty", &["--out", "data"], 125, &["\"data\"", "not empty"]),
    ("out_of_what_came_in", &["--in", "data:/x", "--out", "new:/x"], 125, &["\"/x\"", "taken"]),
    ("scratch_too_small", &["--scratch", "1M"], 2, &["16 MiB to 1 TiB"]),
    ("scratch_without_end", &["--scratch", "none"], 2, &["16 MiB to 1 TiB"]),
    ("scratch_that_is_kept", &["--scratch", "1G,ro"], 2, &["none of max-rate"]),
    ("scratch_without_place", &["--scratch", "1G"], 125, &["temporary file", "TMPDIR"]),
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS.into_iter();
    let rows =
        rows.map(|row| Test::new(format!("files::refused::{}", row.0), &[], move || refused(&row)));
    let cap = Test::new("files::as_much_as_max_in_and_not_a_byte_more", &[], cap);
    rows.chain([cap]).collect()
}

/// What is in all files together counts. What fits comes as far as the kernel, which is none.
fn cap() {
    for (more, word) in [(0, "not a kernel"), (1, "--max-in")] {
        let dir = Scratch::new();
        std::fs::create_dir_all(dir.path("data/deep")).unwrap();
        dir.write("data/deep/a", [1; 60_000]);
        dir.write("data/b", vec![1; 40_000 + more]);
        dir.write("kernel", [1; 512]);
        dir.write("root", [0; 512]);
        let args = ["run", "--kernel", "kernel", "--rootfs", "root", "--in", "data"];
        let run = Run::new(&dir, &args).args(&["--max-in", "100000", "--", "true"]);
        run.end().exits(125).explains(&[word]);
    }
}

fn refused((name, options, status, words): &Row) {
    let dir = Scratch::new();
    std::fs::create_dir(dir.path("data")).unwrap();
    dir.write("data/file", [1; 2000]);
    dir.write("kernel", [0; 512]);
    dir.write("root", [0; 512]);
    std::fs::create_dir(dir.path("tmp")).unwrap();
    let tmp = if *name == "scratch_without_place" { "missing" } else { "tmp" };
    let run = Run::new(&dir, &["run", "--kernel", "kernel", "--rootfs", "root"]);
    let run = run.args(options).args(&["--", "true"]);
    let tmp = format!("TMPDIR={}", dir.path(tmp).to_str().unwrap());
    run.by(&["env", &tmp]).end().exits(*status).explains(words);
    assert_eq!(dir.list(), ["data", "kernel", "root", "tmp"]);
    assert!(std::fs::read_dir(dir.path("tmp")).unwrap().next().is_none());
}
