//! What a terminal gets to see of a guest's output.

use devices::visible::{Filter, Form, WIDEST, is_obeyed, line};

use crate::Numbers;

/// What is shown of `pieces`, one after the other, to the end.
fn shown(form: Form, pieces: &[&[u8]]) -> String {
    let mut filter = Filter::new(form).unwrap();
    let mut shown = String::new();
    pieces.iter().for_each(|piece| filter.push(piece, &mut shown));
    filter.end(&mut shown);
    shown
}

/// What the guest writes, what a UTF-8 terminal shows of it, and what another one shows.
const ROWS: &[(&[u8], &str, &str)] = &[
    (b"", "", ""),
    (b"plain text\n\tmore\n", "plain text\n\tmore\n", "plain text\n\tmore\n"),
    // A colour, a title, a report of the cursor's place, the clipboard.
    (b"\x1b[31mred", "^[[31mred", "^[[31mred"),
    (b"\x1b]0;title\x07", "^[]0;title^G", "^[]0;title^G"),
    (b"\x1b[6n\x1b]52;c;aGk=\x1b\\", "^[[6n^[]52;c;aGk=^[\\", "^[[6n^[]52;c;aGk=^[\\"),
    // The same, begun by one character: as UTF-8, and as the byte that it was before there was UTF-8.
    ("\u{9b}31mred".as_bytes(), "\\u{9b}31mred", "\\xc2\\x9b31mred"),
    (b"\x9b31mred", "\\x9b31mred", "\\x9b31mred"),
    ("\u{80}\u{9f}\u{a0}".as_bytes(), "\\u{80}\\u{9f}\u{a0}", "\\xc2\\x80\\xc2\\x9f\\xc2\\xa0"),
    // To the line's beginning, one back, a bell, the other character set, delete, nothing.
    (b"50%\r60%\r\n", "50%^M60%\r\n", "50%^M60%\r\n"),
    (b"\r\r\n\r", "^M\r\n^M", "^M\r\n^M"),
    (b"a\x08b\x07\x0e\x0f\x7f\0\x0b\x0c", "a^Hb^G^N^O^?^@^K^L", "a^Hb^G^N^O^?^@^K^L"),
    // Text of every length a character can have.
    ("é€😀\n".as_bytes(), "é€😀\n", "\\xc3\\xa9\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80\n"),
    // Text that reads backwards.
    (
        "a\u{202e}b\u{2066}c\u{200f}".as_bytes(),
        "a\\u{202e}b\\u{2066}c\\u{200f}",
        "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c\\xe2\\x80\\x8f",
    ),
    ("\u{61c}".as_bytes(), "\\u{61c}", "\\xd8\\x9c"),
    // No UTF-8: alone, cut short, too long a form of ESC, a half of a pair, beyond the last character.
    (b"\xa9\xff\xc0", "\\xa9\\xff\\xc0", "\\xa9\\xff\\xc0"),
    (b"\xe2\x82", "\\xe2\\x82", "\\xe2\\x82"),
    (b"\xf0\x9f\x98A\xc3", "\\xf0\\x9f\\x98A\\xc3", "\\xf0\\x9f\\x98A\\xc3"),
    (b"\xc0\x9b\xe0\x80\x9b", "\\xc0\\x9b\\xe0\\x80\\x9b", "\\xc0\\x9b\\xe0\\x80\\x9b"),
    (
        b"\xed\xa0\x80\xf4\x90\x80\x80",
        "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80",
        "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80",
    ),
    // Cut short by what is to be obeyed.
    (
        b"\xe2\x1b[m\xc3\r\n\xc3\r\xc3",
        "\\xe2^[[m\\xc3\r\n\\xc3^M\\xc3",
        "\\xe2^[[m\\xc3\r\n\\xc3^M\\xc3",
    ),
    (b"\xe2\xe2\x82\xac", "\\xe2€", "\\xe2\\xe2\\x82\\xac"),
];

#[test]
fn each_row_is_shown_as_the_table_says() {
    for (bytes, utf8, ascii) in ROWS {
        assert_eq!(shown(Form::Utf8, &[bytes]), *utf8, "{bytes:?}");
        assert_eq!(shown(Form::Ascii, &[bytes]), *ascii, "{bytes:?}");
    }
}

#[test]
fn however_the_output_is_cut_the_same_is_shown() {
    for (bytes, utf8, ascii) in ROWS {
        for at in 0..=bytes.len() {
            let pieces = [&bytes[..at], &bytes[at..]];
            assert_eq!(shown(Form::Utf8, &pieces), *utf8, "{bytes:?} cut at {at}");
            assert_eq!(shown(Form::Ascii, &pieces), *ascii, "{bytes:?} cut at {at}");
        }
        let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(shown(Form::Utf8, &bytes), *utf8, "{bytes:?} byte by byte");
    }
}

#[test]
fn whatever_comes_nothing_is_left_to_be_obeyed() {
    let mut numbers = Numbers(41);
    for _ in 0..2000 {
        // Many lead bytes and controls, so that most of the machine's edges are walked.
        let len = numbers.below(40);
        let bytes: Vec<u8> = (0..len)
            .map(|_| match numbers.below(4) {
                0 => u8::try_from(numbers.below(256)).unwrap(),
                1 => u8::try_from(0x80 + numbers.below(0x40)).unwrap(),
                2 => *[0xc2, 0xe2, 0xf0, 0x1b, b'\r', b'\n'].get(numbers.below(6)).unwrap(),
                _ => b'a',
            })
            .collect();
        for form in [Form::Utf8, Form::Ascii] {
            let shown = shown(form, &[&bytes]);
            assert!(shown.len() <= WIDEST * bytes.len(), "{bytes:?} became {shown:?}");
            let kept = shown.replace("\r\n", "\n").replace(['\n', '\t'], "");
            assert!(!kept.chars().any(is_obeyed), "{bytes:?} became {shown:?}");
            assert!(form == Form::Utf8 || shown.is_ascii(), "{bytes:?} became {shown:?}");
        }
    }
}

#[test]
fn a_line_is_one_line() {
    assert_eq!(
        line("no\nsuch\t\u{1b}[31mfile\r\u{9b}\u{202e}é"),
        "no^Jsuch^I^[[31mfile^M\\u{9b}\\u{202e}é"
    );
}

#[test]
fn exact_is_no_filter() {
    assert!(Filter::new(Form::Exact).is_none());
}
