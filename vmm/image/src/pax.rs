//! pax records: `LENGTH KEY=VALUE\n`, where a value may hold any byte, as pax(1) has it.

use crate::error::{Error, Name};

/// The longest set of records, in bytes: room for every attribute that one file may have.
pub const LENGTH_MAX: u64 = 1 << 20;

const DAMAGED: Error = Error::Archive("a pax record makes no sense");

/// A key and its value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Takes records apart, in order.
pub fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, Error> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(DAMAGED)?;
        let length = usize::try_from(number(&bytes[..blank])?).map_err(|_| DAMAGED)?;
        let record = bytes.get(blank + 1..length).ok_or(DAMAGED)?;
        let record = record.strip_suffix(b"\n").ok_or(DAMAGED)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(DAMAGED)?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Refuses global records that would change what entries are.
pub fn check_global(bytes: &[u8]) -> Result<(), Error> {
    let harmless = |key: &[u8]| matches!(key, b"comment" | b"charset" | b"hdrcharset");
    match records(bytes)?.into_iter().find(|(key, _)| !harmless(key)) {
        Some((key, _)) => Err(Error::Global(Name::new(key))),
        None => Ok(()),
    }
}

/// A number in decimal digits.
pub fn number(text: &[u8]) -> Result<u64, Error> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text);
    let digits = digits.and_then(|text| std::str::from_utf8(text).ok());
    digits.and_then(|text| text.parse().ok()).ok_or(DAMAGED)
}

/// Whole seconds of a time, which may have a fraction and be before 1970: images have no such times.
pub fn seconds(text: &[u8]) -> Result<u64, Error> {
    let whole = text.split(|byte| *byte == b'.').next().unwrap_or_default();
    match whole.strip_prefix(b"-") {
        Some(before) => number(before).map(|_| 0),
        None => number(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_any_byte() {
        let bytes = b"11 path=a\n\n9 a=b\nc=\n6 k=v\n";
        let expected: [(&[u8], &[u8]); 3] = [(b"path", b"a\n"), (b"a", b"b\nc="), (b"k", b"v")];
        assert_eq!(records(&bytes[..]).unwrap(), expected);
    }

    #[test]
    fn damaged_records_are_refused() {
        let rows: [&[u8]; 9] = [
            b"6 k=v",
            b"x k=v\n",
            b"7 k=v\n",
            b"5 k=v\n",
            b"2 k=v\n",
            b"0 k=v\n",
            b"6 kvv\n",
            b"-6 k=v\n",
            b"99999999999999999999 k=v\n",
        ];
        for row in rows {
            assert!(records(row).is_err(), "{}", row.escape_ascii());
        }
    }

    #[test]
    fn times_are_whole_seconds_from_1970_on() {
        assert_eq!(seconds(b"12.9").unwrap(), 12);
        assert_eq!(seconds(b"-12.9").unwrap(), 0);
        assert!(seconds(b"12x").is_err());
        assert!(seconds(b"").is_err() || seconds(b"").unwrap() == 0);
    }

    #[test]
    fn global_records_may_comment_only() {
        assert!(check_global(b"13 comment=x\n").is_ok());
        assert!(check_global(b"8 uid=0\n").is_err());
    }
}
