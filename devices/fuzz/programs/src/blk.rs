//! Target `blk`: block requests on one queue, against the model; with an image that fails, that is
//! short, that lets the guest rewrite its memory meanwhile, or that is a file.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use devices::Memory;
use devices::blk::{Blk, FLUSH, ID_LEN, QUEUE_SIZE, Shape};
use devices::disk::Disk;
use devices::ring::Ring;
use devices::testing::{Image, Operation};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes as _, GuestAddress, VolatileSlice};

use crate::bytes::Bytes;
use crate::model;
use crate::rig::{Guest, Part, Queue, WRITE, cut, place};

/// Sectors of the image.
pub const SECTORS: u64 = 8;
/// GET_ID's answer.
pub const ID: &[u8; ID_LEN] = b"casemate-disk-------";

const HEADER: u32 = 16;

/// An image during whose operations another vCPU writes to guest memory.
#[derive(Debug)]
pub struct Fickle {
    /// The image.
    pub image: Image,
    /// What is written when it is used: where, and what.
    pub meanwhile: Option<(u64, [u8; 16])>,
    /// A file that takes the image's place; the image then only fails and keeps its log.
    file: Option<File>,
    memory: &'static Memory,
}

impl Fickle {
    /// What comes before an operation: the other vCPU, and an error of the file's.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        if let Some((at, bytes)) = &self.meanwhile {
            self.memory.write_slice(bytes, GuestAddress(*at)).unwrap();
        }
        if self.file.is_none() {
            return Ok(());
        }
        self.image.log.push(operation);
        let errors = &mut self.image.errors;
        let error = if errors.is_empty() { None } else { errors.remove(0) };
        error.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
    }

    /// What is stored.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.image.bytes.clone();
        if let Some(file) = &self.file {
            file.read_exact_at(&mut bytes, 0).unwrap();
        }
        bytes
    }

    /// Puts a file in the image's place.
    fn use_file(&mut self, file: &File) {
        file.write_all_at(&self.image.bytes, 0).unwrap();
        self.file = Some(file.try_clone().unwrap());
    }
}

impl Disk for Fickle {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let len = regions.iter().map(VolatileSlice::len).sum();
        self.begin(Operation::Read(offset, len))?;
        match &mut self.file {
            Some(file) => Disk::read(file, regions, offset),
            None => self.image.read(regions, offset),
        }
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        let len = regions.iter().map(VolatileSlice::len).sum();
        self.begin(Operation::Write(offset, len))?;
        match &mut self.file {
            Some(file) => Disk::write(file, regions, offset),
            None => self.image.write(regions, offset),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin(Operation::Flush)?;
        match &mut self.file {
            Some(file) => Disk::flush(file),
            None => self.image.flush(),
        }
    }
}

/// What the guest is told of the disk.
pub fn shape(read_only: bool) -> Shape {
    Shape { sectors: SECTORS, read_only }
}

/// A device and its model.
pub fn device(memory: &'static Memory, read_only: bool) -> (Blk<'static, Fickle>, model::blk::Blk) {
    let shape = shape(read_only);
    // The image goes on after the last sector: those bytes are not the guest's.
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let len = usize::try_from(SECTORS * 512).unwrap() + 32;
        (0u8..251).cycle().take(len).collect()
    });
    let bytes = BYTES.clone();
    let image = Fickle { image: Image::new(bytes.clone()), meanwhile: None, file: None, memory };
    (Blk::new(image, shape, *ID), model::blk::Blk::new(shape, ID, bytes))
}

/// Makes the image fail, or be slow, or have the guest write meanwhile; the model's too.
pub fn disturb(program: &mut Bytes<'_>, image: &mut Fickle, model: &mut model::blk::Blk) {
    match program.below(4) {
        0 if image.file.is_none() => {
            let most = program.one_of(&[1, 7, 100, 511, 512, 513, usize::MAX]);
            image.image.most = most;
            model.most = most as u64;
        }
        1 | 2 => {
            let error =
                program.one_of(&[libc::EINTR, libc::EIO, libc::ENOSPC, libc::EFBIG, libc::EAGAIN]);
            let before = program.below(3);
            let errors = std::iter::repeat_n(None, before).chain([Some(error)]);
            image.image.errors.extend(errors.clone());
            model.errors.extend(errors);
        }
        _ => {
            let at = u64::from(program.half()) % (crate::rig::END - 16);
            let bytes = [program.byte(); 16];
            image.meanwhile = Some((at, bytes));
            model.meanwhile = image.meanwhile;
        }
    }
}

/// Makes a request available, well formed and mostly reasonable.
pub fn offer(program: &mut Bytes<'_>, guest: &mut Guest, queue: &mut Queue) {
    let kind = program.one_of(&[0, 1, 1, 4, 8, 0, 11, 1]);
    let kind = if program.rarely() { program.word() } else { kind };
    let sector = if program.rarely() { program.edge() } else { program.below(9) as u64 };
    let mut len = 512 * u32::try_from(program.below(4)).unwrap();
    if program.rarely() {
        len = u32::from(program.half()) % 4500;
    }
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    let at = place(program).min(crate::rig::END - 0x800);
    guest.write(at, &header);
    let mut parts = Vec::new();
    let data = at + u64::from(HEADER);
    match kind {
        1 => {
            let fill = program.byte();
            guest.fill(data, len, fill);
            cut(&mut parts, program, at, HEADER + len, 0);
            parts.push(Part { address: data + u64::from(len), len: 1, flags: WRITE });
        }
        _ => {
            let room = if kind == 8 { u32::from(program.byte()) % 40 } else { len };
            parts.push(Part { address: at, len: HEADER, flags: 0 });
            let room = if kind == 4 { 0 } else { room };
            cut(&mut parts, program, data, room + 1, WRITE);
        }
    }
    if program.rarely() {
        // Without one of its parts.
        parts.remove(program.below(parts.len()));
    }
    queue.add(guest, &parts);
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::default();
    static FILE: File = memfd_create("image", MemfdFlags::CLOEXEC).unwrap().into();
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    GUEST.with_borrow_mut(|guest| {
        guest.clear();
        drive(guest, Bytes::new(bytes));
    });
}

fn drive(guest: &mut Guest, mut program: Bytes<'_>) {
    let knobs = program.byte();
    let (mut blk, mut model) = device(guest.memory, knobs & 1 != 0);
    if knobs & 0x0c == 4 {
        FILE.with(|file| blk.disk().use_file(file));
    }
    let features = if knobs & 2 != 0 { 0 } else { FLUSH };
    blk.start(features);
    model.start(features);
    // Sizes up to the largest, mostly small.
    let size = 1 << (knobs >> 4).min(8);
    let mut queue = Queue::new(0x400, size);
    let mut ring = Ring::start(guest.memory, queue.geometry, QUEUE_SIZE).unwrap();
    let mut model_ring = model::ring::Ring::start(&guest.ram, queue.geometry, QUEUE_SIZE).unwrap();
    let mut broken = false;
    while !program.is_empty() {
        match program.below(16) {
            0..=8 => offer(&mut program, guest, &mut queue),
            9 | 10 => disturb(&mut program, blk.disk(), &mut model),
            11 if program.rarely() => {
                // A reset: the driver begins anew.
                blk.stop();
                model.stop();
                queue.clear(guest);
                ring = Ring::start(guest.memory, queue.geometry, QUEUE_SIZE).unwrap();
                model_ring =
                    model::ring::Ring::start(&guest.ram, queue.geometry, QUEUE_SIZE).unwrap();
            }
            12 => {
                broken = true;
                queue.break_it(guest, &mut program);
            }
            _ => {}
        }
        let asked = model.log.len();
        let expected = model.serve(&mut guest.ram, &mut model_ring);
        // A copy of data may well read a byte twice, so a request that moves some is not watched.
        let moved = model.log[asked..].iter().any(|operation| *operation != Operation::Flush);
        let watched = knobs & 0x0c == 0x0c && !moved && model.served == 1 && !broken;
        let served = if watched {
            let available = queue.geometry.available;
            let (served, twice) = guest.watch(available, || blk.serve(guest.memory, &mut ring));
            assert_eq!(twice, None, "a byte was fetched twice");
            served
        } else {
            blk.serve(guest.memory, &mut ring)
        };
        let served = served.map(|progress| (progress.used, progress.more));
        assert_eq!(served, expected.map(|served| (served.used, served.more)));
        guest.check("blk");
        check(blk.disk(), &model);
        if expected.is_err() {
            return;
        }
    }
}

/// Checks that the image was asked for what it should have been, and holds what it should.
pub fn check(image: &Fickle, model: &model::blk::Blk) {
    assert_eq!(image.image.log, model.log, "operations of the image");
    let same = match image.file {
        None => image.image.bytes == model.image,
        Some(_) => image.bytes() == model.image,
    };
    assert!(same, "the image differs");
}
