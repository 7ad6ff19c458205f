//! Target `overlay`: copy-on-write, against a flat image; with a base and a file that are short or fail.
//!
//! Whatever is asked for, the base stays as it was, what is read is what was written last, an operation that
//! fails has changed nothing, and no more blocks are taken than may be.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use devices::disk::Disk;
use devices::overlay::{BLOCK, Overlay};
use devices::testing::Image;
use vm_memory::VolatileSlice;

use crate::bytes::Bytes;

/// What is in the file before anything is written: never to be seen.
const POISON: u8 = 0xee;
const ERRORS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EINTR, libc::EAGAIN];

/// An image that its owner can look at too.
#[derive(Clone)]
struct Shared(Rc<RefCell<Image>>);

impl Shared {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(Image::new(bytes))))
    }

    fn disturb(&self, program: &mut Bytes<'_>) {
        let mut image = self.0.borrow_mut();
        match program.below(3) {
            0 => image.most = program.one_of(&[1, 7, 512, 4095, 4096, usize::MAX]),
            _ => {
                let before = program.below(3);
                let error = program.one_of(&ERRORS);
                image.errors = std::iter::repeat_n(None, before).chain([Some(error)]).collect();
            }
        }
    }

    /// It behaves again.
    fn calm(&self) {
        let mut image = self.0.borrow_mut();
        image.most = usize::MAX;
        image.errors.clear();
    }
}

impl Disk for Shared {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.borrow_mut().read(regions, offset)
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.borrow_mut().write(regions, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

/// The overlay, and what it ought to hold.
struct Subject {
    base: Shared,
    top: Shared,
    overlay: Overlay<Shared, Shared>,
    original: Vec<u8>,
    flat: Vec<u8>,
    /// Blocks that a write has reached.
    written: BTreeSet<u64>,
    most: usize,
    /// Writes that failed: each may have taken a block.
    failed: usize,
}

/// Runs one program.
pub fn run(bytes: &[u8]) {
    let mut program = Bytes::new(bytes);
    let mut subject = Subject::new(&mut program);
    while !program.is_empty() {
        match program.below(16) {
            0..=6 => subject.write(&mut program),
            7..=10 => subject.read(&mut program),
            11 => subject.overlay.flush().unwrap(),
            12 => subject.base.disturb(&mut program),
            13 => subject.top.disturb(&mut program),
            _ => {
                subject.base.calm();
                subject.top.calm();
            }
        }
    }
    subject.check();
}

impl Subject {
    fn new(program: &mut Bytes<'_>) -> Self {
        let size = program.below(6) * usize::try_from(BLOCK).unwrap() + 512 * program.below(8);
        let most = program.below(8);
        let original: Vec<u8> = (0u8..251).cycle().take(size).collect();
        let (base, top) = (Shared::new(original.clone()), Shared::new(vec![POISON; size]));
        let (size, room) = (size as u64, most as u64 * BLOCK);
        let overlay = Overlay::new(base.clone(), top.clone(), size, room);
        let flat = original.clone();
        Self { base, top, overlay, original, flat, written: BTreeSet::new(), most, failed: 0 }
    }

    /// A range of the disk.
    fn range(&self, program: &mut Bytes<'_>) -> (usize, usize) {
        let fine = program.rarely();
        let unit = if fine { 1 } else { 512 };
        let offset = program.below(self.flat.len() / unit + 1) * unit;
        let len = program.below(3 * 4096 / unit) * unit;
        (offset, len.min(self.flat.len() - offset))
    }

    fn write(&mut self, program: &mut Bytes<'_>) {
        let (offset, len) = self.range(program);
        let mut data = vec![program.byte(); len];
        let regions = split(&mut data, program);
        match self.overlay.write(&regions, offset as u64) {
            Ok(done) => {
                assert!(done <= len && (done > 0 || len == 0), "wrote {done} of {len}");
                let first = data.first().copied().unwrap_or(0);
                self.flat[offset..offset + done].fill(first);
                self.written.extend((offset..offset + done).map(|at| at as u64 / BLOCK));
            }
            Err(error) => {
                let full = self.written.len() + self.failed >= self.most;
                // The file itself may say so too, in the kernel's words.
                let injected = error.raw_os_error().is_some();
                assert!(error.kind() != ErrorKind::StorageFull || full || injected);
                self.failed += 1;
            }
        }
        assert!(self.written.len() <= self.most, "more blocks than may be");
    }

    fn read(&mut self, program: &mut Bytes<'_>) {
        let (offset, len) = self.range(program);
        let mut data = vec![0; len];
        let regions = split(&mut data, program);
        if let Ok(done) = self.overlay.read(&regions, offset as u64) {
            assert!(done <= len && (done > 0 || len == 0), "read {done} of {len}");
            assert_eq!(data[..done], self.flat[offset..offset + done], "what was written last");
        }
    }

    /// All of it, now that nothing fails.
    fn check(&mut self) {
        self.base.calm();
        self.top.calm();
        let mut data = vec![0; self.flat.len()];
        let mut done = 0;
        while done < data.len() {
            let region = [VolatileSlice::from(&mut data[done..])];
            let count = self.overlay.read(&region, done as u64).unwrap();
            assert!(count > 0, "it ends at {done}");
            done += count;
        }
        assert!(data == self.flat, "the disk differs");
        assert!(self.base.0.borrow().bytes == self.original, "the base was written");
    }
}

/// Regions of any length that are all of `data` together.
fn split<'a>(data: &'a mut [u8], program: &mut Bytes<'_>) -> Vec<VolatileSlice<'a>> {
    let mut regions = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let len = match program.below(4) {
            0 => 1 + program.below(600),
            1 => 512,
            _ => rest.len(),
        };
        let len = len.min(rest.len());
        let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
        regions.push(VolatileSlice::from(now));
        rest = later;
    }
    regions
}
