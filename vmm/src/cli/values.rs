//! The values of options: files, disks, users, sizes.

use std::ffi::OsString;
use std::path::PathBuf;

use devices::throttle::Rates;
use worker::layout;

use crate::host::sum::Sum;
use crate::{ext4, limits};

/// A disk as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// The image.
    pub path: PathBuf,
    /// What a guest may do with it.
    pub access: Access,
    /// How fast.
    pub rates: Rates,
    /// What its SHA-256 has to be at the start.
    pub sum: Option<Sum>,
}

/// What a guest may do with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Writes are kept.
    Write,
    /// Writes are refused.
    Read,
    /// Writes are gone with the run, and the image stays as it is; so many bytes of them may be.
    Ephemeral(u64),
}

/// A scratch disk as the command line wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchArg {
    /// Its size in bytes.
    pub size: u64,
    /// How fast it may be.
    pub rates: Rates,
}

/// A directory of the host, and its place in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceArg {
    /// The directory.
    pub directory: PathBuf,
    /// Its place in the guest.
    pub place: OsString,
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
    let mut given = DiskOptions::default();
    let mut path = text;
    // From the end: a path may hold commas, and is what begins with none of these.
    while let Some((before, option)) = path.rsplit_once(',') {
        if !given.take(option)? {
            break;
        }
        path = before;
    }
    if path.is_empty() {
        return Err("no file is named".to_owned());
    }
    let access = given.access()?;
    let DiskOptions { rates: [bytes, operations], sum, .. } = given;
    let rates =
        Rates { bytes: bytes.unwrap_or(u64::MAX), operations: operations.unwrap_or(u64::MAX) };
    Ok(DiskArg { path: path.into(), access, rates, sum })
}

/// What was said of a disk behind its path.
#[derive(Default)]
struct DiskOptions {
    read_only: Option<()>,
    ephemeral: Option<()>,
    most: Option<u64>,
    rates: [Option<u64>; 2],
    sum: Option<Sum>,
}

impl DiskOptions {
    /// Takes note of one option. False: it is none.
    fn take(&mut self, option: &str) -> Result<bool, String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let first = match (name, option == name) {
            ("ro", true) => self.read_only.replace(()).is_none(),
            ("ephemeral", true) => self.ephemeral.replace(()).is_none(),
            ("max", false) => self.most.replace(limits::parse_bytes(value)?).is_none(),
            ("max-rate", false) => self.rates[0].replace(limits::parse_rate(value)?).is_none(),
            ("max-ops", false) => self.rates[1].replace(limits::parse_operations(value)?).is_none(),
            ("sha256", false) => self.sum.replace(value.parse()?).is_none(),
            _ => return Ok(false),
        };
        if first { Ok(true) } else { Err(format!("it has {name} twice")) }
    }

    fn access(&self) -> Result<Access, String> {
        match (self.read_only, self.ephemeral, self.most) {
            (Some(()), Some(()), _) => Err("it cannot be ro and ephemeral at once".to_owned()),
            (_, None, Some(_)) => Err("max goes with ephemeral".to_owned()),
            (Some(()), None, None) => Ok(Access::Read),
            (None, Some(()), most) => Ok(Access::Ephemeral(most.unwrap_or(limits::EPHEMERAL))),
            (None, None, None) => Ok(Access::Write),
        }
    }
}

pub fn parse_scratch(text: &str) -> Result<ScratchArg, String> {
    let (size, options) = text.split_once(',').unwrap_or((text, ""));
    let size = limits::parse_bytes(size)?;
    if !ext4::SIZES.contains(&size) {
        return Err("it has to be 16 MiB to 1 TiB".to_owned());
    }
    let mut given = DiskOptions::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if !option.starts_with("max-") || !given.take(option)? {
            return Err(format!("{option:?} is none of max-rate=SIZE and max-ops=N"));
        }
    }
    let [bytes, operations] = given.rates;
    let rates = Rates {
        bytes: bytes.unwrap_or(limits::SCRATCH.bytes),
        operations: operations.unwrap_or(limits::SCRATCH.operations),
    };
    Ok(ScratchArg { size, rates })
}

pub fn parse_in(text: &str) -> Result<PlaceArg, String> {
    parse_place(text, "/in")
}

pub fn parse_out(text: &str) -> Result<PlaceArg, String> {
    parse_place(text, "/out")
}

/// `DIR[:PATH]`: a place is what begins with a slash after the last colon.
fn parse_place(text: &str, default: &str) -> Result<PlaceArg, String> {
    let (directory, place) = match text.rsplit_once(":/") {
        Some((directory, place)) => (directory, format!("/{place}")),
        None => (text, default.to_owned()),
    };
    if directory.is_empty() {
        return Err("no directory is named".to_owned());
    }
    let parts: Vec<&str> = place.split('/').skip(1).collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err(format!("{place:?} is no place in the guest: try {default}"));
    }
    Ok(PlaceArg { directory: directory.into(), place: place.into() })
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
