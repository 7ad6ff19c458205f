//! What a guest writes, made fit for a terminal: nothing in it moves the cursor, hides, or is obeyed.
//!
//! | from the guest | on the terminal |
//! |---|---|
//! | newline, tab, carriage return before a newline | the same |
//! | any other control character of ASCII, DEL included | `^[`, `^M`, `^?` and so on |
//! | U+0080 to U+009F, which an eight-bit terminal obeys | `\u{9b}` |
//! | what turns the direction of writing around | `\u{202e}` |
//! | bytes that are not UTF-8 | `\x9b`, a byte each |
//! | any other character | the same, on a terminal that knows UTF-8; else `\xc3\xa9` |
//!
//! What is shown is ASCII wherever it differs, so that no terminal of any kind can take it for something
//! else: even the picture `␛` has a byte that an eight-bit terminal obeys. It is for people, not for
//! programs: what does not go to a terminal is copied to the byte.

use std::fmt::Write;

/// How an output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// To the byte.
    #[default]
    Exact,
    /// Visible, for a terminal that knows UTF-8.
    Utf8,
    /// Visible, for a terminal that may not.
    Ascii,
}

impl Form {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Utf8 => "utf8",
            Self::Ascii => "ascii",
        }
    }

    /// The form of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Exact, Self::Utf8, Self::Ascii].into_iter().find(|form| form.name() == name)
    }
}

/// The most bytes that one byte becomes.
pub const WIDEST: usize = 4;

/// Makes a stream visible, in whatever pieces it comes.
#[derive(Debug)]
pub struct Filter {
    utf8: bool,
    /// A carriage return, or the beginning of a character, that waits for what follows.
    begun: [u8; 4],
    len: usize,
}

impl Filter {
    /// A filter for outputs of this form; none for what is to be exact.
    pub fn new(form: Form) -> Option<Self> {
        let filter = |utf8| Some(Self { utf8, begun: [0; 4], len: 0 });
        match form {
            Form::Exact => None,
            Form::Utf8 => filter(true),
            Form::Ascii => filter(false),
        }
    }

    /// Appends to `shown` what is to be seen of `bytes`. At most three bytes wait for what follows.
    pub fn push(&mut self, bytes: &[u8], shown: &mut String) {
        bytes.iter().for_each(|&byte| self.take(byte, shown));
    }

    /// How many bytes wait for what follows.
    pub fn begun(&self) -> usize {
        self.len
    }

    /// Nothing follows any more.
    pub fn end(&mut self, shown: &mut String) {
        self.give_up(shown);
    }

    fn take(&mut self, byte: u8, shown: &mut String) {
        if self.begun.first() == Some(&b'\r') && self.len > 0 {
            self.len = 0;
            shown.push_str(if byte == b'\n' { "\r" } else { "^M" });
        } else if self.len > 0 && byte & 0xc0 != 0x80 {
            self.give_up(shown);
        }
        match byte {
            b'\n' | b'\t' => shown.push(char::from(byte)),
            b'\r' => self.begin(byte),
            0..0x80 => show(char::from(byte), shown),
            _ if self.utf8 => self.take_part(byte, shown),
            _ => show_byte(byte, shown),
        }
    }

    /// Takes a byte of a character that is not of ASCII.
    fn take_part(&mut self, byte: u8, shown: &mut String) {
        self.begin(byte);
        let begun = self.begun.get(..self.len).unwrap_or_default();
        match std::str::from_utf8(begun) {
            Ok(text) => {
                text.chars().for_each(|char| show(char, shown));
                self.len = 0;
            }
            Err(error) if error.error_len().is_none() => {}
            // What came before was the beginning of a character, so this byte is none of it.
            Err(_) => self.give_up(shown),
        }
    }

    fn begin(&mut self, byte: u8) {
        if let Some(place) = self.begun.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn give_up(&mut self, shown: &mut String) {
        let begun = self.begun.get(..self.len).unwrap_or_default();
        begun.iter().for_each(|&byte| show_byte(byte, shown));
        self.len = 0;
    }
}

/// A text as one line that is fit for a terminal.
pub fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|char| show(char, &mut shown));
    shown
}

/// True for a character that a terminal could obey instead of showing it.
pub fn is_obeyed(char: char) -> bool {
    char.is_control() || is_bidi(char)
}

/// The controls of the direction of writing (Unicode, UAX #9, table 4).
fn is_bidi(char: char) -> bool {
    let ranges = ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    char == '\u{61c}' || ranges.iter().any(|range| range.contains(&char))
}

fn show(char: char, shown: &mut String) {
    match char {
        '\0'..' ' | '\x7f' => {
            shown.push('^');
            shown.push(caret(char));
        }
        char if is_obeyed(char) => {
            // A string takes everything.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
        }
        char => shown.push(char),
    }
}

/// The letter that stands for a control character of ASCII.
fn caret(char: char) -> char {
    char::from_u32(u32::from(char) ^ 0x40).unwrap_or('?')
}

fn show_byte(byte: u8, shown: &mut String) {
    if byte < 0x80 {
        return show(char::from(byte), shown);
    }
    let _ = write!(shown, "\\x{byte:02x}");
}
