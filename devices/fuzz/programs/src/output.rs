//! Target `output`: what a guest writes, made fit for a terminal, through a sink into a pipe.
//!
//! In whatever pieces it comes, the same is written; what is written has nothing in it that a terminal obeys; what is
//! fit already stays as it is; and no byte is lost but those that are counted.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use devices::bounds::Bounds;
use devices::sink::Sink;
use devices::visible::{Filter, Form, is_obeyed, line};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::bytes::Bytes;

const FORMS: [Form; 3] = [Form::Exact, Form::Utf8, Form::Ascii];
/// A pipe holds more.
const MOST: usize = 8 << 10;

thread_local! {
    static PIPE: RefCell<(File, OwnedFd)> = RefCell::new({
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        (File::from(reader), writer)
    });
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    let mut program = Bytes::new(bytes);
    let form = program.one_of(&FORMS);
    assert_eq!(Form::from_name(form.name()), Some(form));
    let capacity = 1 + program.below(600);
    let bound = if program.rarely() { Some(program.half().into()) } else { None };
    let cuts: Vec<usize> = (0..program.below(8)).map(|_| 1 + program.below(300)).collect();
    let text = program.take(MOST);
    let whole = shown(form, text, &[]);
    assert_eq!(shown(form, text, &cuts), whole, "it depends on the pieces");
    fit(form, text, &whole);
    through_a_sink(form, (capacity, bound), text, &cuts);
}

/// All that is to be seen of `text`, which comes in pieces of these lengths.
fn shown(form: Form, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let Some(mut filter) = Filter::new(form) else { return text.to_vec() };
    let mut shown = String::new();
    for piece in pieces(text, cuts) {
        filter.push(piece, &mut shown);
        assert!(filter.begun() <= 3);
    }
    filter.end(&mut shown);
    shown.into_bytes()
}

/// Pieces of these lengths, over and over.
fn pieces<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = text;
    let mut cuts = cuts.iter().copied().cycle();
    std::iter::from_fn(|| {
        let len = cuts.next().unwrap_or(usize::MAX).min(rest.len());
        let (piece, later) = rest.split_at(len);
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
    .collect()
}

/// Checks what is to be seen.
fn fit(form: Form, text: &[u8], shown: &[u8]) {
    if form == Form::Exact {
        return;
    }
    let seen = std::str::from_utf8(shown).expect("what is shown is text");
    let unfolded = seen.replace("\r\n", "\n");
    let bad = unfolded.chars().find(|&char| is_obeyed(char) && !matches!(char, '\n' | '\t'));
    assert_eq!(bad, None, "a terminal would obey it");
    assert!(form == Form::Utf8 || seen.is_ascii(), "an eight-bit terminal may obey it");
    assert!(shown.len() <= 9 * text.len());
    if let Ok(text) = std::str::from_utf8(text)
        && !text.chars().any(is_obeyed)
        && (form == Form::Utf8 || text.is_ascii())
    {
        assert_eq!(seen, text, "it was fit already");
    }
    assert!(!line(seen).chars().any(is_obeyed), "a line of it is obeyed");
}

/// Checks that a sink writes just that, up to its bound.
fn through_a_sink(
    form: Form,
    (capacity, bound): (usize, Option<u64>),
    text: &[u8],
    cuts: &[usize],
) {
    PIPE.with_borrow_mut(|(reader, writer)| {
        let bounds = Bounds { bytes: bound.unwrap_or(u64::MAX), per_second: u64::MAX };
        let writer = writer.try_clone().unwrap();
        let mut sink = Sink::new(writer, capacity).within(bounds).in_form(form);
        let mut written = Vec::new();
        for mut piece in pieces(text, cuts) {
            while !piece.is_empty() {
                let taken = sink.push(piece);
                piece = &piece[taken..];
                assert!(sink.held() <= 4096 + capacity);
                drain(&mut sink, reader, &mut written);
            }
        }
        sink.end();
        drain(&mut sink, reader, &mut written);
        let most = usize::try_from(bounds.bytes).unwrap_or(usize::MAX).min(text.len());
        assert_eq!(written, shown(form, &text[..most], &[]), "what is written");
        assert_eq!(sink.loss().bytes(), (text.len() - most) as u64, "what is lost is counted");
        assert!(!sink.is_closed() && sink.held() == 0);
    });
}

/// Writes until nothing is left, and reads it.
fn drain(sink: &mut Sink, reader: &mut File, written: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while sink.waiting().is_some() {
        assert!(sink.write() && sink.pause().is_none(), "it has to go on");
        // An empty pipe is an error of one that does not block.
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            written.extend_from_slice(&buffer[..count]);
        }
    }
}
