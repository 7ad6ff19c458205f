//! Frames there and back, and what is none.

use super::*;

#[test]
fn every_frame_survives_the_way_however_it_is_split() {
    let long = [7u8; MAX_PAYLOAD];
    let guest = [
        FromGuest::Hello(VERSION),
        FromGuest::Started,
        FromGuest::Data(Stream::Stdout, b"out"),
        FromGuest::Data(Stream::Stderr, &long),
        FromGuest::Data(Stream::Stdout, b""),
        FromGuest::Credit(u32::MAX),
        FromGuest::Closed,
        FromGuest::Failed(Failure::Setup, "no root disk"),
        FromGuest::Failed(Failure::NotFound, ""),
        FromGuest::Failed(Failure::NotExecutable, "é"),
        FromGuest::Signaled(64),
        FromGuest::Exited(255),
    ];
    let bytes: Vec<u8> = guest.iter().flat_map(|f| f.encode().as_bytes().to_vec()).collect();
    for step in [1, 2, 3, 5, 4095, 4096, 100_000] {
        let mut decoder = Decoder::default();
        let mut seen = 0;
        for mut part in bytes.chunks(step) {
            while decoder.fill(&mut part).unwrap() {
                assert_eq!(decoder.from_guest().unwrap(), guest[seen], "step {step}");
                seen += 1;
            }
            assert!(part.is_empty());
        }
        assert_eq!(seen, guest.len());
    }
    let host = [
        FromHost::Data(b"in"),
        FromHost::End,
        FromHost::Credit(Stream::Stdout, 1),
        FromHost::Closed(Stream::Stderr),
        FromHost::Signal(15),
        FromHost::Resize(24, 80),
    ];
    for frame in host {
        let encoded = frame.encode();
        let mut decoder = Decoder::default();
        assert!(decoder.fill(&mut encoded.as_bytes()).unwrap());
        assert_eq!(decoder.from_host().unwrap(), frame);
    }
}

#[test]
fn what_no_encoder_writes_is_refused() {
    let rows: [(&[u8], Malformed); 9] = [
        (&[0, 0, 0, 0], Malformed::Kind(0)),
        (&[65, 0, 0, 0], Malformed::Kind(65)),
        (&[2, 0, 1, 0, 9], Malformed::Length(1)),
        (&[3, 0, 0, 0], Malformed::Detail(0)),
        (&[3, 3, 0, 0], Malformed::Detail(3)),
        (&[4, 0, 3, 0, 1, 2, 3], Malformed::Length(3)),
        (&[6, 65, 0, 0], Malformed::Detail(65)),
        (&[7, 1, 1, 0, 0xff], Malformed::Text),
        (&[7, 4, 0, 0], Malformed::Detail(4)),
    ];
    for (mut bytes, expected) in rows {
        let mut decoder = Decoder::default();
        assert!(decoder.fill(&mut bytes).unwrap());
        assert_eq!(decoder.from_guest().unwrap_err(), expected);
    }
    let mut decoder = Decoder::default();
    let too_long = [3, 1, 0xfd, 0x0f];
    assert_eq!(decoder.fill(&mut &too_long[..]), Err(Malformed::Length(4093)));
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let text = "é".repeat(MAX_PAYLOAD);
    let encoded = FromGuest::Failed(Failure::Setup, &text).encode();
    let mut decoder = Decoder::default();
    assert!(decoder.fill(&mut encoded.as_bytes()).unwrap());
    assert!(
        matches!(decoder.from_guest(), Ok(FromGuest::Failed(Failure::Setup, t)) if t.len() == MAX_PAYLOAD)
    );
}
