//! The console worker's loop within bounds: what is told of dropped output, and when.

use std::time::{Duration, Instant};

use devices::bounds::Bounds;
use devices::channel::{End, Life};
use devices::serve::{Dropped, Turn};
use devices::sink::Loss;
use protocol::frame::{FromGuest, MAX_PAYLOAD, Stream};

use super::consoles::{NO_INPUT, Told, agent_within, drain, raw_within, settle};
use super::ended;
use crate::Numbers;

fn dropped(stdout: u64, stderr: u64) -> Told {
    let beyond = |beyond| Loss { beyond, ..Loss::default() };
    Told::Dropped(Dropped { stdout: beyond(stdout), stderr: beyond(stderr), ..Dropped::default() })
}

#[test]
fn a_flood_is_cut_off_and_the_guest_is_not_held_up() {
    let bounds = Bounds { bytes: 10_000, ..Bounds::NONE };
    let (mut guest, mut served, told, screen) = raw_within(NO_INPUT, bounds);
    let bytes = Numbers(1).bytes(60 * 8000);
    let mut received = Vec::new();
    for chunk in bytes.chunks(8000) {
        guest.write(chunk);
        settle(&mut served);
        assert_eq!(guest.written(), 1);
        received.extend(drain(&screen));
    }
    assert!(received == bytes[..10_000]);
    drop(guest.machine);
    assert_eq!(ended(|| served.run()), "ok");
    // When it begins, at least each time it has doubled, and exactly at the end.
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.first(), Some(&dropped(6000, 0)));
    assert_eq!(told.last(), Some(&dropped(470_000, 0)));
    assert!(told.len() <= 9, "told too often: {told:?}");
}

#[test]
fn each_stream_has_its_own_amount_and_all_is_told_before_the_end() {
    let mut agent = agent_within(NO_INPUT, Bounds { bytes: 5000, ..Bounds::NONE });
    agent.run();
    for _ in 0..2 {
        agent.guest.say(FromGuest::Data(Stream::Stdout, &[b'o'; MAX_PAYLOAD]));
        agent.guest.say(FromGuest::Data(Stream::Stderr, &[b'e'; 2600]));
        settle(&mut agent.served);
        agent.hear();
    }
    agent.told.try_iter().for_each(drop);
    agent.guest.say(FromGuest::Data(Stream::Stderr, b"more"));
    agent.guest.say(FromGuest::Exited(7));
    settle(&mut agent.served);
    let payload = u64::try_from(MAX_PAYLOAD).unwrap();
    let told: Vec<_> = agent.told.try_iter().collect();
    let ended = Told::Life(Life::Ended(End::Exited(7)));
    assert_eq!(told, [dropped(2 * payload - 5000, 204), ended]);
    assert!(drain(&agent.stdout) == [b'o'; 5000] && drain(&agent.stderr) == [b'e'; 5000]);
}

#[test]
fn a_command_that_floods_has_credit_again_and_again() {
    let mut agent = agent_within(NO_INPUT, Bounds { bytes: 1, ..Bounds::NONE });
    agent.run();
    // Many times the window: without credit this would be a violation.
    for _ in 0..100 {
        agent.guest.say(FromGuest::Data(Stream::Stdout, &[b'y'; MAX_PAYLOAD]));
        settle(&mut agent.served);
        agent.hear();
    }
    assert_eq!(drain(&agent.stdout), b"y");
}

#[test]
fn a_rate_holds_the_guest_back_without_turning_on_and_on() {
    const RATE: u64 = 400_000;
    let bounds = Bounds { per_second: RATE, ..Bounds::NONE };
    let (mut guest, mut served, told, screen) = raw_within(NO_INPUT, bounds);
    // More than the sink holds and a window lets through.
    let bytes = Numbers(2).bytes(20 * 8000);
    bytes.chunks(8000).for_each(|chunk| guest.write(chunk));
    let (begun, mut received, mut turns) = (Instant::now(), Vec::new(), 0);
    let mut held_back = false;
    while received.len() < bytes.len() {
        held_back |= served.turn(true).unwrap() == Turn::Idle;
        received.extend(drain(&screen));
        turns += 1;
    }
    assert!(received == bytes && held_back);
    // Eight windows of 20,000 bytes, of at most five writes each, and a pause between each two.
    assert!(begun.elapsed() >= 7 * Duration::from_millis(45), "{:?}", begun.elapsed());
    assert!(turns < 100, "{turns} turns");
    settle(&mut served);
    assert_eq!((guest.written(), told.try_iter().count()), (20, 0));
}

#[test]
fn the_end_does_not_wait_for_the_pace() {
    let bounds = Bounds { per_second: 20, ..Bounds::NONE };
    let (mut guest, mut served, _told, screen) = raw_within(NO_INPUT, bounds);
    let bytes = Numbers(3).bytes(5 * 8000);
    bytes.chunks(8000).for_each(|chunk| guest.write(chunk));
    served.turn(true).unwrap();
    drop(guest.machine);
    let begun = Instant::now();
    // The pipe takes it all, if it is given it.
    assert_eq!(ended(|| served.run()), "ok");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(drain(&screen) == bytes);
}
