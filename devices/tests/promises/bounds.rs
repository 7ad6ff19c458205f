//! Bounds of output: what is too much is dropped and counted, what is too fast is held back.

use std::time::{Duration, Instant};

use devices::bounds::{Bounds, Pace, WINDOW};
use devices::sink::Sink;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::pipe;

use crate::Numbers;

/// A sink of `capacity` bytes within bounds, and the reader of its output.
fn sink(capacity: usize, bounds: Bounds) -> (Sink, std::os::fd::OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
    (Sink::new(writer, capacity).within(bounds), reader)
}

fn drain(reader: &std::os::fd::OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(reader, &mut piece) {
        bytes.extend_from_slice(&piece[..count]);
    }
    bytes
}

#[test]
fn a_pace_keeps_its_rate_over_any_second() {
    // Bytes a second, and the most that goes out in one: each window may be used up at its end.
    for (rate, window) in [(20_000, 1000), (64 << 20, 3_355_444), (1, 1), (0, 1), (21, 2)] {
        let mut numbers = Numbers(rate + 1);
        let begun = Instant::now();
        let (mut pace, mut now, mut out) = (Pace::new(rate), begun, Vec::new());
        while now - begun < Duration::from_secs(4) {
            let count = pace.room(now).min(numbers.below(window * 2));
            if count > 0 {
                pace.spend(count, now);
                out.push((now, count));
            }
            match pace.pause(now) {
                Some(pause) => {
                    assert!(pause > Duration::ZERO && pause <= WINDOW);
                    assert_eq!(pace.room(now), 0);
                    // Not a moment before; and then there is room.
                    assert_eq!(pace.room(now + pause - Duration::from_nanos(1)), 0);
                    assert!(pace.room(now + pause) > 0 && pace.pause(now + pause).is_none());
                    now += pause;
                }
                None => now += Duration::from_micros(numbers.below(9000) as u64),
            }
        }
        for &(at, _) in &out {
            let second = out.iter().filter(|(t, _)| *t >= at && *t < at + Duration::from_secs(1));
            let sum: usize = second.map(|(_, count)| count).sum();
            assert!(sum <= 21 * window, "{sum} bytes in a second at {rate}");
        }
    }
}

#[test]
fn no_pace_is_no_pause() {
    let now = Instant::now();
    let mut pace = Pace::new(u64::MAX);
    for _ in 0..3 {
        assert!(pace.room(now) >= usize::MAX / 2 && pace.pause(now).is_none());
        pace.spend(usize::MAX / 4, now);
    }
}

#[test]
fn what_is_beyond_the_amount_is_dropped_and_counted() {
    let mut numbers = Numbers(3);
    for most in [0, 1, 4095, 4096, 100_000] {
        let (mut sink, reader) = sink(10_000, Bounds { bytes: most, ..Bounds::NONE });
        let bytes = numbers.bytes(130_000);
        let (mut pushed, mut received) = (0, Vec::new());
        while pushed < bytes.len() {
            let end = bytes.len().min(pushed + 1 + numbers.below(9000));
            let taken = sink.push(&bytes[pushed..end]);
            pushed += taken;
            // Only room is waited for, and there is some once what is held is written.
            assert!(taken > 0 || sink.held() == 10_000);
            while sink.write() {}
            received.extend(drain(&reader));
        }
        let kept = usize::try_from(most).unwrap();
        assert!(received == bytes[..kept], "{} bytes of {most}", received.len());
        assert_eq!(sink.loss().beyond, 130_000 - most);
        assert!(sink.waiting().is_none() && !sink.is_closed());
    }
}

#[test]
fn nothing_is_dropped_while_it_only_waits_for_room() {
    let (mut sink, _reader) = sink(10, Bounds { bytes: 12, ..Bounds::NONE });
    assert_eq!((sink.push(b"0123456789abcdef"), sink.loss().beyond), (10, 0));
    assert_eq!((sink.push(b"abcdef"), sink.loss().beyond), (0, 0));
    assert!(sink.write());
    assert_eq!((sink.push(b"abcdef"), sink.loss().beyond), (6, 4));
}

#[test]
fn what_a_gone_reader_misses_is_not_counted_as_dropped() {
    let (mut sink, reader) = sink(10, Bounds { bytes: 5, ..Bounds::NONE });
    drop(reader);
    sink.push(b"abc");
    assert!(sink.write() && sink.is_closed());
    assert_eq!((sink.push(b"abcdef"), sink.loss().beyond), (6, 0));
}

#[test]
fn what_is_too_fast_is_held_back_and_not_lost() {
    const RATE: u64 = 200_000;
    let (mut sink, reader) = sink(1 << 20, Bounds { per_second: RATE, ..Bounds::NONE });
    let bytes = Numbers(5).bytes(50_000);
    assert_eq!(sink.push(&bytes), bytes.len());
    let (begun, mut received, mut paused) = (Instant::now(), Vec::new(), 0);
    while received.len() < bytes.len() {
        while sink.write() {}
        received.extend(drain(&reader));
        if let Some(pause) = sink.pause() {
            // Held back by its pace, it is not polled: that would be a busy loop.
            assert!(sink.waiting().is_none() || sink.pause().is_none());
            paused += 1;
            std::thread::sleep(pause);
        }
    }
    assert!(received == bytes);
    // Five windows of 10,000 bytes have four pauses between them.
    assert!(paused >= 4 && begun.elapsed() >= 4 * (WINDOW - Duration::from_millis(10)));
    assert_eq!((sink.loss().beyond, sink.pause()), (0, None));
}

#[test]
fn at_the_end_the_pace_is_given_up() {
    let (mut sink, reader) = sink(1 << 20, Bounds { per_second: 20, ..Bounds::NONE });
    let bytes = Numbers(6).bytes(30_000);
    sink.push(&bytes);
    assert!(sink.write() && !sink.write());
    sink.hurry();
    while sink.write() {}
    assert!(drain(&reader) == bytes);
}
