//! SHA-256 of files: pins, which a file has to match before anything is started.
//!
//! A sum holds for the moment in which it was taken. Whoever may write the file may change it later:
//! a pin is for files that nobody else may write.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// So much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// A SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Sum {
    /// The SHA-256 of a text.
    pub fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl FromStr for Sum {
    type Err = String;

    fn from_str(hex: &str) -> Result<Self, String> {
        let wrong = || format!("{hex:?} is no SHA-256: it has to be 64 hexadecimal digits");
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut sum = [0; 32];
        for (index, byte) in sum.iter_mut().enumerate() {
            let pair = hex.get(2 * index..2 * index + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(sum))
    }
}

/// Length and SHA-256 of what is left to read of a file, with no calls but read: for a launcher that is
/// confined.
pub fn of_rest(file: &File) -> rustix::io::Result<(u64, Sum)> {
    let mut hash = Sha256::new();
    let mut piece = [0; 4096];
    let mut len = 0;
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut piece))? {
            0 => return Ok((len, Sum(hash.finalize().into()))),
            read => {
                hash.update(&piece[..read]);
                len += read as u64;
            }
        }
    }
}

/// The SHA-256 of a file. Where the file is read next does not change.
pub fn of(file: &File) -> std::io::Result<Sum> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(Sum(hash.finalize().into())),
            Ok(read) => {
                hash.update(&piece[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Refuses a file whose SHA-256 is not `wanted`.
pub fn check(what: &str, path: &Path, file: &File, wanted: Option<&Sum>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = of(file).with_context(|| format!("cannot read {what} {path:?}"))?;
    compare(what, path, &found, Some(wanted))
}

/// Refuses a file whose SHA-256 is `found` and not `wanted`.
pub fn compare(what: &str, path: &Path, found: &Sum, wanted: Option<&Sum>) -> Result<()> {
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        bail!("cannot use {what} {path:?}: its SHA-256 is {found}, and has to be {wanted}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn known_sums() {
        let mut file = tempfile::tempfile().unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(&file).unwrap().to_string(), empty);
        file.write_all(b"abc").unwrap();
        file.rewind().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&file).unwrap(), abc.to_uppercase().parse().unwrap());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let error = check("kernel", Path::new("k"), &file, empty.parse().ok().as_ref());
        let line = error.unwrap_err().to_string();
        assert!(
            line.contains(abc) && line.contains(empty) && line.contains("kernel \"k\""),
            "{line}"
        );
    }
}
