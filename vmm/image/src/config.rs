//! How a container image wants to be run, kept behind the file system that was made of it, where the
//! kernel does not look: a JSON object, its length in 64 bits, and a mark, with which the image ends. So the
//! launcher knows by sixteen bytes whether there is something to ask for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::execution::Execution;
use crate::source::Window;
use crate::squashfs::ALIGNMENT;
use crate::squashfs::output::Output;

const MARK: [u8; 16] = *b"casemate-config\0";
/// The longest text in bytes.
pub const LENGTH_MAX: usize = 256 << 10;
/// Length of what is behind the text.
const FOOT: u64 = MARK.len() as u64 + 8;

/// Writes a configuration, unless there is nothing in it.
pub fn write(output: &mut Output, config: &Map<String, Value>) -> Result<(), Error> {
    if config.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(config).map_err(|error| Error::Write(error.into()))?;
    if text.len() > LENGTH_MAX {
        let text = format!("its configuration is longer than {} KiB", LENGTH_MAX >> 10);
        return Err(Error::Container(text));
    }
    let before = (output.position() + text.len() as u64 + FOOT).next_multiple_of(ALIGNMENT)
        - output.position()
        - text.len() as u64
        - FOOT;
    output.append(&vec![0; usize::try_from(before).unwrap_or(0)])?;
    output.append(&text)?;
    output.append(&(text.len() as u64).to_le_bytes())?;
    output.append(&MARK).map(drop)
}

/// True when an image, `length` bytes long, ends with the mark.
pub fn is_in(image: &File, length: u64) -> bool {
    let mut mark = [0; MARK.len()];
    let at = length.checked_sub(MARK.len() as u64);
    at.is_some_and(|at| image.read_exact_at(&mut mark, at).is_ok()) && mark == MARK
}

/// Reads the configuration of an image, `length` bytes long; `None` where there is none.
pub fn read(image: Window, length: u64) -> Result<Option<Map<String, Value>>, Error> {
    let Some(foot) = length.checked_sub(FOOT) else { return Ok(None) };
    let Some(bytes) = read_part(image, foot, FOOT)? else { return Ok(None) };
    let (size, mark) = bytes.split_at(8);
    if mark != MARK {
        return Ok(None);
    }
    let damaged = || Error::Image("its container configuration makes no sense");
    let size = u64::from_le_bytes(size.try_into().map_err(|_| damaged())?);
    let at = foot.checked_sub(size).filter(|_| size <= LENGTH_MAX as u64).ok_or_else(damaged)?;
    let text = read_part(image, at, size)?.ok_or_else(damaged)?;
    serde_json::from_slice(&text).map(Some).map_err(|_| damaged())
}

/// A configuration as text without any control character and with nothing but ASCII in it.
pub fn to_text(config: &Map<String, Value>) -> Result<String, Error> {
    let text = serde_json::to_string(config);
    Ok(ascii(&text.map_err(|_| Error::Image("its container configuration makes no sense"))?))
}

/// How an image wants to be run; nothing, where it does not say.
pub fn execution(image: Window, length: u64) -> Result<Execution, Error> {
    Execution::of(&read(image, length)?.unwrap_or_default())
}

fn read_part(image: Window, at: u64, length: u64) -> Result<Option<Vec<u8>>, Error> {
    let Ok(mut part) = image.part(at, length) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    std::io::Read::read_exact(&mut part, &mut bytes).map_err(Error::of_reading)?;
    Ok(Some(bytes))
}

/// JSON with every character beyond ASCII escaped; it is inside a string, where there are any.
fn ascii(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_control() {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_ascii_and_means_the_same() {
        let text = "{\"a\":\"\\n\u{7f}ü😀\"}";
        let escaped = ascii(text);
        assert!(escaped.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{escaped}");
        let values = [text, &escaped].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(values[0], values[1]);
    }
}
