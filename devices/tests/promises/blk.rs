//! Block requests: what they do to the image, the guest's memory and their status.

use devices::Memory;
use devices::blk::{Blk, FLUSH, QUEUE_SIZE, Shape};
use devices::ring::{Progress, Ring};
use devices::testing::{Image, Operation, Part, SplitRing, memory};
use devices::violation::Violation;
use vm_memory::{Bytes, GuestAddress};

use crate::Numbers;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

const SECTORS: u64 = 8;
const ID: &[u8; 20] = b"casemate-blk0-------";
const BUFFERS: u64 = 0x4000;
const RAM: usize = 0x1_0000;
/// What writable buffers hold before the device has them.
const STALE: u8 = 0xee;

/// A device, its driver, and the image.
struct Rig {
    memory: &'static Memory,
    driver: SplitRing,
    ring: Ring,
    blk: Blk<'static, Image>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u8,
    data: Vec<u8>,
    used: u32,
}

impl Rig {
    fn new(memory: &'static Memory, shape: Shape) -> Self {
        let image = Image::new(Numbers(1).bytes(512 * 8));
        let driver = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
        let ring = Ring::start(memory, driver.geometry, QUEUE_SIZE).unwrap();
        let mut blk = Blk::new(image, shape, *ID);
        blk.start(FLUSH);
        Self { memory, driver, ring, blk }
    }

    /// Sends one request made of these descriptors, and checks that nothing else was touched.
    fn request(&mut self, readable: &[&[u8]], writable: &[usize]) -> Result<Answer, Violation> {
        let mut expected = vec![0x55; RAM - usize::try_from(BUFFERS).unwrap()];
        let mut parts = Vec::new();
        let mut at = 3;
        for piece in readable {
            expected[at..at + piece.len()].copy_from_slice(piece);
            parts.push(Part::Out(BUFFERS + at as u64, u32::try_from(piece.len()).unwrap()));
            at += piece.len() + 1;
        }
        let mut places = Vec::new();
        for &len in writable {
            expected[at..at + len].fill(STALE);
            places.push(at..at + len);
            parts.push(Part::In(BUFFERS + at as u64, u32::try_from(len).unwrap()));
            at += len + 1;
        }
        self.memory.write_slice(&expected, GuestAddress(BUFFERS)).unwrap();
        let head = self.driver.add(&parts);
        assert!(self.blk.serve(self.memory, &mut self.ring)?.used);
        // A flush ends a turn; there is nothing more in the ring.
        assert_eq!(self.blk.serve(self.memory, &mut self.ring)?, Progress::default());
        let (used_head, used) = self.driver.take_used().unwrap();
        assert_eq!((used_head, self.driver.take_used()), (u32::from(head), None));

        let mut after = vec![0; expected.len()];
        self.memory.read_slice(&mut after, GuestAddress(BUFFERS)).unwrap();
        let mut data: Vec<u8> =
            places.iter().flat_map(|place| after[place.clone()].to_vec()).collect();
        for place in places {
            after[place.clone()].copy_from_slice(&expected[place]);
        }
        assert!(after == expected, "memory outside the request's writable part was changed");
        Ok(Answer { status: data.pop().unwrap(), data, used })
    }

    fn image(&mut self) -> &mut Image {
        self.blk.disk()
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn shape(read_only: bool) -> Shape {
    Shape { sectors: SECTORS, read_only }
}

#[test]
fn requests_do_what_the_standard_says() {
    // Kind, sector, bytes out, bytes in (without status), read-only; status, used length.
    type Row = (&'static str, u32, u64, usize, usize, bool, u8, u32);
    let rows: Vec<Row> = vec![
        ("read a sector", IN, 0, 0, 512, false, OK, 513),
        ("read the last", IN, 7, 0, 512, false, OK, 513),
        ("read all", IN, 0, 0, 4096, false, OK, 4097),
        ("read from read-only", IN, 0, 0, 512, true, OK, 513),
        ("read nothing", IN, 0, 0, 0, false, OK, 1),
        ("read nothing at the end", IN, 8, 0, 0, false, OK, 1),
        ("read nothing past the end", IN, 9, 0, 0, false, IOERR, 1),
        ("read at capacity", IN, 8, 0, 512, false, IOERR, 0),
        ("read over capacity", IN, 7, 0, 1024, false, IOERR, 0),
        ("read at 2^55 − 1", IN, (1 << 55) - 1, 0, 512, false, IOERR, 0),
        ("read at 2^55", IN, 1 << 55, 0, 512, false, IOERR, 0),
        ("read at 2^63", IN, 1 << 63, 0, 512, false, IOERR, 0),
        ("read at 2^64 − 1", IN, u64::MAX, 0, 512, false, IOERR, 0),
        ("read half a sector", IN, 0, 0, 256, false, IOERR, 0),
        ("read 513 bytes", IN, 0, 0, 513, false, IOERR, 0),
        ("write a sector", OUT, 0, 512, 0, false, OK, 1),
        ("write the last", OUT, 7, 512, 0, false, OK, 1),
        ("write all", OUT, 0, 4096, 0, false, OK, 1),
        ("write nothing", OUT, 0, 0, 0, false, OK, 1),
        ("write nothing at the end", OUT, 8, 0, 0, false, OK, 1),
        ("write at capacity", OUT, 8, 512, 0, false, IOERR, 1),
        ("write over capacity", OUT, 7, 1024, 0, false, IOERR, 1),
        ("write at 2^55", OUT, 1 << 55, 512, 0, false, IOERR, 1),
        ("write at 2^63", OUT, 1 << 63, 512, 0, false, IOERR, 1),
        ("write at 2^64 − 1", OUT, u64::MAX, 512, 0, false, IOERR, 1),
        ("write 511 bytes", OUT, 0, 511, 0, false, IOERR, 1),
        ("write to read-only", OUT, 0, 512, 0, true, IOERR, 1),
        ("write nothing to read-only", OUT, 0, 0, 0, true, IOERR, 1),
        ("write, with room for an answer", OUT, 0, 512, 512, false, OK, 0),
        ("flush", FLUSH_REQUEST, 0, 0, 0, false, OK, 1),
        ("flush at a sector", FLUSH_REQUEST, u64::MAX, 0, 0, false, OK, 1),
        ("flush with data", FLUSH_REQUEST, 0, 512, 0, false, OK, 1),
        ("flush read-only", FLUSH_REQUEST, 0, 0, 0, true, OK, 1),
        ("id", GET_ID, 0, 0, 20, false, OK, 21),
        ("id, short", GET_ID, 0, 0, 7, false, OK, 8),
        ("id, nothing", GET_ID, 0, 0, 0, false, OK, 1),
        ("id, long", GET_ID, 0, 0, 64, false, OK, 20),
        ("SCSI command", 2, 0, 0, 512, false, UNSUPP, 0),
        ("GET_LIFETIME", 10, 0, 0, 512, false, UNSUPP, 0),
        ("DISCARD", 11, 0, 16, 0, false, UNSUPP, 1),
        ("WRITE_ZEROES", 13, 0, 16, 0, false, UNSUPP, 1),
        ("SECURE_ERASE", 14, 0, 16, 0, false, UNSUPP, 1),
        ("ZONE_APPEND", 15, 0, 512, 8, false, UNSUPP, 0),
        ("ZONE_REPORT", 16, 0, 0, 512, false, UNSUPP, 0),
        ("ZONE_OPEN", 18, 0, 0, 0, false, UNSUPP, 1),
        ("ZONE_CLOSE", 20, 0, 0, 0, false, UNSUPP, 1),
        ("ZONE_FINISH", 22, 0, 0, 0, false, UNSUPP, 1),
        ("ZONE_RESET", 24, 0, 0, 0, false, UNSUPP, 1),
        ("ZONE_RESET_ALL", 26, 0, 0, 0, false, UNSUPP, 1),
        ("OUT with a barrier", 0x8000_0001, 0, 512, 0, false, UNSUPP, 1),
        ("unknown", u32::MAX, 0, 0, 0, false, UNSUPP, 1),
    ];
    let memory = memory(&[(0, RAM)]);
    let contents = Numbers(1).bytes(4096);
    for (name, kind, sector, out, inward, read_only, status, used) in rows {
        for features in [FLUSH, 0, u64::MAX] {
            let mut rig = Rig::new(memory, shape(read_only));
            rig.blk.start(features);
            let written = Numbers(7).bytes(out);
            let answer = rig.request(&[&header(kind, sector), &written], &[inward, 1]).unwrap();
            assert_eq!((answer.status, answer.used), (status, used), "{name}");
            let at = usize::try_from(sector.min(SECTORS)).unwrap() * 512;
            let mut data = vec![STALE; inward];
            let mut image = contents.clone();
            match kind {
                IN if status == OK => data.copy_from_slice(&contents[at..at + inward]),
                OUT if status == OK => image[at..at + out].copy_from_slice(&written),
                GET_ID => data.iter_mut().zip(ID).for_each(|(to, from)| *to = *from),
                _ => {}
            }
            assert!(answer.data == data, "{name}: data");
            assert!(rig.image().bytes == image, "{name}: image");
        }
    }
}

#[test]
fn a_disk_as_large_as_numbers_go_overflows_nothing() {
    let memory = memory(&[(0, RAM)]);
    for sectors in [1 << 54, 1 << 55, (1 << 55) + 1, u64::MAX] {
        for sector in [(1 << 54) - 1, 1 << 54, (1 << 55) - 1, 1 << 55, u64::MAX - 1, u64::MAX] {
            let mut rig = Rig::new(memory, Shape { sectors, read_only: false });
            let answer = rig.request(&[&header(IN, sector)], &[513]).unwrap();
            // The image is shorter than its shape says, as when someone has truncated it.
            assert_eq!(answer.status, IOERR, "sector {sector:#x} of {sectors:#x}");
        }
    }
}

#[test]
fn a_request_does_the_same_however_it_is_split() {
    let requests = [
        (header(IN, 1), 512),
        (header(IN, 8), 512),
        ([header(OUT, 2), Numbers(9).bytes(512)].concat(), 0),
        ([header(OUT, 8), Numbers(9).bytes(512)].concat(), 0),
        (header(FLUSH_REQUEST, 0), 0),
        (header(GET_ID, 0), 20),
        (header(99, 0), 3),
        (header(IN, 0)[..15].to_vec(), 512),
    ];
    let memory = memory(&[(0, RAM)]);
    for (readable, room) in requests {
        let mut rig = Rig::new(memory, shape(false));
        let expected = rig.request(&[&readable], &[room + 1]).unwrap();
        let image = rig.image().bytes.clone();
        let check = |out: &[&[u8]], inward: &[usize]| {
            let mut rig = Rig::new(memory, shape(false));
            let answer = rig.request(out, inward).unwrap();
            let lens: Vec<usize> = out.iter().map(|piece| piece.len()).collect();
            assert_eq!(answer, expected, "out {lens:?} in {inward:?}");
            assert!(rig.image().bytes == image, "out {lens:?} in {inward:?}");
        };
        for cut in 0..=readable.len().max(room + 1) {
            let (first, second) = readable.split_at(cut.min(readable.len()));
            let cut = cut.min(room + 1);
            check(&[first, second], &[room + 1]);
            check(&[&readable], &[cut, room + 1 - cut]);
            check(&[first, b"", second], &[cut, 0, room + 1 - cut]);
        }
        for step in [5, 7, 16, 17, 100, 511] {
            let pieces: Vec<&[u8]> = readable.chunks(step).collect();
            let mut rooms = vec![step; (room + 1) / step];
            rooms.push((room + 1) % step);
            check(&pieces, &rooms);
        }
        let ones: Vec<&[u8]> = readable[..readable.len().min(16)].chunks(1).collect();
        check(&[&ones[..], &[&readable[ones.len()..]]].concat(), &[room + 1]);
    }
}

#[test]
fn a_request_without_its_parts() {
    let memory = memory(&[(0, RAM)]);
    let rig = || Rig::new(memory, shape(false));
    let header = header(IN, 0);
    // No room for a status: there is no way to answer.
    for readable in [&header[..], b""] {
        assert_eq!(rig().request(&[readable], &[]), Err(Violation::NoStatus));
        assert_eq!(rig().request(&[readable], &[0]), Err(Violation::NoStatus));
    }
    // No header, or not all of it.
    for len in 0..16 {
        let answer = rig().request(&[&header[..len]], &[512, 1]).unwrap();
        assert_eq!((answer.status, answer.used), (IOERR, 0), "{len} bytes");
    }
}

#[test]
fn a_failing_image_shows_in_the_status_and_a_slow_one_does_not() {
    // Bytes each transfer moves, errors in turn; status, used length, number of transfers.
    type Row = (&'static str, usize, Vec<Option<i32>>, u8, u32, usize);
    let rows: Vec<Row> = vec![
        ("at once", usize::MAX, vec![], OK, 1025, 1),
        ("a byte at a time", 1, vec![], OK, 1025, 1024),
        ("EINTR", usize::MAX, vec![Some(libc::EINTR); 5], OK, 1025, 6),
        ("EINTR in the middle", 512, vec![None, Some(libc::EINTR)], OK, 1025, 3),
        ("EIO", usize::MAX, vec![Some(libc::EIO)], IOERR, 0, 1),
        ("EIO in the middle", 512, vec![None, Some(libc::EIO)], IOERR, 512, 2),
        ("EIO after a byte", 1, vec![None, Some(libc::EIO)], IOERR, 1, 2),
        ("ENOSPC", usize::MAX, vec![Some(libc::ENOSPC)], IOERR, 0, 1),
        ("EFBIG", usize::MAX, vec![Some(libc::EFBIG)], IOERR, 0, 1),
        ("EAGAIN", usize::MAX, vec![Some(libc::EAGAIN)], IOERR, 0, 1),
    ];
    let memory = memory(&[(0, RAM)]);
    let bytes = Numbers(5).bytes(1024);
    for (name, most, errors, status, used, transfers) in rows {
        let mut rig = Rig::new(memory, shape(false));
        let contents = rig.image().bytes.clone();
        rig.image().most = most;
        rig.image().errors = errors.clone();
        let answer = rig.request(&[&header(IN, 1)], &[700, 325]).unwrap();
        assert_eq!((answer.status, answer.used), (status, used), "read, {name}");
        // What was moved is what the image holds, and all the rest is untouched.
        let moved = usize::try_from(used).unwrap().min(1024);
        assert!(answer.data[..moved] == contents[512..512 + moved], "read, {name}");
        assert!(answer.data[moved..].iter().all(|byte| *byte == STALE), "read, {name}");
        assert_eq!(rig.image().log.len(), transfers, "read, {name}");

        let mut rig = Rig::new(memory, shape(false));
        rig.image().most = most;
        rig.image().errors = errors;
        let (first, second) = bytes.split_at(700);
        let answer = rig.request(&[&header(OUT, 1), first, second], &[1]).unwrap();
        assert_eq!((answer.status, answer.used), (status, 1), "write, {name}");
        let mut image = contents;
        image[512..512 + moved].copy_from_slice(&bytes[..moved]);
        assert!(rig.image().bytes == image, "write, {name}");
        assert_eq!(rig.image().log.len(), transfers, "write, {name}");
        // The device goes on.
        rig.image().errors.clear();
        assert_eq!(rig.request(&[&header(IN, 0)], &[513]).unwrap().status, OK, "{name}");
    }
}

#[test]
fn a_transfer_may_be_short_at_every_byte() {
    let memory = memory(&[(0, RAM)]);
    let bytes = Numbers(5).bytes(1024);
    for most in (1..=1024).step_by(3) {
        let mut rig = Rig::new(memory, shape(false));
        rig.image().most = most;
        let contents = rig.image().bytes.clone();
        let answer = rig.request(&[&header(IN, 3)], &[1, 510, 0, 3, 511]).unwrap();
        assert_eq!((answer.status, answer.used), (OK, 1025), "{most} bytes");
        assert!(answer.data == contents[1536..2560], "{most} bytes");
        let pieces = [&header(OUT, 3)[..], &bytes[..5], &bytes[5..600], b"", &bytes[600..]];
        assert_eq!(rig.request(&pieces, &[1]).unwrap().status, OK);
        assert!(rig.image().bytes[1536..2560] == bytes[..], "{most} bytes");
    }
}

#[test]
fn an_image_that_ends_early_is_an_error_and_no_loop() {
    let memory = memory(&[(0, RAM)]);
    for len in [0, 1, 511, 512, 4095] {
        let mut rig = Rig::new(memory, shape(false));
        rig.image().bytes.truncate(len);
        let answer = rig.request(&[&header(IN, 0)], &[4097]).unwrap();
        assert_eq!((answer.status, answer.used), (IOERR, u32::try_from(len).unwrap()), "{len}");
        assert_eq!(rig.image().log.len(), 2 - usize::from(len == 0));
        let answer = rig.request(&[&header(OUT, 0), &[9; 4096]], &[1]).unwrap();
        assert_eq!(answer.status, IOERR, "{len}");
    }
}

#[test]
fn flush_never_lies() {
    let memory = memory(&[(0, RAM)]);
    let flush = |rig: &mut Rig| rig.request(&[&header(FLUSH_REQUEST, 0)], &[1]).unwrap().status;
    let write = |rig: &mut Rig| rig.request(&[&header(OUT, 0), &[1; 512]], &[1]).unwrap().status;
    // A flush reaches the disk, after the writes before it.
    let mut rig = Rig::new(memory, shape(false));
    assert_eq!((write(&mut rig), flush(&mut rig)), (OK, OK));
    assert_eq!(rig.image().log, [Operation::Write(0, 512), Operation::Flush]);
    // One that failed has failed for good, also across a reset: the data is gone.
    rig.image().errors = vec![Some(libc::EIO)];
    assert_eq!(flush(&mut rig), IOERR);
    rig.blk.start(FLUSH);
    assert_eq!((write(&mut rig), flush(&mut rig)), (OK, IOERR));
    assert_eq!(rig.request(&[&header(IN, 0)], &[513]).unwrap().status, OK);
    // Without the feature every write is durable before its status says so.
    let mut rig = Rig::new(memory, shape(false));
    rig.blk.start(0);
    assert_eq!((write(&mut rig), write(&mut rig)), (OK, OK));
    let pair = [Operation::Write(0, 512), Operation::Flush];
    assert_eq!(rig.image().log, [pair, pair].concat());
    rig.image().errors = vec![None, Some(libc::EIO)];
    assert_eq!((write(&mut rig), write(&mut rig)), (IOERR, IOERR));
    // A write that failed is not flushed: its status says so already.
    let mut rig = Rig::new(memory, shape(false));
    rig.blk.start(0);
    rig.image().errors = vec![Some(libc::EIO)];
    assert_eq!(write(&mut rig), IOERR);
    assert_eq!(rig.image().log, [Operation::Write(0, 512)]);
}

#[test]
fn a_turn_is_bounded_by_requests_and_by_bytes() {
    let memory = memory(&[(0, 4 << 20)]);
    // How many requests were done in each of the first turns, and whether there may be more.
    let turns = |requests: u16, data: u32| {
        let mut rig = Rig::new(memory, Shape { sectors: 1 << 30, read_only: false });
        rig.image().bytes = vec![3; 2 << 20];
        memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
        for _ in 0..requests {
            rig.driver.next = 0;
            rig.driver.add(&[Part::Out(BUFFERS, 16), Part::In(1 << 20, data + 1)]);
        }
        [(); 3].map(|()| {
            rig.image().log.clear();
            let progress = rig.blk.serve(memory, &mut rig.ring).unwrap();
            let used = std::iter::from_fn(|| rig.driver.take_used()).count();
            assert_eq!(progress.used, used > 0);
            let moved = rig.image().log.iter().map(|operation| match operation {
                Operation::Read(_, len) => *len,
                other => panic!("{other:?}"),
            });
            assert!(moved.sum::<usize>() <= 1 << 20);
            (used, progress.more)
        })
    };
    let idle = (0, false);
    assert_eq!(turns(0, 512), [idle, idle, idle]);
    assert_eq!(turns(1, 512), [(1, false), idle, idle]);
    assert_eq!(turns(256, 0), [(256, false), idle, idle]);
    assert_eq!(turns(3, 512 << 10), [(2, true), (1, false), idle]);
    assert_eq!(turns(2, 768 << 10), [(1, true), (1, false), idle]);
    assert_eq!(turns(1, 2 << 20), [(0, true), (1, true), idle]);
}

#[test]
fn a_request_of_four_gibibytes_is_many_turns_and_keeps_its_header() {
    let memory = memory(&[(0, 32 << 20)]);
    let mut rig = Rig::new(memory, Shape { sectors: u64::MAX, read_only: false });
    rig.image().bytes = vec![3; 4096];
    memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
    // 254 descriptors of 16 MiB each on the same memory, and a status.
    let mut parts = vec![Part::Out(BUFFERS, 16)];
    parts.extend([Part::In(16 << 20, 16 << 20); 254]);
    parts.push(Part::In(BUFFERS, 1));
    rig.driver.add(&parts);
    // The image is short: it is an error at its end, and no walk through all of it.
    rig.blk.serve(memory, &mut rig.ring).unwrap();
    assert_eq!(rig.driver.take_used(), Some((0, 4096)));

    let mut rig = Rig::new(memory, Shape { sectors: 1 << 30, read_only: false });
    rig.image().bytes = vec![3; 3 << 20];
    memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
    rig.driver.add(&[Part::Out(BUFFERS, 16), Part::In(1 << 20, (3 << 20) + 1)]);
    for turn in 0..3u64 {
        assert_eq!(rig.driver.take_used(), None);
        rig.blk.serve(memory, &mut rig.ring).unwrap();
        assert_eq!(rig.image().log.pop(), Some(Operation::Read(turn << 20, 1 << 20)));
        // What the header says now is of no interest.
        memory.write_slice(&header(OUT, u64::MAX), GuestAddress(BUFFERS)).unwrap();
    }
    assert_eq!(rig.driver.take_used(), Some((0, (3 << 20) + 1)));

    // A reset in the middle forgets it.
    rig.driver.add(&[Part::Out(BUFFERS, 16), Part::In(1 << 20, (3 << 20) + 1)]);
    memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
    rig.blk.serve(memory, &mut rig.ring).unwrap();
    rig.blk.stop();
    let progress = rig.blk.serve(memory, &mut rig.ring).unwrap();
    assert_eq!((progress, rig.driver.take_used()), (Progress::default(), None));
}

#[test]
fn a_request_may_overlap_itself_and_the_rings() {
    let memory = memory(&[(0, RAM)]);
    // The data goes over the descriptor table: the request was read before.
    let mut rig = Rig::new(memory, shape(false));
    memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
    let table = rig.driver.geometry.descriptors;
    rig.driver.add(&[Part::Out(BUFFERS, 16), Part::In(table, 4096), Part::In(BUFFERS + 64, 1)]);
    rig.blk.serve(memory, &mut rig.ring).unwrap();
    assert_eq!(rig.driver.take_used(), Some((0, 4097)));
    // Header, data and status in one place.
    let mut rig = Rig::new(memory, shape(false));
    memory.write_slice(&header(IN, 0), GuestAddress(BUFFERS)).unwrap();
    rig.driver.add(&[Part::Out(BUFFERS, 16), Part::In(BUFFERS, 512), Part::In(BUFFERS, 1)]);
    rig.blk.serve(memory, &mut rig.ring).unwrap();
    let mut bytes = vec![0; 512];
    memory.read_slice(&mut bytes, GuestAddress(BUFFERS)).unwrap();
    let mut expected = rig.image().bytes[..512].to_vec();
    expected[0] = OK;
    assert_eq!(bytes, expected);
}

#[test]
fn a_file_is_a_disk() {
    use std::io::{Read, Seek, SeekFrom};

    let memory = memory(&[(0, RAM)]);
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let mut blk = Blk::new(file, shape(false), *ID);
    let mut driver = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
    let mut ring = Ring::start(memory, driver.geometry, QUEUE_SIZE).unwrap();
    let bytes = Numbers(3).bytes(1024);
    memory.write_slice(&[header(OUT, 2), bytes.clone()].concat(), GuestAddress(BUFFERS)).unwrap();
    // Written byte by byte, flushed, read back into one buffer; 250 descriptors at most.
    let mut parts: Vec<Part> = (0..16).map(|at| Part::Out(BUFFERS + at, 1)).collect();
    parts.extend((0..128).map(|at| Part::Out(BUFFERS + 16 + 8 * at, 8)));
    parts.push(Part::In(0x8000, 1));
    driver.add(&parts);
    blk.start(0);
    blk.serve(memory, &mut ring).unwrap();
    assert_eq!(driver.take_used().unwrap().1, 1);
    memory.write_slice(&header(IN, 1), GuestAddress(BUFFERS)).unwrap();
    driver.next = 0;
    driver.add(&[Part::Out(BUFFERS, 16), Part::In(0x9000, 2049)]);
    blk.serve(memory, &mut ring).unwrap();
    assert_eq!(driver.take_used().unwrap().1, 2049);
    let mut read = vec![0; 2049];
    memory.read_slice(&mut read, GuestAddress(0x9000)).unwrap();
    let expected = [vec![0; 512], bytes.clone(), vec![0; 512], vec![OK]].concat();
    assert!(read == expected);
    let mut image = Vec::new();
    blk.disk().seek(SeekFrom::Start(0)).unwrap();
    blk.disk().read_to_end(&mut image).unwrap();
    assert!(image == [vec![0; 1024], bytes, vec![0; 2048]].concat());
    // Truncated by someone else.
    blk.disk().set_len(600).unwrap();
    driver.add(&[Part::Out(BUFFERS, 16), Part::In(0x9000, 513)]);
    blk.serve(memory, &mut ring).unwrap();
    assert_eq!(driver.take_used().unwrap().1, 88);
    let status: u8 = memory.read_obj(GuestAddress(0x9000 + 512)).unwrap();
    assert_eq!(status, IOERR);
}
