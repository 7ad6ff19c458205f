//! Backends that fail wherever they can: every byte, every error, every order, and slowly.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use devices::Memory;
use devices::blk::{Blk, FLUSH, ID_LEN, QUEUE_SIZE, Shape};
use devices::disk::Disk;
use devices::ring::Ring;
use devices::serve::BlkLoop;
use devices::sink::Sink;
use devices::testing::{Image, Machine, Part, SplitRing, memory};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use crate::Numbers;

const RAM: usize = 0x1_0000;
const HEADER: u64 = 0x8000;
const DATA: u64 = 0x9000;
const STATUS: u64 = 0x8ff0;
const SECTORS: u64 = 8;
const SHAPE: Shape = Shape { sectors: SECTORS, read_only: false };
const ERRORS: [i32; 5] = [libc::EIO, libc::ENOSPC, libc::EFBIG, libc::EAGAIN, libc::EDQUOT];

/// A device on a disk, and its driver.
struct Rig<D: Disk> {
    memory: &'static Memory,
    driver: SplitRing,
    ring: Ring,
    blk: Blk<'static, D>,
}

impl<D: Disk> Rig<D> {
    fn new(memory: &'static Memory, disk: D, features: u64) -> Self {
        let driver = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
        let ring = Ring::start(memory, driver.geometry, QUEUE_SIZE).unwrap();
        let mut blk = Blk::new(disk, SHAPE, [0; ID_LEN]);
        blk.start(features);
        Self { memory, driver, ring, blk }
    }

    /// Sends a request whose data, in or out, is at [`DATA`]: its status, and the used length.
    fn request(&mut self, kind: u32, sector: u64, len: u32) -> (u8, u32) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write_slice(&header, GuestAddress(HEADER)).unwrap();
        let data = if kind == 0 { Part::In(DATA, len) } else { Part::Out(DATA, len) };
        self.driver.add(&[Part::Out(HEADER, 16), data, Part::In(STATUS, 1)]);
        self.blk.serve(self.memory, &mut self.ring).unwrap();
        let (_, used) = self.driver.take_used().unwrap();
        (self.memory.read_obj(GuestAddress(STATUS)).unwrap(), used)
    }
}

#[test]
fn a_transfer_may_fail_after_any_byte_in_any_way() {
    const LEN: usize = 512;
    let memory = memory(&[(0, RAM)]);
    let old = Numbers(1).bytes(4096);
    let new = Numbers(2).bytes(LEN);
    let mut rig = Rig::new(memory, Image::new(old.clone()), FLUSH);
    for byte in 0..=LEN {
        for error in ERRORS.into_iter().chain([libc::EINTR]) {
            let case = format!("error {error} after {byte} bytes");
            // A transfer of so many bytes, then the error, then the rest if there is one.
            let failing = if byte == 0 { vec![Some(error)] } else { vec![None, Some(error)] };
            let fails = error != libc::EINTR && byte < LEN;
            for kind in [0, 1] {
                let disk = rig.blk.disk();
                disk.bytes.copy_from_slice(&old);
                disk.most = byte.max(1);
                disk.errors.clone_from(&failing);
                disk.log.clear();
                memory.write_slice(&new, GuestAddress(DATA)).unwrap();
                let (status, used) = rig.request(kind, 2, 512);
                assert_eq!(status, u8::from(fails), "{case}");
                let moved = if fails { byte } else { LEN };
                let mut data = vec![0; LEN];
                memory.read_slice(&mut data, GuestAddress(DATA)).unwrap();
                let mut image = old.clone();
                if kind == 0 {
                    // As many bytes as it says, and none after them.
                    let counted = if fails { moved } else { LEN + 1 };
                    assert_eq!(usize::try_from(used).unwrap(), counted, "{case}");
                    assert!(data[..moved] == old[1024..1024 + moved], "{case}");
                    assert!(data[moved..] == new[moved..], "{case}");
                } else {
                    image[1024..1024 + moved].copy_from_slice(&new[..moved]);
                }
                assert!(rig.blk.disk().bytes == image, "{case}");
                rig.blk.disk().errors.clear();
            }
        }
    }
}

/// A disk behind a cache: what is written is durable after a flush, and what a flush that failed
/// should have written is lost, as it is in the kernel's page cache.
struct Cached {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// Bit n: operation n fails.
    failing: u32,
    operations: u32,
}

impl Cached {
    fn fails(&mut self) -> bool {
        let fails = self.failing >> self.operations & 1 == 1;
        self.operations += 1;
        fails
    }
}

impl Disk for Cached {
    fn read(&mut self, _: &[VolatileSlice<'_>], _: u64) -> io::Result<usize> {
        unreachable!("nothing is read")
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        if self.fails() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let at = usize::try_from(offset).unwrap();
        // One region at a time: short, wherever there is more than one.
        Ok(regions[0].copy_to(&mut self.cache[at..]))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.fails() {
            // The error is told once, and the data is clean from then on.
            self.cache.copy_from_slice(&self.durable);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.durable.copy_from_slice(&self.cache);
        Ok(())
    }
}

#[test]
fn no_order_of_faults_makes_a_flush_lie() {
    let memory = memory(&[(0, RAM)]);
    let len = usize::try_from(SECTORS).unwrap() * 512;
    // Six requests, each a write or a flush, and every set of operations that fail.
    for requests in 0..64u32 {
        for failing in 0..64u32 {
            for features in [FLUSH, 0] {
                let disk =
                    Cached { cache: vec![0; len], durable: vec![0; len], failing, operations: 0 };
                let mut rig = Rig::new(memory, disk, features);
                // What the guest may believe is durable, by sector, and what it has yet to flush.
                let mut promised: Vec<(u64, u8)> = Vec::new();
                let mut written: Vec<(u64, u8)> = Vec::new();
                for index in 0..6u8 {
                    let sector = u64::from(index % 3);
                    let (is_flush, byte) = (requests >> index & 1 == 1, index + 1);
                    memory.write_slice(&[byte; 512], GuestAddress(DATA)).unwrap();
                    let kind = if is_flush { 4 } else { 1 };
                    let (status, _) = rig.request(kind, sector, if is_flush { 0 } else { 512 });
                    match (is_flush, status, features) {
                        (true, 0, _) => promised.append(&mut written),
                        (false, 0, FLUSH) => written.push((sector, byte)),
                        (false, 0, _) => promised.push((sector, byte)),
                        // A write that failed may have come to anything.
                        (false, _, _) => {
                            promised.retain(|write| write.0 != sector);
                            written.retain(|write| write.0 != sector);
                        }
                        (true, _, _) => {}
                    }
                    for (at, byte) in latest(&promised) {
                        let later: Vec<u8> =
                            written.iter().filter(|w| w.0 == at).map(|w| w.1).collect();
                        let durable = rig.blk.disk().durable[usize::try_from(at).unwrap() * 512];
                        let known = durable == byte || later.contains(&durable);
                        assert!(known, "requests {requests:#b}, failing {failing:#b}, sector {at}");
                    }
                }
            }
        }
    }
}

/// The last write to each sector.
fn latest(writes: &[(u64, u8)]) -> Vec<(u64, u8)> {
    let mut last: Vec<(u64, u8)> = Vec::new();
    for write in writes {
        last.retain(|other| other.0 != write.0);
        last.push(*write);
    }
    last
}

/// A disk whose reads take until they are let go.
struct Slow {
    begun: Sender<()>,
    go: Receiver<()>,
}

impl Disk for Slow {
    fn read(&mut self, regions: &[VolatileSlice<'_>], _: u64) -> io::Result<usize> {
        self.begun.send(()).unwrap();
        self.go.recv().unwrap();
        regions[0].copy_from(&[7_u8; 512]);
        Ok(regions[0].len())
    }

    fn write(&mut self, _: &[VolatileSlice<'_>], _: u64) -> io::Result<usize> {
        unreachable!("nothing is written")
    }

    fn flush(&mut self) -> io::Result<()> {
        unreachable!("nothing is flushed")
    }
}

#[test]
fn a_reset_during_a_slow_read_is_answered_after_it_and_nothing_is_touched_then() {
    let memory = memory(&[(0, RAM)]);
    let (mut machine, link) = Machine::new(memory, SHAPE.identity());
    let [(begun, has_begun), (go, goes)] = [channel(), channel()];
    let worker = thread::spawn(move || {
        let disk = Slow { begun, go: goes };
        BlkLoop::new(link, Blk::new(disk, SHAPE, [0; ID_LEN])).run().unwrap();
    });
    for round in 0..3 {
        let mut ring = SplitRing::new(memory, 0x1000, QUEUE_SIZE);
        machine.start(FLUSH, &[&ring]);
        memory.write_slice(&[0; 16], GuestAddress(HEADER)).unwrap();
        ring.add(&[Part::Out(HEADER, 16), Part::In(DATA, 513)]);
        ring.add(&[Part::Out(HEADER, 16), Part::In(DATA + 0x1000, 513)]);
        machine.kick(0);
        has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
        // The driver gives up while the read is under way.
        machine.begin_reset();
        assert!(!machine.has_message(), "round {round}: answered with a read under way");
        // What was begun ends; what was not begun may or may not be.
        go.send(()).unwrap();
        go.send(()).unwrap();
        machine.finish_reset();
        machine.take_interrupt();
        while has_begun.try_recv().is_ok() {}
        // From here on the memory is the driver's.
        memory.write_slice(&[0x55; 0x7000], GuestAddress(HEADER)).unwrap();
        thread::sleep(Duration::from_millis(20));
        let mut after = vec![0; 0x7000];
        memory.read_slice(&mut after, GuestAddress(HEADER)).unwrap();
        assert!(after.iter().all(|byte| *byte == 0x55), "round {round}");
        assert!(!machine.take_interrupt(), "round {round}");
    }
    drop(machine);
    worker.join().unwrap();
}

#[test]
fn a_sink_that_takes_less_than_it_is_given_loses_and_doubles_nothing() {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (reader, writer) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    // Polls writable with room for a part of a write only.
    set_socket_send_buffer_size(&writer, 2048).unwrap();
    let mut numbers = Numbers(31);
    let bytes = numbers.bytes(400_000);
    let mut sink = Sink::new(writer, 9000);
    let (mut pushed, mut received) = (0, Vec::new());
    while received.len() < bytes.len() {
        pushed += sink.push(&bytes[pushed..bytes.len().min(pushed + numbers.below(5000))]);
        for _ in 0..numbers.below(5) {
            sink.write();
        }
        let mut piece = vec![0; 1 + numbers.below(3000)];
        if let Ok(count) = rustix::io::read(&reader, &mut piece) {
            received.extend_from_slice(&piece[..count]);
        }
        assert!(bytes.starts_with(&received));
        assert!(!sink.is_closed());
    }
    // The reader goes in the middle of a write: what was not taken is swallowed.
    sink.push(&bytes[..9000]);
    sink.write();
    drop(reader);
    while sink.write() {}
    assert!(sink.is_closed() && sink.held() == 0);
}
