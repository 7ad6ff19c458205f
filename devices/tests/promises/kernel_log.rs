//! The kernel's console: its end is kept, its file is limited, a panic is recognised.

use std::fs::File;
use std::io::Read;

use devices::console::Port;
use devices::kernel_log::{KernelLog, MAX_FILE, TAIL};
use devices::sink::Sink;
use rustix::pipe::pipe;

use crate::Numbers;

fn write_sinks(log: &mut KernelLog) {
    log.sinks_mut().into_iter().flatten().for_each(|sink| while sink.write() {});
}

#[test]
fn the_tail_is_the_end_of_what_was_written() {
    let mut numbers = Numbers(2);
    let mut log = KernelLog::new(None);
    let mut all = Vec::new();
    assert_eq!(log.tail(), b"");
    for len in [0, 1, TAIL - 2, 1, 1, 1, 4096, 4096, 4096, TAIL, TAIL + 1, 3 * TAIL, 5] {
        let bytes = numbers.bytes(len);
        assert_eq!(log.output(&bytes), Ok(len));
        all.extend(bytes);
        assert!(log.tail() == &all[all.len().saturating_sub(TAIL)..], "after {} bytes", all.len());
    }
    assert!(log.sinks().into_iter().flatten().next().is_none());
    assert_eq!((log.input_room(), log.has_input(), log.input(&mut [0; 8])), (0, false, 0));
    log.offer_input(b"nobody asked");
    log.close();
}

#[test]
fn a_panic_is_recognised_however_it_is_written() {
    let line = b"[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs";
    for cut in 0..=line.len() {
        let mut log = KernelLog::new(None);
        log.output(&line[..cut]).unwrap();
        assert_eq!(log.panicked(), cut >= 36, "{cut} bytes");
        log.output(&line[cut..]).unwrap();
        assert!(log.panicked());
    }
    let mut log = KernelLog::new(None);
    for byte in line {
        log.output(&[*byte]).unwrap();
    }
    assert!(log.panicked());
    // Only among the last words.
    log.output(&[b'.'; TAIL]).unwrap();
    assert!(!log.panicked());
    let mut log = KernelLog::new(None);
    log.output(b"kernel panic - not syncing").unwrap();
    assert!(!log.panicked());
}

#[test]
fn the_file_gets_all_up_to_its_limit_and_a_line_about_the_rest() {
    let over = 3 * 4096 + 7;
    for (total, last) in [
        (1000, None),
        (MAX_FILE, None),
        (MAX_FILE + over, Some("\ncasemate: the next 12295 bytes were dropped\n")),
    ] {
        let (mut reader, file) = file();
        let mut log = KernelLog::new(Some(file.into()));
        let mut numbers = Numbers(3);
        let pattern = numbers.bytes(4096);
        let mut sent = 0;
        while sent < total {
            let piece = &pattern[..(total - sent).min(4096)];
            let taken = log.output(piece).unwrap();
            sent += taken;
            // Only a full sink takes less; written, it takes the rest.
            if taken < piece.len() {
                write_sinks(&mut log);
                let rest = &piece[taken..];
                assert_eq!(log.output(rest), Ok(rest.len()));
                sent += rest.len();
            }
        }
        log.close();
        write_sinks(&mut log);
        let mut written = Vec::new();
        reader.read_to_end(&mut written).unwrap();
        let expected = pattern.iter().copied().cycle().take(total.min(MAX_FILE));
        let expected: Vec<u8> = expected.chain(last.unwrap_or("").bytes()).collect();
        assert!(written == expected, "{total} bytes");
    }
}

#[test]
fn a_file_that_cannot_be_written_keeps_nothing_up() {
    let (reader, writer) = pipe().unwrap();
    let mut log = KernelLog::new(Some(writer));
    // Nobody reads: the sink fills and holds up.
    let mut taken = 0;
    loop {
        write_sinks(&mut log);
        match log.output(&[b'x'; 4096]).unwrap() {
            0 => break,
            count => taken += count,
        }
    }
    assert!(taken < 1 << 20);
    assert!(log.sinks().into_iter().flatten().any(|sink| sink.held() > 0));
    // Nobody will: everything is taken, and the tail still kept.
    drop(reader);
    write_sinks(&mut log);
    assert!(log.sinks().into_iter().flatten().all(Sink::is_closed));
    assert_eq!(log.output(&[b'y'; 4096]), Ok(4096));
    assert!(log.tail().ends_with(&[b'y'; 4096]));
    log.close();
}

fn file() -> (File, File) {
    let file = tempfile::NamedTempFile::new().unwrap();
    (file.reopen().unwrap(), file.reopen().unwrap())
}
