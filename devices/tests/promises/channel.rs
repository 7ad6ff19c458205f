//! The agent's channel: a model of the agent at the other end, and every frame out of turn.

use std::os::fd::OwnedFd;

use devices::channel::{Channel, End, Life, MAX_TEXT};
use devices::console::Port;
use devices::orders::Order;
use devices::violation::Violation;
use protocol::frame::{
    Decoder, Failure, FromGuest, FromHost, MAX_PAYLOAD, Stream, VERSION, WINDOW,
};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::pipe;

use crate::Numbers;

const HELLO: FromGuest<'_> = FromGuest::Hello(VERSION);
const STARTED: FromGuest<'_> = FromGuest::Started;

/// What the agent knows.
#[derive(Default)]
struct Agent {
    decoder: Decoder,
    /// Bytes of stdout and stderr that it may send.
    credit: [u32; 2],
    /// Bytes of stdin that the host may send.
    granted: u32,
    stdin: Vec<u8>,
    ended: bool,
    closed: [bool; 2],
    signals: Vec<u8>,
    sizes: Vec<(u16, u16)>,
}

impl Agent {
    fn hear(&mut self, mut bytes: &[u8]) {
        while self.decoder.fill(&mut bytes).unwrap() {
            match self.decoder.from_host().unwrap() {
                FromHost::Data(data) => {
                    assert!(!self.ended && !data.is_empty());
                    self.granted = self.granted.checked_sub(len(data)).expect("beyond the credit");
                    self.stdin.extend_from_slice(data);
                }
                FromHost::End => assert!(!std::mem::replace(&mut self.ended, true)),
                FromHost::Credit(stream, bytes) => {
                    let credit = &mut self.credit[stream as usize - 1];
                    *credit += bytes;
                    assert!(*credit <= WINDOW && bytes > 0);
                }
                FromHost::Closed(stream) => {
                    assert!(!std::mem::replace(&mut self.closed[stream as usize - 1], true));
                }
                FromHost::Signal(number) => self.signals.push(number),
                FromHost::Resize(rows, columns) => self.sizes.push((rows, columns)),
            }
        }
    }

    /// Hears all that the host has to say, in buffers of this size.
    fn hear_all(&mut self, channel: &mut Channel, size: usize) {
        let mut buffer = vec![0; size];
        while channel.has_input() {
            let count = channel.input(&mut buffer);
            assert!(count > 0);
            self.hear(&buffer[..count]);
        }
        assert_eq!(channel.input(&mut buffer), 0);
    }
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A channel, and what reads its stdout and stderr.
fn channel() -> (Channel, [OwnedFd; 2]) {
    let [(out, stdout), (err, stderr)] = [pipe().unwrap(), pipe().unwrap()];
    for reader in [&out, &err] {
        fcntl_setfl(reader, OFlags::NONBLOCK).unwrap();
    }
    (Channel::new(stdout, stderr), [out, err])
}

fn say(channel: &mut Channel, frame: FromGuest<'_>) -> Result<(), Violation> {
    let encoded = frame.encode();
    assert_eq!(channel.output(encoded.as_bytes())?, encoded.as_bytes().len());
    Ok(())
}

fn write_sinks(channel: &mut Channel) {
    channel.sinks_mut().into_iter().flatten().for_each(|sink| while sink.write() {});
}

fn held(channel: &Channel) -> usize {
    channel.sinks().into_iter().flatten().map(devices::sink::Sink::held).sum()
}

#[test]
fn frames_out_of_turn_are_violations() {
    let data = FromGuest::Data(Stream::Stdout, b"x");
    let failed = FromGuest::Failed(Failure::NotFound, "no such file");
    let credit = FromGuest::Credit(1);
    // Each kind of frame in each stage: booting, up, running, ended; E is refused.
    let rows: [(FromGuest<'_>, &str); 9] = [
        (HELLO, "oEEE"),
        (FromGuest::Hello(VERSION + 1), "EEEE"),
        (STARTED, "EoEE"),
        (data, "EEoE"),
        (credit, "EooE"),
        (FromGuest::Closed, "EEoE"),
        (failed, "EooE"),
        (FromGuest::Exited(0), "EEoE"),
        (FromGuest::Signaled(9), "EEoE"),
    ];
    let stages =
        [vec![], vec![HELLO], vec![HELLO, STARTED], vec![HELLO, STARTED, FromGuest::Exited(1)]];
    for (frame, outcomes) in rows {
        for (stage, outcome) in stages.iter().zip(outcomes.chars()) {
            let (mut channel, _readers) = channel();
            for frame in stage {
                say(&mut channel, *frame).unwrap();
            }
            Agent::default().hear_all(&mut channel, 4096);
            let expected = if outcome == 'o' { Ok(()) } else { Err(Violation::Frame) };
            assert_eq!(say(&mut channel, frame), expected, "{frame:?} after {stage:?}");
        }
    }
    // Stdin is closed once.
    let (mut channel, _readers) = channel();
    for frame in [HELLO, STARTED, FromGuest::Closed] {
        say(&mut channel, frame).unwrap();
    }
    assert_eq!(say(&mut channel, FromGuest::Closed), Err(Violation::Frame));
}

#[test]
fn bytes_that_are_no_frame_are_violations() {
    for bytes in [
        &[0, 0, 0, 0][..],
        &[255; 8],
        &[1, VERSION, 1, 0, 0],
        &[3, 1, 0xff, 0xff],
        &[3, 0, 0, 0],
        &[65, 0, 0, 0],
        &[7, 1, 1, 0, 0xff],
    ] {
        let (mut channel, _readers) = channel();
        say(&mut channel, HELLO).unwrap();
        say(&mut channel, STARTED).unwrap();
        assert_eq!(channel.output(bytes), Err(Violation::Frame), "{bytes:?}");
    }
}

#[test]
fn a_life_is_known_step_by_step() {
    let ends = [
        (FromGuest::Exited(0), End::Exited(0)),
        (FromGuest::Exited(255), End::Exited(255)),
        (FromGuest::Signaled(64), End::Signaled(64)),
    ];
    for (frame, end) in ends {
        let (mut channel, _readers) = channel();
        assert_eq!(channel.lives(), [Life::Booting]);
        for frame in [HELLO, STARTED, frame] {
            say(&mut channel, frame).unwrap();
        }
        assert_eq!(channel.life(), &Life::Ended(end.clone()));
        assert_eq!(channel.lives()[1..], [Life::Up, Life::Running, Life::Ended(end)]);
    }
}

#[test]
fn the_text_of_a_failure_is_short_and_moves_no_cursor() {
    let long = "é".repeat(MAX_PAYLOAD / 2);
    for (text, kept) in [
        ("no such file", "no such file"),
        ("", ""),
        ("\u{1b}[2Ja\r\n\0b\u{9b}c\u{7f}", "^[[2Ja^M^J^@b\\u{9b}c^?"),
        (&long, &long[..MAX_TEXT]),
        (&format!("a{long}"), &format!("a{}", &long[..MAX_TEXT - 2])),
    ] {
        let (mut channel, _readers) = channel();
        say(&mut channel, HELLO).unwrap();
        say(&mut channel, FromGuest::Failed(Failure::Setup, text)).unwrap();
        let end = End::Failed(Failure::Setup, kept.to_owned());
        assert_eq!(channel.life(), &Life::Ended(end));
    }
}

#[test]
fn the_host_is_silent_before_hello_and_after_the_end() {
    let (mut channel, _readers) = channel();
    channel.order(Order::Signal(15));
    assert!(!channel.has_input());
    assert_eq!(channel.input_room(), 0);
    say(&mut channel, HELLO).unwrap();
    let mut agent = Agent::default();
    agent.hear_all(&mut channel, 3);
    // The signal waits for a command; the grants do not.
    assert_eq!((agent.credit, agent.signals.len()), ([WINDOW; 2], 0));
    assert_eq!(channel.input_room(), 0);
    say(&mut channel, STARTED).unwrap();
    agent.hear_all(&mut channel, 3);
    assert_eq!(agent.signals, [15]);
    say(&mut channel, FromGuest::Exited(0)).unwrap();
    channel.order(Order::Signal(9));
    assert!(!channel.has_input());
    assert_eq!(channel.input_room(), 0);
}

#[test]
fn of_several_sizes_the_last_one_is_told_once_the_command_runs() {
    let (mut channel, _readers) = channel();
    channel.order(Order::Resize(1, 2));
    say(&mut channel, HELLO).unwrap();
    let mut agent = Agent::default();
    agent.hear_all(&mut channel, 3);
    assert!(agent.sizes.is_empty());
    channel.order(Order::Resize(24, 80));
    channel.order(Order::Resize(u16::MAX, 0));
    say(&mut channel, STARTED).unwrap();
    agent.hear_all(&mut channel, 3);
    assert_eq!(agent.sizes, [(u16::MAX, 0)]);
    channel.order(Order::Resize(24, 80));
    agent.hear_all(&mut channel, 3);
    assert_eq!(agent.sizes, [(u16::MAX, 0), (24, 80)]);
}

#[test]
fn signals_are_forwarded_once_each_and_others_are_no_signals() {
    let (mut channel, _readers) = channel();
    say(&mut channel, HELLO).unwrap();
    say(&mut channel, STARTED).unwrap();
    for number in [64, 1, 15, 15, 0, 65, 255] {
        channel.order(Order::Signal(number));
    }
    let mut agent = Agent::default();
    agent.hear_all(&mut channel, 4096);
    assert_eq!(agent.signals, [1, 15, 64]);
    channel.order(Order::Signal(15));
    agent.hear_all(&mut channel, 4096);
    assert_eq!(agent.signals, [1, 15, 64, 15]);
}

#[test]
fn credit_is_exact_both_ways() {
    let full = vec![7; MAX_PAYLOAD];
    let (mut channel, _readers) = channel();
    let mut agent = Agent::default();
    say(&mut channel, HELLO).unwrap();
    say(&mut channel, STARTED).unwrap();
    // Nothing before the grant, not even one byte; nothing is not too much.
    say(&mut channel, FromGuest::Data(Stream::Stderr, b"")).unwrap();
    assert_eq!(say(&mut channel, FromGuest::Data(Stream::Stderr, b"x")), Err(Violation::Credit));
    agent.hear_all(&mut channel, 4096);
    // The whole window, and no byte more; the other stream has its own.
    let mut left = WINDOW;
    while left > 0 {
        let piece = &full[..full.len().min(usize::try_from(left).unwrap())];
        say(&mut channel, FromGuest::Data(Stream::Stdout, piece)).unwrap();
        left -= len(piece);
    }
    assert_eq!(held(&channel), usize::try_from(WINDOW).unwrap());
    assert!(!channel.has_input());
    assert_eq!(say(&mut channel, FromGuest::Data(Stream::Stdout, b"x")), Err(Violation::Credit));
    say(&mut channel, FromGuest::Data(Stream::Stderr, &full)).unwrap();

    // Stdin: at most a window may be granted, in any number of pieces.
    for (grants, ok) in [
        (&[WINDOW][..], true),
        (&[1, WINDOW - 1], true),
        (&[0, WINDOW, 0], true),
        (&[WINDOW, 1], false),
        (&[WINDOW + 1], false),
        (&[1, u32::MAX], false),
    ] {
        let (mut channel, _readers) = self::channel();
        say(&mut channel, HELLO).unwrap();
        say(&mut channel, STARTED).unwrap();
        let result =
            grants.iter().try_for_each(|&credit| say(&mut channel, FromGuest::Credit(credit)));
        assert_eq!(result, if ok { Ok(()) } else { Err(Violation::Credit) }, "{grants:?}");
    }
}

#[test]
fn stdin_is_read_within_the_credit_one_frame_at_a_time() {
    let (mut channel, _readers) = channel();
    let mut agent = Agent::default();
    say(&mut channel, HELLO).unwrap();
    say(&mut channel, STARTED).unwrap();
    agent.hear_all(&mut channel, 4096);
    for (grant, room) in [(0, 0), (1, 1), (99, 100), (WINDOW - 100, MAX_PAYLOAD)] {
        say(&mut channel, FromGuest::Credit(grant)).unwrap();
        assert_eq!(channel.input_room(), room);
    }
    agent.granted = WINDOW;
    channel.offer_input(b"abc");
    // The frame under way first.
    assert_eq!(channel.input_room(), 0);
    agent.hear_all(&mut channel, 2);
    assert_eq!((&agent.stdin[..], channel.input_room()), (&b"abc"[..], MAX_PAYLOAD));
    // The end is told once, and after it nothing is read.
    channel.offer_input(b"");
    assert_eq!(channel.input_room(), 0);
    agent.hear_all(&mut channel, 4096);
    assert!(agent.ended);
    assert!(!channel.has_input());

    // A command that closed its stdin: nothing is read, and no end is told.
    let (mut channel, _readers) = self::channel();
    for frame in [HELLO, STARTED, FromGuest::Credit(100), FromGuest::Closed] {
        say(&mut channel, frame).unwrap();
    }
    assert_eq!(channel.input_room(), 0);
    let mut agent = Agent::default();
    agent.hear_all(&mut channel, 4096);
    assert!(!agent.ended);
}

#[test]
fn an_output_that_nobody_reads_any_more_is_told_of_once() {
    for index in 0..2 {
        let (mut channel, readers) = channel();
        let mut agent = Agent::default();
        say(&mut channel, HELLO).unwrap();
        say(&mut channel, STARTED).unwrap();
        agent.hear_all(&mut channel, 4096);
        let stream = [Stream::Stdout, Stream::Stderr][index];
        let mut readers = readers.map(Some);
        readers[index] = None;
        // What is under way then is taken, granted anew, and thrown away.
        for round in 0..40 {
            let piece = [0; MAX_PAYLOAD];
            agent.credit[index] -= len(&piece);
            say(&mut channel, FromGuest::Data(stream, &piece)).unwrap();
            write_sinks(&mut channel);
            agent.hear_all(&mut channel, 4096);
            assert!(agent.closed[index], "round {round}");
            assert!(!agent.closed[1 - index]);
        }
        say(&mut channel, FromGuest::Exited(0)).unwrap();
    }
}

#[test]
fn ten_mebibytes_go_each_way_whatever_they_are_split_into() {
    const TOTAL: usize = 10 << 20;
    let mut numbers = Numbers(77);
    let pattern = numbers.bytes(100_003);
    let at = |offset: usize, len: usize| {
        let start = offset % (pattern.len() - MAX_PAYLOAD);
        &pattern[start..start + len]
    };
    let (mut channel, readers) = channel();
    let mut agent = Agent { granted: WINDOW, ..Agent::default() };
    for frame in [HELLO, STARTED, FromGuest::Credit(WINDOW)] {
        say(&mut channel, frame).unwrap();
    }
    let (mut sent, mut received, mut offered) = ([0; 2], [0; 2], 0);
    // Bytes of the channel that the host has not been given yet: a chain ends anywhere.
    let mut wire: Vec<u8> = Vec::new();
    let mut checked = 0;
    // Output as it came, to be compared: prefix-exact at every step.
    let mut expected: [Vec<u8>; 2] = Default::default();
    for step in 0usize.. {
        if received == [TOTAL; 2] && checked == TOTAL {
            break;
        }
        assert!(
            step < 200_000,
            "nothing moves: sent {sent:?} received {received:?} stdin {checked}"
        );
        for index in 0..2 {
            let most = MAX_PAYLOAD.min(TOTAL - sent[index]);
            let most = most.min(usize::try_from(agent.credit[index]).unwrap());
            let count = numbers.below(most + 1);
            let piece = at(sent[index], count);
            let stream = [Stream::Stdout, Stream::Stderr][index];
            wire.extend(FromGuest::Data(stream, piece).encode().as_bytes());
            expected[index].extend_from_slice(piece);
            agent.credit[index] -= len(piece);
            sent[index] += count;
        }
        if numbers.below(3) == 0 && agent.granted < WINDOW {
            // The command has read some.
            let grant =
                u32::try_from(numbers.below(usize::try_from(WINDOW - agent.granted).unwrap() + 1));
            let grant = grant.unwrap();
            agent.granted += grant;
            wire.extend(FromGuest::Credit(grant).encode().as_bytes());
        }
        let count = numbers.below(wire.len() + 1);
        assert_eq!(channel.output(&wire[..count]), Ok(count));
        wire.drain(..count);
        assert!(held(&channel) <= 2 * usize::try_from(WINDOW).unwrap());

        let room = channel.input_room();
        if room > 0 && offered < TOTAL {
            let count = (numbers.below(room) + 1).min(TOTAL - offered);
            channel.offer_input(at(offered, count));
            offered += count;
        }
        let mut buffer = vec![0; numbers.below(9000) + 1];
        let count = channel.input(&mut buffer);
        agent.hear(&buffer[..count]);
        if !agent.stdin.is_empty() {
            // Frames carry what was offered, in order; a frame never mixes two offers.
            let mut rest = &agent.stdin[..];
            while !rest.is_empty() {
                let start = checked % (pattern.len() - MAX_PAYLOAD);
                let same = rest.iter().zip(&pattern[start..]).take_while(|(a, b)| a == b).count();
                assert!(same > 0, "stdin differs at {checked}");
                checked += same;
                rest = &rest[same..];
            }
            agent.stdin.clear();
        }
        for index in 0..2 {
            if numbers.below(4) > 0 {
                channel.sinks_mut().into_iter().flatten().nth(index).map(|sink| sink.write());
            }
            let mut piece = [0; 8192];
            let room = numbers.below(piece.len()) + 1;
            if let Ok(count) = rustix::io::read(&readers[index], &mut piece[..room]) {
                assert!(expected[index][..count] == piece[..count], "stream {index}");
                expected[index].drain(..count);
                received[index] += count;
            }
        }
    }
    channel.offer_input(b"");
    agent.hear_all(&mut channel, 5);
    assert!(agent.ended);
}
