//! Which values options take, and which they refuse.

use devices::throttle::Rates;

use super::values::*;
use crate::host::sum::Sum;
use crate::limits;

#[test]
fn memory_sizes() {
    let rows: [(&str, Option<u64>); 12] = [
        ("128", Some(128)),
        ("128M", Some(128)),
        ("128MiB", Some(128)),
        ("5G", Some(5 * 1024)),
        ("32", Some(32)),
        ("512G", Some(512 * 1024)),
        ("31", None),
        ("513G", None),
        ("0", None),
        ("-1", None),
        ("99999999999999999999", None),
        ("many", None),
    ];
    for (text, expected) in rows {
        assert_eq!(parse_memory(text).ok(), expected.map(|mib| mib << 20), "{text}");
    }
}

#[test]
fn options_of_disks() {
    let ephemeral = Access::Ephemeral;
    let rows = [
        ("a,ephemeral", ephemeral(limits::EPHEMERAL), Rates::NONE),
        ("a,max=none,ephemeral", ephemeral(u64::MAX), Rates::NONE),
        (
            "a,ephemeral,max=1M,max-ops=7",
            ephemeral(1 << 20),
            Rates { operations: 7, ..Rates::NONE },
        ),
        ("a,max-rate=50M,ro", Access::Read, Rates { bytes: 50 << 20, ..Rates::NONE }),
        ("a,max-rate=1,max-ops=none", Access::Write, Rates { bytes: 1, ..Rates::NONE }),
    ];
    for (text, access, rates) in rows {
        let expected = DiskArg { path: "a".into(), access, rates, sum: None };
        assert_eq!(parse_disk(text), Ok(expected), "{text}");
    }
    let refused = [
        ("a,ro,ephemeral", "ro and ephemeral"),
        ("a,max=1M", "goes with ephemeral"),
        ("a,ro,ro", "ro twice"),
        ("a,max-rate=0", "nothing would ever"),
        ("a,max-ops=0", "nothing would ever"),
        ("a,max-ops=many", "not a number"),
        ("a,ephemeral,max=big", "not a size"),
        (",ephemeral", "no file"),
    ];
    for (text, words) in refused {
        assert!(parse_disk(text).is_err_and(|why| why.contains(words)), "{text}");
    }
}

#[test]
fn scratch_disks_and_places() {
    let scratch = |size, rates| Ok(ScratchArg { size, rates });
    let none = Rates { bytes: u64::MAX, ..limits::SCRATCH };
    assert_eq!(parse_scratch("10G"), scratch(10 << 30, limits::SCRATCH));
    assert_eq!(parse_scratch("16M,max-rate=none"), scratch(16 << 20, none));
    for bad in ["", "15M", "2T", "none", "1G,ro", "1G,max=1M", "1G,max-ops=0"] {
        assert!(parse_scratch(bad).is_err(), "{bad}");
    }
    let rows = [
        ("d", "d", "/in"),
        ("d:/a/b", "d", "/a/b"),
        ("a:b", "a:b", "/in"),
        ("/a:/b:/c", "/a:/b", "/c"),
    ];
    for (text, directory, place) in rows {
        let expected = PlaceArg { directory: directory.into(), place: place.into() };
        assert_eq!(parse_in(text), Ok(expected), "{text}");
    }
    for bad in ["", ":/in", "d:/", "d:/a/../b", "d:/a//b", "d:/a/", "d:/./a"] {
        assert!(parse_in(bad).is_err(), "{bad}");
    }
}

#[test]
fn other_values() {
    let disk = |path: &str, access| {
        Some(DiskArg { path: path.into(), access, rates: Rates::NONE, sum: None })
    };
    assert_eq!(parse_disk("a.img").ok(), disk("a.img", Access::Write));
    assert_eq!(parse_disk("a,b.img,ro").ok(), disk("a,b.img", Access::Read));
    let hex = "0123456789abcdef".repeat(4);
    let sum: Option<Sum> = hex.parse().ok();
    assert!(sum.is_some());
    let pinned =
        |path: &str, access| disk(path, access).map(|disk| DiskArg { sum: sum.clone(), ..disk });
    assert_eq!(parse_disk(&format!("a,b,sha256={hex}")).ok(), pinned("a,b", Access::Write));
    assert_eq!(parse_disk(&format!("a,ro,sha256={hex}")).ok(), pinned("a", Access::Read));
    assert_eq!(parse_disk(&format!("a,sha256={hex},ro")).ok(), pinned("a", Access::Read));
    let file = Some(FileArg { path: "a".into(), sum: sum.clone() });
    assert_eq!(parse_file(&format!("a,sha256={hex}")).ok(), file);
    let wrong = [
        format!("a,sha256={hex},sha256={hex}"),
        format!("a,sha256={}", &hex[1..]),
        format!("a,sha256={hex}0"),
        format!("a,sha256={}g", &hex[1..]),
        format!(",sha256={hex}"),
        "a,sha256=".to_owned(),
        ",ro".to_owned(),
    ];
    for text in wrong {
        assert_eq!(parse_disk(&text).ok(), None, "{text}");
    }
    let users = [("1000", "1000:1000"), ("1000:5", "1000:5"), ("app", "app"), ("a:b", "a:b")];
    for (text, expected) in users {
        assert_eq!(parse_user(text).ok(), Some(expected.into()), "{text}");
    }
    let long = "u".repeat(129);
    for bad in ["", "a b", "1:", ":1", "1:2:3", "-1", "4294967295", "4294967296", "../x", &long] {
        assert!(parse_user(bad).is_err(), "{bad}");
    }
    assert!(parse_env("A=").is_ok() && parse_env("=b").is_err() && parse_env("A").is_err());
    assert!(parse_hostname("a-b.c").is_ok() && parse_hostname("").is_err());
    assert!(parse_hostname("a b").is_err() && parse_hostname(&"a".repeat(65)).is_err());
}
