//! virtio-blk: a raw image as a disk.
//!
//! virtio 1.2 §5.2. One queue. A request is a header, data and a status byte, in any number of
//! descriptors.
//!
//! | request | does | refused with |
//! |---|---|---|
//! | IN | reads sectors | IOERR: past the end, not whole sectors, a failing image |
//! | OUT | writes sectors | IOERR: the same, or the disk is read-only |
//! | FLUSH | fdatasync | IOERR: fdatasync failed |
//! | GET_ID | 20 bytes of identity | |
//! | anything else | nothing | UNSUPP |
//!
//! Offered: VERSION_1, FLUSH, SEG_MAX, and RO for a read-only disk. Refused on purpose: SCSI and
//! LIFETIME (no use), CONFIG_WCE (the guest shall not choose the host's durability), DISCARD and
//! WRITE_ZEROES (they change the image's allocation), MQ (one worker, one queue), INDIRECT_DESC,
//! RING_PACKED (surface). A driver that does not accept FLUSH gets write-through (§5.2.6.2).

use std::io;

use virtio_bindings::virtio_blk as spec;
use vm_memory::VolatileSlice;

use crate::Memory;
use crate::chain::{Buffer, Chain};
use crate::disk::Disk;
use crate::mmio::{Identity, VERSION_1};
use crate::ring::Ring;
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
}

/// Status byte of a request (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// A block device.
#[derive(Debug)]
pub struct Blk<D> {
    disk: D,
    shape: Shape,
    id: [u8; ID_LEN],
    write_through: bool,
}

impl<D: Disk> Blk<D> {
    /// A device that serves `shape.sectors` sectors of `disk` and answers GET_ID with `id`.
    pub fn new(disk: D, shape: Shape, id: [u8; ID_LEN]) -> Self {
        Self { disk, shape, id, write_through: false }
    }

    /// The image behind the device.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Takes note of the negotiated features.
    pub fn start(&mut self, features: u64) {
        self.write_through = features & FLUSH == 0;
    }

    /// Serves at most one ring's worth of requests. Returns how many; fewer than the ring's size
    /// means that the ring was found empty.
    pub fn serve(&mut self, memory: &Memory, ring: &mut Ring) -> Result<u16, Violation> {
        for served in 0..ring.size() {
            let Some(chain) = ring.pop(memory)? else { return Ok(served) };
            let written = self.request(&chain)?;
            ring.push(memory, chain.head, written)?;
        }
        Ok(ring.size())
    }

    /// Executes one request; returns the bytes written to the chain.
    fn request(&mut self, chain: &Chain<'_>) -> Result<usize, Violation> {
        let end = chain.writable.len().checked_sub(1).ok_or(Violation::NoStatus)?;
        let mut transferred = 0;
        let status = match self.execute(chain, end, &mut transferred) {
            Ok(()) => Status::Ok,
            Err(status) => status,
        };
        chain.writable.write(end, &[status as u8]);
        // Only what is contiguous from the start may be reported (§2.7.8.2).
        Ok(if transferred == end { end + 1 } else { transferred })
    }

    fn execute(
        &mut self,
        chain: &Chain<'_>,
        end: usize,
        transferred: &mut usize,
    ) -> Result<(), Status> {
        let mut header = [0; HEADER];
        if chain.readable.read(0, &mut header) < HEADER {
            return Err(Status::IoError);
        }
        let [t0, t1, t2, t3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = header;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            spec::VIRTIO_BLK_T_IN => {
                let offset = self.offset(sector, end)?;
                let disk = &mut self.disk;
                transfer(&chain.writable, 0, end, offset, |regions, at| {
                    let count = disk.read(regions, at)?;
                    *transferred += count;
                    Ok(count)
                })
            }
            spec::VIRTIO_BLK_T_OUT => {
                let data_end = chain.readable.len();
                let offset = self.offset(sector, data_end - HEADER)?;
                if self.shape.read_only {
                    return Err(Status::IoError);
                }
                let disk = &mut self.disk;
                transfer(&chain.readable, HEADER, data_end, offset, |regions, at| {
                    disk.write(regions, at)
                })?;
                if self.write_through { self.flush() } else { Ok(()) }
            }
            spec::VIRTIO_BLK_T_FLUSH => self.flush(),
            spec::VIRTIO_BLK_T_GET_ID => {
                let id = self.id.get(..end.min(ID_LEN)).unwrap_or_default();
                *transferred = chain.writable.write(0, id);
                Ok(())
            }
            _ => Err(Status::Unsupported),
        }
    }

    /// Byte offset of `len` bytes at `sector`, all of them on the disk.
    fn offset(&self, sector: u64, len: usize) -> Result<u64, Status> {
        let len = u64::try_from(len).map_err(|_| Status::IoError)?;
        let end = sector.checked_add(len / SECTOR).ok_or(Status::IoError)?;
        if len % SECTOR != 0 || end > self.shape.sectors {
            return Err(Status::IoError);
        }
        sector.checked_mul(SECTOR).ok_or(Status::IoError)
    }

    fn flush(&mut self) -> Result<(), Status> {
        self.disk.flush().map_err(|_| Status::IoError)
    }
}

/// Moves `buffer[start..end]` to or from `offset` in as many steps as the disk needs.
fn transfer(
    buffer: &Buffer<'_>,
    start: usize,
    end: usize,
    offset: u64,
    mut step: impl FnMut(&[VolatileSlice<'_>], u64) -> io::Result<usize>,
) -> Result<(), Status> {
    let (mut at, mut offset) = (start, offset);
    while at < end {
        let regions: Vec<_> = buffer.range(at, end).collect();
        match step(&regions, offset) {
            // The image ended early: someone else has truncated it.
            Ok(0) => return Err(Status::IoError),
            Ok(count) => {
                at += count;
                offset += u64::try_from(count).map_err(|_| Status::IoError)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Status::IoError),
        }
    }
    Ok(())
}
