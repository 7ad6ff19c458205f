//! Target `blk`: block requests on one queue, against the model; with an image that fails, that is
//! short, that lets the guest rewrite its memory meanwhile, or that is a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use devices::Memory;
use devices::blk::{Blk, FLUSH, ID_LEN, QUEUE_SIZE, Shape};
use devices::disk::Disk;
use devices::ring::Ring;
use devices::testing::{Image, Operation};
use devices::throttle::Rates;
use rustix::fs::{MemfdFlags, memfd_create};
use steps::Disturbance;
use steps::driver::{SECTORS, disturb_disk, offer_request};
use vm_memory::{Bytes as _, GuestAddress, VolatileSlice};

use crate::bytes::Bytes;
use crate::model;
use crate::rig::{Guest, Queue};

/// GET_ID's answer.
pub const ID: &[u8; ID_LEN] = b"casemate-disk-------";

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
    pub fn bytes(&self) -> Vec<u8> {
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
pub fn disturb(what: &Disturbance, image: &mut Fickle, model: &mut model::blk::Blk) {
    match *what {
        // A file reads and writes as it likes.
        Disturbance::Short(most) if image.file.is_none() => {
            image.image.most = most;
            model.most = most as u64;
        }
        Disturbance::Fails(before, error) => {
            let errors = std::iter::repeat_n(None, before).chain([Some(error)]);
            image.image.errors.extend(errors.clone());
            model.errors.extend(errors);
        }
        Disturbance::Meanwhile(at, byte) => {
            image.meanwhile = Some((at, [byte; 16]));
            model.meanwhile = image.meanwhile;
        }
        _ => {}
    }
}

thread_local! {
    static FILE: File = memfd_create("image", MemfdFlags::CLOEXEC).unwrap().into();
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    Guest::with(|guest| drive(guest, Bytes::new(bytes)));
}

fn drive(guest: &mut Guest, mut program: Bytes<'_>) {
    let knobs = program.byte();
    let (mut blk, mut model) = device(guest.memory, knobs & 1 != 0);
    match knobs & 0x0c {
        4 => FILE.with(|file| blk.disk().use_file(file)),
        // Rates that hold nothing back: target `limits` has those that do.
        8 => blk = blk.within(Rates { bytes: u64::MAX / 2, operations: u64::MAX / 2 }),
        _ => {}
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
            0..=8 => offer_request(&mut program, guest, &mut queue),
            9 | 10 => disturb(&disturb_disk(&mut program), blk.disk(), &mut model),
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
        assert_eq!((blk.pause(), blk.limited().held), (None, 0), "nothing holds it back");
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
