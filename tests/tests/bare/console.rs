//! The console: stdin to the guest, the guest to stdout.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use bare::virtio::{Buffer, Queue, VERSION_1, bring_up, gsi, register, set};
use bare::{FREE, Op, Width, interrupt};
use tests::guests::{Console, FOREVER, NOT_SERVED, NOT_UP, announce, expect, holds};
use tests::run::Run;
use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

const MIB: usize = 1 << 20;
const PIECE: usize = 4096;

/// Queues of one descriptor, whose only slot is always the next: a loop needs no positions.
const RECEIVE: Queue = Queue { index: 0, size: 1, base: FREE };
const TRANSMIT: Queue = Queue { index: 1, size: 1, base: FREE + 0x1000 };
const BUFFER: u64 = FREE + 0x2000;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    vec![
        Test::new("console::one_mib_there_and_back", kvm, there_and_back),
        Test::new("console::one_mib_out_to_a_slow_reader", kvm, slow_reader),
        Test::new("console::a_reader_that_leaves_does_not_end_the_guest", kvm, early_leaver),
        Test::new(
            "console::a_stdout_that_is_full_does_not_end_the_guest_and_what_it_loses_is_counted",
            kvm,
            full,
        ),
        Test::new("console::stdin_from_dev_null", kvm, no_input),
        Test::new("console::stdin_that_ends", kvm, input_that_ends),
        Test::new("console::input_that_nobody_reads", kvm, unread_input),
        Test::new("console::every_byte_value", kvm, every_byte),
        Test::new("console::output_in_many_descriptors", kvm, many_descriptors),
        Test::new("console::interrupts_arrive", kvm, interrupts),
        Test::new("console::restart_after_a_reset", kvm, restart),
    ]
}

fn up() -> Vec<Op> {
    bring_up(Console::DEVICE, VERSION_1, &[RECEIVE, TRANSMIT], NOT_UP)
}

/// Sends back what comes, piece by piece, until a piece begins with a byte above 127.
fn echo() -> Vec<Op> {
    let buffer = |writable| Buffer { addr: BUFFER, len: 4096, writable };
    let mut round = RECEIVE.again(Console::DEVICE, 1, NOT_SERVED);
    let len = TRANSMIT.desc() + 8;
    round.push(Op::Copy { width: Width::Long, from: RECEIVE.used_len(0), to: len });
    round.extend(TRANSMIT.again(Console::DEVICE, 1, NOT_SERVED));
    round.push(Op::Expect { width: Width::Byte, addr: BUFFER, mask: 0x80, value: 0, code: 0 });
    let mut ops = up();
    ops.push(RECEIVE.chain(0, &[buffer(true)]));
    ops.push(TRANSMIT.chain(0, &[buffer(false)]));
    ops.push(Op::Repeat { count: u64::MAX, ops: round });
    ops
}

/// Sends the same buffer so many times, and ends with code 5.
fn flood(data: &[u8], count: usize) -> Vec<Op> {
    let buffer = Buffer { addr: BUFFER, len: u32::try_from(data.len()).unwrap(), writable: false };
    let mut ops = up();
    ops.push(Op::Bytes { addr: BUFFER, data: data.into() });
    ops.push(TRANSMIT.chain(0, &[buffer]));
    ops.push(Op::Repeat {
        count: count as u64,
        ops: TRANSMIT.again(Console::DEVICE, 1, NOT_SERVED),
    });
    ops.push(Op::Exit(5));
    ops
}

fn there_and_back() {
    let dir = Scratch::new();
    let mut run = Run::boot(&dir, &echo()).open_stdin().start();
    let (mut stdin, mut stdout) = (run.stdin(), run.stdout());
    let mut sent = noise(1, MIB);
    // A write of a piece is not divided on its way, so each begins with one of these bytes.
    sent.iter_mut().step_by(PIECE).for_each(|byte| *byte &= 0x7f);
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        sent.chunks(PIECE).for_each(|piece| stdin.write_all(piece).unwrap());
        stdin
    });
    let mut found = vec![0; MIB];
    stdout.read_exact(&mut found).unwrap();
    assert_same(&found, &expected, "what came back");
    writer.join().unwrap().write_all(b"\xff").unwrap();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_same(&rest, b"\xff", "what came after it");
    run.end().exits(0).is_silent();
}

fn slow_reader() {
    let dir = Scratch::new();
    let data = noise(2, PIECE);
    let mut run = Run::boot(&dir, &flood(&data, MIB / PIECE)).start();
    let mut stdout = run.stdout();
    // Nothing is read until the pipe is full: the guest has to wait for it.
    let capacity = rustix::pipe::fcntl_getpipe_size(stdout.as_fd()).unwrap();
    let mut first = [0];
    stdout.read_exact(&mut first).unwrap();
    while usize::try_from(rustix::io::ioctl_fionread(stdout.as_fd()).unwrap()).unwrap()
        < capacity - PIECE
    {
        thread::sleep(Duration::from_millis(1));
    }
    let mut found = first.to_vec();
    stdout.read_to_end(&mut found).unwrap();
    assert_same(&found, &data.repeat(MIB / PIECE), "stdout");
    run.end().exits(5).is_silent();
}

fn early_leaver() {
    let dir = Scratch::new();
    let mut run = Run::boot(&dir, &flood(&[b'y'; PIECE], MIB / PIECE)).start();
    let mut stdout = run.stdout();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    run.end().exits(5).is_silent();
}

fn full() {
    let dir = Scratch::new();
    // /dev/full refuses every write.
    let shell = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"];
    let end = Run::boot(&dir, &flood(&[b'y'; PIECE], 64)).by(&shell).end();
    end.exits(5).explains(&["lost 262144 bytes of stdout", "No space left on device"]);
    let limits = &end.report.as_ref().unwrap()["limits"];
    let lost = &limits["lost"]["stdout"];
    end.check(lost["bytes"] == 262_144, "the report has another count");
    end.check(lost["reason"] == "No space left on device", "the report has another reason");
    end.check(limits["lost"]["stderr"].is_null(), "nothing of stderr was lost");
}

fn no_input() {
    let dir = Scratch::new();
    Run::boot(&dir, &announce(Op::Exit(0))).end().exits(0).prints("ready\n");
}

fn input_that_ends() {
    let dir = Scratch::new();
    let mut run = Run::boot(&dir, &echo()).open_stdin().start();
    let mut stdin = run.stdin();
    stdin.write_all(b"last words").unwrap();
    drop(stdin);
    run.await_stdout("last words");
    // The guest now waits for what will never come.
    run.signal(rustix::process::Signal::TERM);
    run.end().exits(143).prints("last words");
}

fn unread_input() {
    let dir = Scratch::new();
    let run = Run::boot(&dir, &announce(Op::Exit(0))).stdin(noise(3, 8 * MIB));
    let end = run.args(&["--mem", "64"]).end();
    end.exits(0).prints("ready\n").is_silent();
    let workers = end.report.as_ref().unwrap()["workers"].as_array().unwrap().clone();
    let console = workers.iter().find(|worker| worker["name"] == "console").unwrap();
    let peak = console["peak_memory_kib"].as_u64().unwrap();
    end.check(peak < 6 << 10, "the console worker took in what the guest did not");
}

fn every_byte() {
    let dir = Scratch::new();
    let sent: Vec<u8> = (0..=255).collect();
    let buffer = |writable| Buffer { addr: BUFFER, len: 4096, writable };
    let mut ops = up();
    ops.push(RECEIVE.chain(0, &[buffer(true)]));
    ops.extend(RECEIVE.again(Console::DEVICE, 1, NOT_SERVED));
    ops.push(expect(Width::Long, RECEIVE.used_len(0), 256, 1));
    ops.extend(holds(BUFFER, &sent));
    ops.push(TRANSMIT.chain(0, &[Buffer { len: 256, ..buffer(false) }]));
    ops.extend(TRANSMIT.again(Console::DEVICE, 1, NOT_SERVED));
    let end = Run::boot(&dir, &ops).stdin(sent.clone()).end();
    end.exits(0);
    assert_same(&end.stdout, &sent, "stdout");
}

fn many_descriptors() {
    let dir = Scratch::new();
    let console = Console::new();
    let text = b"a text in pieces of one byte, and one of none";
    let queue = Queue { size: 64, base: FREE + 0x10_0000, ..console.transmit };
    let mut buffers: Vec<Buffer> =
        (BUFFER..).take(text.len()).map(|addr| Buffer { addr, len: 1, writable: false }).collect();
    buffers.insert(5, Buffer { addr: BUFFER, len: 0, writable: false });
    let mut ops = bring_up(Console::DEVICE, VERSION_1, &[console.receive, queue], NOT_UP);
    ops.push(Op::Bytes { addr: BUFFER, data: text.into() });
    ops.extend(queue.request(Console::DEVICE, 0, &buffers, FOREVER, NOT_SERVED));
    let end = Run::boot(&dir, &ops).end();
    end.exits(0);
    assert_same(&end.stdout, text, "stdout");
}

fn interrupts() {
    const VECTOR: u8 = 0x31;
    let dir = Scratch::new();
    let mut console = Console::new();
    let device = Console::DEVICE;
    let mut ops = interrupt::route(gsi(device), VECTOR);
    ops.extend(console.up());
    ops.push(bare::virtio::expect(device, register::INTERRUPT_STATUS, 0, 1));
    ops.extend(console.say("one"));
    ops.push(interrupt::requested(VECTOR, FOREVER, 2));
    ops.push(bare::virtio::expect(device, register::INTERRUPT_STATUS, 1, 3));
    ops.push(set(device, register::INTERRUPT_ACK, 1));
    ops.push(bare::virtio::expect(device, register::INTERRUPT_STATUS, 0, 4));
    Run::boot(&dir, &ops).end().exits(0).prints("one");
}

fn restart() {
    let dir = Scratch::new();
    let mut ops = Vec::new();
    for text in ["once ", "twice ", "thrice"] {
        let mut console = Console::new();
        // The rings of the time before are the driver's to clear.
        for queue in [console.receive, console.transmit] {
            for addr in [queue.avail(), queue.used()] {
                ops.push(Op::Write { width: Width::Long, addr, value: 0 });
            }
        }
        ops.extend(console.up());
        ops.extend(console.say(text));
        ops.push(set(Console::DEVICE, register::STATUS, 0));
    }
    Run::boot(&dir, &ops).end().exits(0).prints("once twice thrice");
}
