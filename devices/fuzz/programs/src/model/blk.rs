//! A block device by the standard (virtio 1.2 §5.2), and by what casemate promises beyond it: a
//! failed flush stays failed, and a turn moves at most 1 MiB and flushes once.

use std::collections::VecDeque;

use devices::blk::{FLUSH, Shape};
use devices::testing::Operation;
use devices::violation::Violation;

use super::Ram;
use super::ring::{Chain, Ring, len, walk};

const BUDGET: u64 = 1 << 20;
const SECTOR: u64 = 512;
const HEADER: u64 = 16;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

/// A block device and the image that it should have.
#[derive(Clone, Debug)]
pub struct Blk {
    /// What the guest was told.
    pub shape: Shape,
    /// GET_ID's answer.
    pub id: Vec<u8>,
    /// The contents.
    pub image: Vec<u8>,
    /// The most bytes that the image moves at once.
    pub most: u64,
    /// Errors of the image's next operations.
    pub errors: VecDeque<Option<i32>>,
    /// What the image was asked.
    pub log: Vec<Operation>,
    /// What another vCPU writes while the image is used.
    pub meanwhile: Option<(u64, [u8; 16])>,
    /// Requests answered in the last turn.
    pub served: usize,
    write_through: bool,
    lost: bool,
    flushed: bool,
    current: Option<Request>,
}

#[derive(Clone, Debug)]
struct Request {
    chain: Chain,
    /// Type and sector, if there were 16 bytes.
    header: Option<(u32, u64)>,
    moved: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Buffers went to the used ring.
    pub used: bool,
    /// There may be more.
    pub more: bool,
}

impl Blk {
    /// A device that serves `image`.
    pub fn new(shape: Shape, id: &[u8], image: Vec<u8>) -> Self {
        Self {
            shape,
            id: id.to_vec(),
            image,
            most: u64::MAX,
            errors: VecDeque::new(),
            log: Vec::new(),
            meanwhile: None,
            served: 0,
            write_through: false,
            lost: false,
            flushed: false,
            current: None,
        }
    }

    /// The driver accepted these features.
    pub fn start(&mut self, features: u64) {
        self.write_through = features & FLUSH == 0;
    }

    /// The driver reset the device.
    pub fn stop(&mut self) {
        self.current = None;
    }

    /// One turn.
    pub fn serve(&mut self, ram: &mut Ram, ring: &mut Ring) -> Result<Served, Violation> {
        let mut served = Served { used: false, more: true };
        let mut budget = BUDGET;
        self.served = 0;
        self.flushed = false;
        for _ in 0..=ring.geometry.size {
            let mut request = match self.current.take() {
                Some(request) => request,
                None => match ring.pop(ram)? {
                    Some(chain) => request(ram, chain)?,
                    None => return Ok(Served { more: false, ..served }),
                },
            };
            let before = request.moved;
            let result = self.execute(ram, &mut request, budget);
            budget -= (request.moved - before).min(budget);
            let status = match result {
                Ok(true) => OK,
                Err(status) => status,
                Ok(false) => {
                    self.current = Some(request);
                    return Ok(served);
                }
            };
            let room = len(&request.chain.writable) - 1;
            walk(&request.chain.writable, room, 1, |at, _| ram.write(at, &[status]));
            let is_write = request.header.is_some_and(|(kind, _)| kind == 1);
            let data = if is_write { 0 } else { request.moved };
            ring.push(ram, request.chain.head, data + u64::from(data == room));
            served.used = true;
            self.served += 1;
            if budget == 0 || self.flushed {
                break;
            }
        }
        Ok(served)
    }

    fn execute(&mut self, ram: &mut Ram, request: &mut Request, budget: u64) -> Result<bool, u8> {
        let (kind, sector) = request.header.ok_or(IOERR)?;
        let room = len(&request.chain.writable) - 1;
        match kind {
            0 => {
                self.check(sector, room)?;
                self.transfer(ram, request, sector, room, budget)
            }
            1 => {
                let data = len(&request.chain.readable) - HEADER;
                self.check(sector, data)?;
                if self.shape.read_only {
                    return Err(IOERR);
                }
                let done = self.transfer(ram, request, sector, data, budget)?;
                if done && self.write_through { self.flush(ram) } else { Ok(done) }
            }
            4 => self.flush(ram),
            8 => {
                let count = room.min(self.id.len() as u64);
                let mut rest = &self.id[..];
                walk(&request.chain.writable, 0, count, |at, len| {
                    let (now, later) = rest.split_at(usize::try_from(len).unwrap());
                    ram.write(at, now);
                    rest = later;
                });
                request.moved = count;
                Ok(true)
            }
            _ => Err(UNSUPP),
        }
    }

    /// The sectors have to be whole and on the disk.
    fn check(&self, sector: u64, len: u64) -> Result<(), u8> {
        let end = u128::from(sector) + u128::from(len / SECTOR);
        let there = end <= u128::from(self.shape.sectors) && end <= u128::from(u64::MAX / SECTOR);
        if len.is_multiple_of(SECTOR) && there { Ok(()) } else { Err(IOERR) }
    }

    fn begin(&mut self, ram: &mut Ram, operation: Operation) -> Result<(), i32> {
        if let Some((at, bytes)) = &self.meanwhile {
            ram.write(*at, bytes);
        }
        self.log.push(operation);
        self.errors.pop_front().flatten().map_or(Ok(()), Err)
    }

    fn transfer(
        &mut self,
        ram: &mut Ram,
        request: &mut Request,
        sector: u64,
        total: u64,
        budget: u64,
    ) -> Result<bool, u8> {
        let is_write = request.header.is_some_and(|(kind, _)| kind == 1);
        let (runs, skip) = match is_write {
            true => (&request.chain.readable, HEADER),
            false => (&request.chain.writable, 0),
        };
        let stop = total.min(request.moved.saturating_add(budget));
        while request.moved < stop {
            let (at, left) = (sector * SECTOR + request.moved, stop - request.moved);
            let asked = usize::try_from(left).unwrap();
            let operation =
                if is_write { Operation::Write(at, asked) } else { Operation::Read(at, asked) };
            match self.begin(ram, operation) {
                Err(libc::EINTR) => continue,
                Err(_) => return Err(IOERR),
                Ok(()) => {}
            }
            let count = left.min(self.most).min((self.image.len() as u64).saturating_sub(at));
            if count == 0 {
                return Err(IOERR);
            }
            let image = &mut self.image;
            let mut offset = usize::try_from(at).unwrap();
            walk(runs, skip + request.moved, count, |address, len| {
                let count = usize::try_from(len).unwrap();
                let bytes = &mut image[offset..offset + count];
                offset += count;
                if is_write {
                    bytes.copy_from_slice(ram.bytes(address, len));
                } else {
                    ram.bytes_mut(address, len).copy_from_slice(bytes);
                }
            });
            request.moved += count;
        }
        Ok(request.moved >= total)
    }

    fn flush(&mut self, ram: &mut Ram) -> Result<bool, u8> {
        if !self.lost {
            self.lost = self.begin(ram, Operation::Flush).is_err();
            self.flushed = true;
        }
        if self.lost { Err(IOERR) } else { Ok(true) }
    }
}

fn request(ram: &Ram, chain: Chain) -> Result<Request, Violation> {
    if chain.writable.is_empty() {
        return Err(Violation::NoStatus);
    }
    let mut bytes = Vec::new();
    walk(&chain.readable, 0, HEADER, |at, len| {
        bytes.extend_from_slice(ram.bytes(at, len));
    });
    let header = <[u8; 16]>::try_from(bytes).ok().map(|bytes| {
        let [kind, _, low, high] =
            [0, 4, 8, 12].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
        (kind, u64::from(high) << 32 | u64::from(low))
    });
    Ok(Request { chain, header, moved: 0 })
}
