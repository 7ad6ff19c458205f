//! How a container image wants to be run, kept behind the file system that was made of it, where the
//! kernel does not look: a mark, the length of the text in 64 bits, and the text, a JSON object.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::source::Window;
use crate::squashfs::ALIGNMENT;
use crate::squashfs::output::Output;

const MARK: [u8; 16] = *b"casemate-config\0";
/// The longest text in bytes.
pub const LENGTH_MAX: usize = 256 << 10;
const HEAD: usize = MARK.len() + 8;

/// Writes a configuration, unless there is nothing in it.
pub fn write(output: &mut Output, config: &Map<String, Value>) -> Result<(), Error> {
    if config.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(config).map_err(|error| Error::Write(error.into()))?;
    if text.len() > LENGTH_MAX {
        return Err(Error::Container("its configuration is too long".to_owned()));
    }
    output.append(&MARK)?;
    output.append(&(text.len() as u64).to_le_bytes())?;
    output.append(&text)?;
    output.align(ALIGNMENT)
}

/// Reads the configuration behind a file system of `bytes` bytes, as text without any control
/// character and with nothing but ASCII in it; `None` where there is none.
pub fn read(image: Window, bytes: u64) -> Result<Option<String>, Error> {
    let at = bytes.next_multiple_of(ALIGNMENT);
    let Some(head) = read_part(image, at, HEAD)? else { return Ok(None) };
    let (mark, length) = head.split_at(MARK.len());
    if mark != MARK {
        return Ok(None);
    }
    let damaged = || Error::Image("its container configuration makes no sense");
    let length = u64::from_le_bytes(length.try_into().map_err(|_| damaged())?);
    let length = usize::try_from(length).ok().filter(|length| *length <= LENGTH_MAX);
    let text = read_part(image, at + HEAD as u64, length.ok_or_else(damaged)?)?;
    let config: Map<String, Value> =
        serde_json::from_slice(&text.ok_or_else(damaged)?).map_err(|_| damaged())?;
    let text = serde_json::to_string(&config).map_err(|_| damaged())?;
    Ok(Some(ascii(&text)))
}

fn read_part(image: Window, at: u64, length: usize) -> Result<Option<Vec<u8>>, Error> {
    let Ok(mut part) = image.part(at, length as u64) else { return Ok(None) };
    let mut bytes = vec![0; length];
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
