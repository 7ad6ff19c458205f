//! Archives that want out, or want too much: each refused for its own reason, in one line, and nothing
//! is left behind.

use tar::EntryType;
use tests::archive::{More, Tar, sha256};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::build;
use crate::containers::{CONFIG, config, layers, layout, saved};

/// What makes an archive, and words of the line that refuses it.
type Row = (&'static str, fn() -> Vec<u8>, &'static [&'static str]);

const ROWS: [Row; 37] = [
    (
        "absolute_path",
        || Tar::default().file("/etc/passwd", b"x").bytes(),
        &["\"/etc/passwd\"", "absolute"],
    ),
    ("parent", || Tar::default().file("../../etc/passwd", b"x").bytes(), &["holds \"..\""]),
    (
        "parent_inside",
        || Tar::default().file("a/../../b", b"x").bytes(),
        &["\"a/../../b\"", "holds \"..\""],
    ),
    (
        "absolute_pax_path",
        || Tar::default().pax("path", b"/x").file("a", b"").bytes(),
        &["\"/x\"", "absolute"],
    ),
    (
        "nul_in_a_name",
        || Tar::default().pax("path", b"a\0b").file("a", b"").bytes(),
        &["is no path"],
    ),
    ("through_a_link", through, &["\"a/passwd\"", "goes through \"a\""]),
    ("symlink_out", || link(EntryType::Symlink, "../../etc/shadow"), &["leaves the tree"]),
    (
        "hard_link_out",
        || link(EntryType::Link, "../../etc/shadow"),
        &["hard link", "leaves the tree"],
    ),
    (
        "hard_link_absolute",
        || link(EntryType::Link, "/etc/shadow"),
        &["hard link", "leaves the tree"],
    ),
    ("hard_link_to_nothing", || link(EntryType::Link, "nothing"), &["\"nothing\"", "not there"]),
    ("hard_link_to_a_directory", directory_link, &["hard link", "is a directory"]),
    (
        "escape_sequence_in_a_name",
        || Tar::default().file("/\x1b[31m", b"").bytes(),
        &["\\x1b[31m", "absolute"],
    ),
    (
        "long_path",
        || Tar::default().pax("path", &[b'/'; 5000].map(|_| b'a')).file("a", b"").bytes(),
        &["longer than 4096"],
    ),
    (
        "long_name",
        || Tar::default().pax("path", &[b'a'; 256]).file("a", b"").bytes(),
        &["longer than 255"],
    ),
    ("long_extension", || claims(EntryType::GNULongName, 1 << 40), &["too long"]),
    ("oversized_entry", || claims(EntryType::Regular, 1 << 40), &["\"a\"", "larger", "--max-size"]),
    (
        "overflowing_entry",
        || Tar::default().pax("size", b"18446744073709551615").file("a", b"").bytes(),
        &["longer than any"],
    ),
    (
        "many_large_entries",
        || Tar::default().file("a", &[1; 600_000]).file("b", &[1; 600_000]).bytes(),
        &["unpacked", "--max-size"],
    ),
    ("sparse_map_out_of_order", sparse, &["sparse parts makes no sense"]),
    (
        "pax_sparse",
        || Tar::default().pax("GNU.sparse.major", b"1").file("a", b"").bytes(),
        &["sparse in a form"],
    ),
    (
        "unknown_type",
        || Tar::default().add(EntryType::new(b'V'), "a", &More::default()).bytes(),
        &["type, 'V'"],
    ),
    ("wrong_checksum", || Tar::default().file("a", b"").raw(&[7; 512]).bytes(), &["checksum"]),
    ("cut_off", || Tar::default().file("a", b"x").unfinished(), &["ends early"]),
    (
        "broken_pax",
        || {
            Tar::default()
                .add(EntryType::XHeader, "x", &More { content: b"99 a=b\n", ..More::default() })
                .file("a", b"")
                .bytes()
        },
        &["pax record"],
    ),
    (
        "global_header",
        || {
            Tar::default()
                .add(
                    EntryType::XGlobalHeader,
                    "g",
                    &More { content: b"10 path=x\n", ..More::default() },
                )
                .bytes()
        },
        &["global header", "path"],
    ),
    ("no_archive", || b"just some text".to_vec(), &["no tar archive"]),
    (
        "wrong_layer_digest",
        || saved(&layers(), &config(&[vec![], vec![], vec![]])).bytes(),
        &["\"0/layer.tar\"", "digest"],
    ),
    ("wrong_blob_digest", wrong_blob, &["does not have its digest"]),
    ("config_huge_environment", || configured(&env(5 << 20)), &["\"config.json\"", "too long"]),
    ("config_long_environment", || configured(&env(300 << 10)), &["longer than 256 KiB"]),
    (
        "config_entrypoint_of_10_mb",
        || configured(&format!(r#""Entrypoint":["{}"]"#, "x".repeat(10 << 20))),
        &["\"config.json\"", "too long"],
    ),
    ("config_nul", || configured(r#""Env":["A=\u0000"]"#), &["Env", "not as the standard"]),
    (
        "config_nul_in_command",
        || configured(r#""Cmd":["\u0000"]"#),
        &["Cmd", "not as the standard"],
    ),
    ("config_user_is_a_path", || configured(r#""User":"../x""#), &["User", "not as the standard"]),
    ("config_no_list", || configured(r#""Entrypoint":{}"#), &["Entrypoint", "not as the standard"]),
    (
        "config_relative",
        || configured(r#""WorkingDir":"x""#),
        &["WorkingDir", "not as the standard"],
    ),
    (
        "layer_that_is_not_there",
        || {
            Tar::default()
                .file("config.json", config(&layers()).as_bytes())
                .file(
                    "manifest.json",
                    br#"[{"Config":"config.json","Layers":["../../etc/passwd","a","b"]}]"#,
                )
                .bytes()
        },
        &["is not there"],
    ),
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS.into_iter().map(|(name, make, words)| {
        let limit = if name.starts_with("config_") { &[][..] } else { &LIMIT };
        Test::new(format!("malicious::{name}"), &[], move || refused(&make(), limit, words))
    });
    let own = [
        Test::new("malicious::bomb_gzip", &[Need::Tool("gzip")], || bomb("gzip", "source.gz")),
        Test::new("malicious::bomb_zstd", &[Need::Tool("zstd")], || bomb("zstd", "source.zst")),
        Test::new("malicious::cut_off_gzip", &[Need::Tool("gzip")], || cut("gzip", "source.gz")),
        Test::new("malicious::cut_off_zstd", &[Need::Tool("zstd")], || cut("zstd", "source.zst")),
        Test::new("malicious::too_many_entries", &[], too_many),
        Test::new("malicious::noise", &[], noise),
    ];
    rows.chain(own).collect()
}

/// Nothing of a mebibyte and more is taken.
const LIMIT: [&str; 2] = ["--max-size", "1M"];

fn refused(archive: &[u8], limit: &[&str], words: &[&str]) {
    let dir = Scratch::new();
    dir.write("source", archive);
    let end = build(&dir, "source", limit);
    end.exits(125).explains(words).explains(&["cannot build an image of \"source\": "]).prints("");
    assert_eq!(dir.list(), ["source"], "something is left");
}

/// A container image that wants to be run like this.
fn configured(parts: &str) -> Vec<u8> {
    let config = config(&layers()).replace(CONFIG, &format!("{{{parts}}}"));
    saved(&layers(), &config).bytes()
}

/// An environment of so many bytes.
fn env(length: usize) -> String {
    let variable = format!("\"A={}\"", "x".repeat(1000));
    format!("\"Env\":[{}]", vec![variable; length / 1000].join(","))
}

fn link(kind: EntryType, target: &str) -> Vec<u8> {
    Tar::default().directory("d").link(kind, "d/a", target).bytes()
}

fn directory_link() -> Vec<u8> {
    Tar::default().directory("d").link(EntryType::Link, "a", "d").bytes()
}

fn through() -> Vec<u8> {
    Tar::default().link(EntryType::Symlink, "a", "/etc").file("a/passwd", b"x").bytes()
}

fn claims(kind: EntryType, length: u64) -> Vec<u8> {
    Tar::default().add(kind, "a", &More { claimed: Some(length), ..More::default() }).bytes()
}

/// A sparse file whose second part is before its first.
fn sparse() -> Vec<u8> {
    let mut archive = Tar::default()
        .add(EntryType::GNUSparse, "a", &More { content: &[1; 1024], ..More::default() })
        .bytes();
    let mut octal = |at: usize, number: u64| {
        archive[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    };
    for (part, (at, length)) in [(4096, 512), (0, 512)].into_iter().enumerate() {
        octal(386 + 24 * part, at);
        octal(386 + 24 * part + 12, length);
    }
    octal(483, 8192);
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

/// A layout whose configuration was changed after it was named.
fn wrong_blob() -> Vec<u8> {
    let layers = layers();
    let mut tar = Tar::default();
    let name = sha256(config(&layers).as_bytes());
    for (path, mut bytes) in layout(&layers, &config(&layers)) {
        if path.ends_with(&name) {
            bytes.push(b' ');
        }
        tar = tar.file(&path, &bytes);
    }
    tar.bytes()
}

/// An archive whose beginning claims little and that unpacks to much.
fn bomb(program: &str, packed: &str) {
    let dir = Scratch::new();
    let layers = [vec![0; 200 << 20]];
    dir.write("source", Tar::default().file("a", &[0; 200 << 20]).bytes());
    crate::tool(&dir, program, &["-q", "source"]);
    assert!(dir.read(packed).len() < 1 << 20);
    build(&dir, packed, &LIMIT).exits(125).explains(&["\"a\"", "larger", "--max-size"]);
    // The same in a layer that is packed itself: the archive around it is small.
    dir.write("source", &layers[0]);
    let _ = std::fs::remove_file(dir.path(packed));
    crate::tool(&dir, program, &["-q", "source"]);
    let inner = dir.read(packed);
    let outer = saved(&[inner], &config(&layers)).bytes();
    assert!(outer.len() < 1 << 20);
    dir.write("outer", outer);
    build(&dir, "outer", &LIMIT).exits(125).explains(&["unpacked, it is larger", "--max-size"]);
    assert!(!dir.path(crate::IMAGE).exists());
}

fn cut(program: &str, packed: &str) {
    let dir = Scratch::new();
    dir.write("source", Tar::default().file("a", &tests::scratch::noise(3, 500_000)).bytes());
    crate::tool(&dir, program, &["-q", "-f", "source"]);
    let whole = dir.read(packed);
    for length in [5, 20, whole.len() / 2, whole.len() - 10] {
        dir.write(packed, &whole[..length]);
        build(&dir, packed, &LIMIT).exits(125).explains(&["archive"]).prints("");
        assert!(!dir.path(crate::IMAGE).exists());
    }
}

/// More entries than are taken, without a byte in any.
fn too_many() {
    let dir = Scratch::new();
    let one = Tar::default().file("a", b"").unfinished();
    let mut archive = one.repeat((1 << 20) + 1);
    archive.extend([0; 1024]);
    dir.write("source", archive);
    build(&dir, "source", &["--max-size", "4G"])
        .exits(125)
        .explains(&["more than 1048576 entries"]);
    assert_eq!(dir.list(), ["source"]);
}

/// An archive and a container image with bytes changed all over: an image or one line, and no breach.
fn noise() {
    let dir = Scratch::new();
    let layers = layers();
    let good = saved(&layers, &config(&layers)).bytes();
    for seed in 0..40_u64 {
        let mut bad = good.clone();
        for spot in tests::scratch::noise(seed, 8).chunks(2) {
            let at = usize::from(spot[0]) * 100 % bad.len();
            bad[at] ^= spot[1];
        }
        dir.write("source", bad);
        let end = build(&dir, "source", &LIMIT);
        match end.code {
            Some(0) => end.is_silent(),
            _ => end.exits(125).explains(&["cannot build an image of"]),
        };
    }
}
