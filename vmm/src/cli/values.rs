//! The values of options: files, disks, users, sizes.

use std::ffi::OsString;
use std::path::PathBuf;

use worker::layout;

use crate::host::sum::Sum;

/// A disk as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// The image.
    pub path: PathBuf,
    /// Writes are refused.
    pub read_only: bool,
    /// What its SHA-256 has to be at the start.
    pub sum: Option<Sum>,
}

/// A file as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileArg {
    /// The file.
    pub path: PathBuf,
    /// What its SHA-256 has to be.
    pub sum: Option<Sum>,
}

pub fn parse_disk(text: &str) -> Result<DiskArg, String> {
    let (text, mut sum) = split_sum(text)?;
    let (text, read_only) = match text.strip_suffix(",ro") {
        Some(path) => (path, true),
        None => (text, false),
    };
    // In either order.
    let (path, before) = split_sum(text)?;
    if before.is_some() && sum.is_some() {
        return Err("it has two SHA-256".to_owned());
    }
    sum = sum.or(before);
    if path.is_empty() {
        return Err("no file is named".to_owned());
    }
    Ok(DiskArg { path: path.into(), read_only, sum })
}

pub fn parse_file(text: &str) -> Result<FileArg, String> {
    let (path, sum) = split_sum(text)?;
    if path.is_empty() {
        return Err("no file is named".to_owned());
    }
    Ok(FileArg { path: path.into(), sum })
}

/// Takes `,sha256=HEX` off the end.
fn split_sum(text: &str) -> Result<(&str, Option<Sum>), String> {
    match text.rsplit_once(",sha256=") {
        Some((path, hex)) if !hex.contains(',') => Ok((path, Some(hex.parse()?))),
        _ => Ok((text, None)),
    }
}

pub fn parse_env(text: &str) -> Result<OsString, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.into()),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

/// `USER[:GROUP]`, each a name or a number; a number alone is the group's too. Who that is, is for the
/// guest to say.
pub fn parse_user(text: &str) -> Result<OsString, String> {
    let wrong = || format!("{text:?} is neither USER nor USER:GROUP, names or numbers");
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let good = |part: &&str| {
        let plain = part.bytes().all(|byte| byte.is_ascii_graphic() && !b":/".contains(&byte));
        let known = !is_number(part) || part.parse::<u32>().is_ok_and(|id| id != u32::MAX);
        plain && known && (1..=128).contains(&part.len()) && !part.starts_with('-')
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 2 || !parts.iter().all(good) {
        return Err(wrong());
    }
    match parts[..] {
        [user] if is_number(user) => Ok(format!("{user}:{user}").into()),
        _ => Ok(text.into()),
    }
}

pub fn parse_hostname(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if (1..=64).contains(&text.len()) && letters {
        Ok(text.to_owned())
    } else {
        Err("it has to be 1 to 64 letters, digits, dots and dashes".to_owned())
    }
}

pub fn parse_memory(text: &str) -> Result<u64, String> {
    let parser = parse_size::Config::new().with_binary();
    let bytes = match text.parse::<u64>() {
        Ok(mebibytes) => mebibytes.checked_mul(1 << 20).ok_or("too large")?,
        Err(_) => parser.parse_size(text).map_err(|_| "not a size: try 512M or 4G")?,
    };
    if bytes < layout::RAM_MIN {
        return Err(format!("at least {} MiB", layout::RAM_MIN >> 20));
    }
    if bytes > layout::RAM_MAX {
        return Err(format!("at most {} GiB", layout::RAM_MAX >> 30));
    }
    Ok(bytes.next_multiple_of(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn other_values() {
        let disk =
            |path: &str, read_only| Some(DiskArg { path: path.into(), read_only, sum: None });
        assert_eq!(parse_disk("a.img").ok(), disk("a.img", false));
        assert_eq!(parse_disk("a,b.img,ro").ok(), disk("a,b.img", true));
        assert_eq!(parse_disk(",ro").ok(), None);
        let hex = "0123456789abcdef".repeat(4);
        let sum: Option<Sum> = hex.parse().ok();
        assert!(sum.is_some());
        let pinned = |path: &str, read_only| {
            Some(DiskArg { path: path.into(), read_only, sum: sum.clone() })
        };
        assert_eq!(parse_disk(&format!("a,b,sha256={hex}")).ok(), pinned("a,b", false));
        assert_eq!(parse_disk(&format!("a,ro,sha256={hex}")).ok(), pinned("a", true));
        assert_eq!(parse_disk(&format!("a,sha256={hex},ro")).ok(), pinned("a", true));
        let file = Some(FileArg { path: "a".into(), sum: sum.clone() });
        assert_eq!(parse_file(&format!("a,sha256={hex}")).ok(), file);
        let wrong = [
            format!("a,sha256={hex},sha256={hex}"),
            format!("a,sha256={}", &hex[1..]),
            format!("a,sha256={hex}0"),
            format!("a,sha256={}g", &hex[1..]),
            format!(",sha256={hex}"),
            "a,sha256=".to_owned(),
        ];
        for text in wrong {
            assert_eq!(parse_disk(&text).ok(), None, "{text}");
        }
        let users = [("1000", "1000:1000"), ("1000:5", "1000:5"), ("app", "app"), ("a:b", "a:b")];
        for (text, expected) in users {
            assert_eq!(parse_user(text).ok(), Some(expected.into()), "{text}");
        }
        let long = "u".repeat(129);
        for bad in ["", "a b", "1:", ":1", "1:2:3", "-1", "4294967295", "4294967296", "../x", &long]
        {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
        assert!(parse_env("A=").is_ok() && parse_env("=b").is_err() && parse_env("A").is_err());
        assert!(parse_hostname("a-b.c").is_ok() && parse_hostname("").is_err());
        assert!(parse_hostname("a b").is_err() && parse_hostname(&"a".repeat(65)).is_err());
    }
}
