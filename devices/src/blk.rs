//! virtio-blk: a raw image as a disk.
//!
//! virtio 1.2 §5.2. One queue. A request is a header, data and a status byte, in any number of
//! descriptors.
//!
//! | request | does | refused with |
//! |---|---|---|
//! | IN | reads sectors | IOERR: past the end, not whole sectors, a failing image |
//! | OUT | writes sectors | IOERR: the same, or the disk is read-only |
//! | FLUSH | fdatasync | IOERR: fdatasync failed, now or before |
//! | GET_ID | 20 bytes of identity | |
//! | anything else | nothing | UNSUPP |
//!
//! Offered: VERSION_1, FLUSH, SEG_MAX, and RO for a read-only disk. Refused on purpose: SCSI and
//! LIFETIME (no use), CONFIG_WCE (the guest shall not choose the host's durability), DISCARD and
//! WRITE_ZEROES (they change the image's allocation), MQ (one worker, one queue), INDIRECT_DESC,
//! RING_PACKED (surface). A request that is faster than its disk may be waits; it holds up those after
//! it, and nothing else. A driver that does not accept FLUSH gets write-through (§5.2.6.2).

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use virtio_bindings::virtio_blk as spec;
use vm_memory::VolatileSlice;

use crate::Memory;
use crate::chain::{Buffer, Chain, Regions};
use crate::disk::Disk;
use crate::mmio::{Identity, VERSION_1};
use crate::ring::{Progress, Ring};
use crate::throttle::{Rates, Throttle};
use crate::violation::Violation;

/// Bytes in a sector, whatever the image's file system thinks.
pub const SECTOR: u64 = 512;
/// Descriptors in the queue.
pub const QUEUE_SIZE: u16 = 256;
/// The longest GET_ID answer.
pub const ID_LEN: usize = spec::VIRTIO_BLK_ID_BYTES as usize;

/// Feature FLUSH: the driver can ask for durability.
pub const FLUSH: u64 = 1 << spec::VIRTIO_BLK_F_FLUSH;
const RO: u64 = 1 << spec::VIRTIO_BLK_F_RO;
const SEG_MAX: u64 = 1 << spec::VIRTIO_BLK_F_SEG_MAX;
const HEADER: usize = 16;

/// The most bytes that one call of [`Blk::serve`] moves. A flush, slow as it may be, ends a call.
const BUDGET: usize = 1024 * 1024;

/// What the guest is told about a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
}

impl Shape {
    /// The device as the transport presents it (§5.2.4 for the configuration space).
    pub fn identity(&self) -> Identity {
        let mut config = [0; 16];
        config[..8].copy_from_slice(&self.sectors.to_le_bytes());
        config[12..].copy_from_slice(&u32::from(QUEUE_SIZE - 2).to_le_bytes());
        Identity {
            device: 2,
            features: VERSION_1 | FLUSH | SEG_MAX | if self.read_only { RO } else { 0 },
            queues: &[QUEUE_SIZE],
            config,
        }
    }

    /// Byte offset of `len` bytes at `sector`, all of them on the disk.
    fn offset(&self, sector: u64, len: usize) -> Result<u64, Status> {
        let len = u64::try_from(len).map_err(|_| Status::IoError)?;
        let end = sector.checked_add(len / SECTOR).ok_or(Status::IoError)?;
        if len % SECTOR != 0 || end > self.sectors {
            return Err(Status::IoError);
        }
        // The last byte has to have an offset too.
        end.checked_mul(SECTOR).map(|end| end - len).ok_or(Status::IoError)
    }
}

/// Status byte of a request (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// A request that has been taken from the ring.
#[derive(Debug)]
struct Request<'m> {
    chain: Chain<'m>,
    /// Type and sector, if the header is whole.
    header: Option<(u32, u64)>,
    /// Bytes of data moved so far.
    moved: usize,
    /// It counts as an operation.
    begun: bool,
    /// Since when it waits for the throttle.
    held: Option<Instant>,
    /// It had to wait before.
    waited: bool,
}

/// What its limits cost a disk, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    /// Requests that had to wait for the throttle.
    pub held: u64,
    /// How long they waited, in milliseconds.
    pub held_ms: u64,
    /// Writes that failed because there was no room for them.
    pub full: u64,
}

/// A block device.
#[derive(Debug)]
pub struct Blk<'m, D> {
    disk: D,
    shape: Shape,
    id: [u8; ID_LEN],
    write_through: bool,
    /// A flush failed. The kernel reports that once and forgets the data; the guest shall not be
    /// told later that it is durable.
    lost: bool,
    flushed: bool,
    /// The request that the last turn's budget did not suffice for.
    current: Option<Request<'m>>,
    /// None: as fast as it can.
    throttle: Option<Throttle>,
    held: u64,
    waited: Duration,
    full: u64,
}

impl<'m, D: Disk> Blk<'m, D> {
    /// A device that serves `shape.sectors` sectors of `disk` and answers GET_ID with `id`.
    pub fn new(disk: D, shape: Shape, id: [u8; ID_LEN]) -> Self {
        Self {
            disk,
            shape,
            id,
            write_through: false,
            lost: false,
            flushed: false,
            current: None,
            throttle: None,
            held: 0,
            waited: Duration::ZERO,
            full: 0,
        }
    }

    /// The device, no faster than `rates`.
    #[must_use]
    pub fn within(mut self, rates: Rates) -> Self {
        self.throttle = (rates != Rates::NONE).then(|| Throttle::new(rates));
        self
    }

    /// What its limits cost the disk.
    pub fn limited(&self) -> Limited {
        let held_ms = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        Limited { held: self.held, held_ms, full: self.full }
    }

    /// How long the request in hand has to wait for the throttle; none: it does not.
    pub fn pause(&self) -> Option<Duration> {
        let (throttle, current) = (self.throttle.as_ref()?, self.current.as_ref()?);
        current.held?;
        throttle.pause(current.begun, Instant::now())
    }

    /// The image behind the device.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Takes note of the negotiated features.
    pub fn start(&mut self, features: u64) {
        self.write_through = features & FLUSH == 0;
    }

    /// Forgets the request in hand, as a reset does.
    pub fn stop(&mut self) {
        self.current = None;
    }

    /// Serves requests within one turn's budget.
    pub fn serve(&mut self, memory: &'m Memory, ring: &mut Ring) -> Result<Progress, Violation> {
        let mut progress = Progress::default();
        let mut budget = BUDGET;
        for _ in 0..=ring.size() {
            let mut request = match self.current.take() {
                Some(request) => request,
                None => match ring.pop(memory)? {
                    Some(chain) => Request::new(chain)?,
                    None => return Ok(progress),
                },
            };
            let room = self.admit(&mut request);
            if room == 0 {
                self.current = Some(request);
                break;
            }
            let before = request.moved;
            let result = self.execute(&mut request, budget.min(room));
            let moved = request.moved - before;
            budget = budget.saturating_sub(moved);
            if let Some(throttle) = &mut self.throttle {
                throttle.spend(moved, Instant::now());
            }
            if result == Ok(false) {
                self.current = Some(request);
                break;
            }
            let written = request.answer(result.map_or_else(|status| status, |_| Status::Ok));
            ring.push(memory, request.chain.head, written)?;
            progress.used = true;
            if std::mem::take(&mut self.flushed) || budget == 0 {
                break;
            }
        }
        progress.more = true;
        Ok(progress)
    }

    /// How many bytes a request may move now, which begins unless it has to wait: then none.
    fn admit(&mut self, request: &mut Request<'_>) -> usize {
        let Some(throttle) = &mut self.throttle else { return usize::MAX };
        let now = Instant::now();
        let room = throttle.room(request.begun, now);
        if room == 0 {
            if request.held.is_none() {
                request.held = Some(now);
                self.held += u64::from(!request.waited);
                request.waited = true;
            }
            return 0;
        }
        if let Some(since) = request.held.take() {
            self.waited += now.saturating_duration_since(since);
        }
        if !request.begun {
            request.begun = true;
            throttle.begin(now);
        }
        room
    }

    /// Executes a request, or goes on with it, until it has moved `budget` bytes. True: it is done.
    fn execute(&mut self, request: &mut Request<'_>, budget: usize) -> Result<bool, Status> {
        let (kind, sector) = request.header.ok_or(Status::IoError)?;
        let Request { chain, moved, .. } = request;
        let (disk, room, full) = (&mut self.disk, chain.writable.len() - 1, &mut self.full);
        match kind {
            spec::VIRTIO_BLK_T_IN => {
                let offset = self.shape.offset(sector, room)?;
                transfer(&chain.writable, 0..room, moved, budget, |regions, at| {
                    disk.read(regions, offset + at)
                })
            }
            spec::VIRTIO_BLK_T_OUT => {
                let end = chain.readable.len();
                let offset = self.shape.offset(sector, end - HEADER)?;
                if self.shape.read_only {
                    return Err(Status::IoError);
                }
                let done = transfer(&chain.readable, HEADER..end, moved, budget, |regions, at| {
                    disk.write(regions, offset + at).inspect_err(|error| {
                        *full += u64::from(error.kind() == io::ErrorKind::StorageFull);
                    })
                })?;
                if done && self.write_through { self.flush() } else { Ok(done) }
            }
            spec::VIRTIO_BLK_T_FLUSH => self.flush(),
            spec::VIRTIO_BLK_T_GET_ID => {
                *moved = chain.writable.write(0, self.id.get(..room).unwrap_or(&self.id));
                Ok(true)
            }
            _ => Err(Status::Unsupported),
        }
    }

    fn flush(&mut self) -> Result<bool, Status> {
        if !self.lost {
            self.lost = self.disk.flush().is_err();
            self.flushed = true;
        }
        if self.lost { Err(Status::IoError) } else { Ok(true) }
    }
}

impl<'m> Request<'m> {
    /// The request in `chain`, which must have room for a status.
    fn new(chain: Chain<'m>) -> Result<Self, Violation> {
        if chain.writable.is_empty() {
            return Err(Violation::NoStatus);
        }
        let mut bytes = [0; HEADER];
        let whole = chain.readable.read(0, &mut bytes) == HEADER;
        let [t0, t1, t2, t3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        let kind = u32::from_le_bytes([t0, t1, t2, t3]);
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let header = whole.then_some((kind, sector));
        Ok(Self { chain, header, moved: 0, begun: false, held: None, waited: false })
    }

    /// Writes the status; returns the bytes written to the chain. Only those that follow one
    /// another from the first on may be counted (§2.7.8.2).
    fn answer(&self, status: Status) -> usize {
        let room = self.chain.writable.len() - 1;
        self.chain.writable.write(room, &[status as u8]);
        let written = if self.is_write() { 0 } else { self.moved };
        if written == room { room + 1 } else { written }
    }

    fn is_write(&self) -> bool {
        self.header.is_some_and(|(kind, _)| kind == spec::VIRTIO_BLK_T_OUT)
    }
}

/// Moves what is left of `range` of `buffer`, `budget` bytes at most, in as many steps as the disk
/// needs. `moved` counts the bytes moved so far; a step gets it too. True: all is moved.
fn transfer(
    buffer: &Buffer<'_>,
    range: Range<usize>,
    moved: &mut usize,
    budget: usize,
    mut step: impl FnMut(&[VolatileSlice<'_>], u64) -> io::Result<usize>,
) -> Result<bool, Status> {
    let stop = range.len().min(moved.saturating_add(budget));
    while *moved < stop {
        let rest: Regions<'_> = buffer.range(range.start + *moved, range.start + stop).collect();
        match step(&rest, u64::try_from(*moved).map_err(|_| Status::IoError)?) {
            // The image ended early: someone else has truncated it.
            Ok(0) => return Err(Status::IoError),
            Ok(count) => *moved += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Status::IoError),
        }
    }
    Ok(*moved >= range.len())
}
