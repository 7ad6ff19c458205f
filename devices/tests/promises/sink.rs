//! Sinks: slow readers hold, gone readers swallow, and no write ever blocks.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use devices::bounds::Bounds;
use devices::sink::{Loss, Sink};
use devices::visible::{Filter, Form};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, pipe};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::Numbers;

fn read_all(fd: &OwnedFd) -> Vec<u8> {
    fcntl_setfl(fd, OFlags::NONBLOCK).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(fd, &mut piece) {
        bytes.extend_from_slice(&piece[..count]);
    }
    bytes
}

#[test]
fn a_sink_takes_as_much_as_it_holds() {
    let (_reader, writer) = pipe().unwrap();
    let mut sink = Sink::new(writer, 10);
    assert!(sink.waiting().is_none());
    assert_eq!(sink.push(b"abcdefg"), 7);
    assert_eq!(sink.push(b"abcdefg"), 3);
    assert_eq!((sink.push(b"x"), sink.held()), (0, 10));
    assert!(sink.waiting().is_some());
    assert!(sink.write());
    assert_eq!((sink.held(), sink.push(b"abcdefg")), (0, 7));
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let mut numbers = Numbers(4);
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::new(writer, 10_000);
    let bytes = numbers.bytes(300_000);
    let (mut pushed, mut received) = (0, Vec::new());
    while received.len() < bytes.len() {
        let end = bytes.len().min(pushed + numbers.below(9000));
        pushed += sink.push(&bytes[pushed..end]);
        for _ in 0..numbers.below(4) {
            sink.write();
        }
        if numbers.below(3) == 0 {
            received.extend(read_all(&reader));
        }
    }
    assert!(received == bytes);
}

#[test]
fn a_reader_that_does_not_read_blocks_nothing() {
    let (reader, writer) = pipe().unwrap();
    let room = fcntl_getpipe_size(&writer).unwrap();
    let mut sink = Sink::new(writer, 4 * room);
    assert_eq!(sink.push(&vec![b'x'; 3 * room]), 3 * room);
    let start = Instant::now();
    while sink.write() {}
    assert_eq!(sink.held(), 2 * room);
    assert!(!sink.write() && !sink.is_closed());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(read_all(&reader).len(), room);
    assert!(sink.write());
}

#[test]
fn two_sinks_into_one_pipe_block_one_another_no_more() {
    let (_reader, writer) = pipe().unwrap();
    let room = fcntl_getpipe_size(&writer).unwrap();
    let mut sinks = [writer.try_clone().unwrap(), writer].map(|fd| Sink::new(fd, 2 * room));
    for sink in &mut sinks {
        sink.push(&vec![b'x'; room]);
    }
    // Both poll writable before each round; the first of the last round fills the pipe.
    while sinks.each_mut().map(Sink::write).contains(&true) {}
    assert_eq!(sinks[0].held() + sinks[1].held(), room);
}

#[test]
fn a_reader_that_has_gone_swallows_the_rest() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::new(writer, 10);
    sink.push(b"abc");
    drop(reader);
    assert!(sink.waiting().is_some() && !sink.is_closed());
    assert!(sink.write());
    assert!(sink.is_closed() && sink.waiting().is_none());
    assert_eq!((sink.push(&[0; 1000]), sink.held()), (1000, 0));
    assert!(!sink.write());
}

#[test]
fn what_cannot_be_written_is_counted_with_the_reason() {
    let full = || OwnedFd::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let read_only = OwnedFd::from(File::open("/dev/null").unwrap());
    let (reader, gone) = pipe().unwrap();
    drop(reader);
    // What it is written to, in which form; how much is lost of three bytes and a thousand later, and why.
    let rows = [
        (full(), Form::Exact, 1003, Errno::NOSPC.raw_os_error()),
        (full(), Form::Utf8, 1003, Errno::NOSPC.raw_os_error()),
        (read_only, Form::Exact, 1003, Errno::BADF.raw_os_error()),
        // Nobody lost what nobody wanted.
        (gone, Form::Exact, 0, 0),
    ];
    for (fd, form, failed, errno) in rows {
        let mut sink = Sink::new(fd, 10).in_form(form);
        sink.push(b"a\x1bc");
        assert!(sink.write() && sink.is_closed());
        assert_eq!((sink.push(&[0; 1000]), sink.held()), (1000, 0));
        assert_eq!(sink.loss(), Loss { beyond: 0, failed, errno });
    }
    // What is beyond the bounds would not have been written either way.
    let bounds = Bounds { bytes: 5, ..Bounds::NONE };
    let mut sink = Sink::new(full(), 10).within(bounds);
    sink.push(b"abc");
    assert!(sink.write());
    assert_eq!(sink.push(&[0; 1000]), 1000);
    assert_eq!((sink.loss().failed, sink.loss().beyond), (5, 998));
}

#[test]
fn a_terminal_is_shown_what_the_table_says_however_it_comes() {
    let bytes: &[u8] = b"\x1b[31m\xe2\x82\xac\r\n\xc2\x9b\rx\xe2\x82";
    let expected = "^[[31m\u{20ac}\r\n\\u{9b}^Mx\\xe2\\x82";
    for step in 1..=bytes.len() {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer, 100).in_form(Form::Utf8);
        for piece in bytes.chunks(step) {
            sink.push(piece);
            while sink.write() {}
        }
        assert_eq!((sink.held(), sink.waiting().is_none()), (0, true), "waits for what follows");
        sink.end();
        assert!(sink.waiting().is_some());
        while sink.write() {}
        assert_eq!(sink.held(), 0);
        assert_eq!(String::from_utf8_lossy(&read_all(&reader)), expected, "in pieces of {step}");
    }
    // Much more than a write takes, over the end of the buffer.
    let mut numbers = Numbers(9);
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::new(writer, 3000).in_form(Form::Ascii);
    let (bytes, mut pushed, mut shown) = (numbers.bytes(100_000), 0, Vec::new());
    while pushed < bytes.len() || sink.held() > 0 {
        pushed += sink.push(&bytes[pushed..bytes.len().min(pushed + numbers.below(4000))]);
        sink.write();
        shown.extend(read_all(&reader));
    }
    sink.end();
    while sink.write() {}
    shown.extend(read_all(&reader));
    let (mut filter, mut expected) = (Filter::new(Form::Ascii).unwrap(), String::new());
    filter.push(&bytes, &mut expected);
    filter.end(&mut expected);
    assert!(shown == expected.as_bytes());
}

/// A terminal that polls writable may have room for one byte: only `O_NONBLOCK` helps.
#[test]
fn a_terminal_whose_screen_stands_still_blocks_nothing() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let screen = openpt(flags).unwrap();
    unlockpt(&screen).unwrap();
    let terminal =
        ioctl_tiocgptpeer(&screen, flags | OpenptFlags::from_bits_retain(OFlags::NONBLOCK.bits()))
            .unwrap();
    let bytes = b"0123456789".repeat(20_000);
    let mut sink = Sink::new(terminal, bytes.len()).in_form(Form::Utf8);
    assert_eq!(sink.push(&bytes), bytes.len());
    let begun = Instant::now();
    while sink.write() {}
    assert!(sink.held() > 0 && !sink.is_closed());
    let mut shown = Vec::new();
    while shown.len() < bytes.len() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} bytes came", shown.len());
        shown.extend(read_all(&screen));
        sink.write();
    }
    assert!(shown == bytes);
}

#[test]
fn a_file_takes_everything() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = Sink::new(file.reopen().unwrap().into(), 1 << 20);
    let bytes = Numbers(6).bytes(100_000);
    assert_eq!(sink.push(&bytes), bytes.len());
    while sink.write() {}
    let mut written = Vec::new();
    file.read_to_end(&mut written).unwrap();
    assert!(written == bytes);
}
