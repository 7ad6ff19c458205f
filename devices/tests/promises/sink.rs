//! Sinks: slow readers hold, gone readers swallow, and no write ever blocks.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use devices::sink::Sink;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{fcntl_getpipe_size, pipe};

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
fn a_full_device_is_a_reader_that_has_gone() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut sink = Sink::new(full.into(), 10);
    sink.push(b"abc");
    assert!(sink.write() && sink.is_closed());
    // So is a descriptor that cannot be written at all.
    let read_only = File::open("/dev/null").unwrap();
    let mut sink = Sink::new(read_only.into(), 10);
    sink.push(b"abc");
    assert!(sink.write() && sink.is_closed());
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
