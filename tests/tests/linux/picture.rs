//! A PNG, looked at closely enough to know that it is one: its parts, their sums, its size and its pixels.

use std::io::Read;

/// Fails unless these are the bytes of an 8-bit RGB picture of this size, and of more than one colour.
pub fn check(bytes: &[u8], width: usize, height: usize) {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    let (mut kinds, mut packed) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let length = usize::try_from(number(rest)).unwrap();
        let (part, after) = rest.split_at(12 + length);
        let (kind, content) = (&part[4..8], &part[8..8 + length]);
        let mut sum = flate2::Crc::new();
        sum.update(&part[4..8 + length]);
        assert_eq!(sum.sum(), number(&part[8 + length..]), "the sum of a part");
        match kind {
            b"IHDR" => {
                let size = [number(content), number(&content[4..])];
                assert_eq!(size.map(|side| usize::try_from(side).unwrap()), [width, height]);
                assert_eq!(content[8..], [8, 2, 0, 0, 0], "8-bit RGB");
            }
            b"IDAT" => packed.extend_from_slice(content),
            _ => {}
        }
        kinds.push(kind);
        rest = after;
    }
    assert_eq!((kinds.first(), kinds.last()), (Some(&&b"IHDR"[..]), Some(&&b"IEND"[..])));
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&*packed).read_to_end(&mut pixels).unwrap();
    assert_eq!(pixels.len(), height * (1 + 3 * width), "a row is a filter and its pixels");
    let rows = pixels.chunks(1 + 3 * width).flat_map(|row| row[1..].chunks(3));
    let colours: std::collections::BTreeSet<&[u8]> = rows.collect();
    assert!(colours.len() > 1, "an empty picture");
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}
