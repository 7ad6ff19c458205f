//! Copy-on-write against a plain file: the guest sees what it wrote, and the base is never touched.

use devices::disk::Disk;
use devices::overlay::{BLOCK, Overlay};
use devices::testing::{Image, Operation};
use vm_memory::VolatileSlice;

use crate::Numbers;

/// A disk and what it should hold.
struct Rig {
    disk: Overlay<Shared, Shared>,
    base: Shared,
    top: Shared,
    model: Vec<u8>,
}

/// An image that the test can look at while it is in use.
#[derive(Clone)]
struct Shared(std::rc::Rc<std::cell::RefCell<Image>>);

impl Shared {
    fn new(bytes: Vec<u8>) -> Self {
        Self(std::rc::Rc::new(std::cell::RefCell::new(Image::new(bytes))))
    }
}

impl Disk for Shared {
    fn read(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> std::io::Result<usize> {
        self.0.borrow_mut().read(regions, offset)
    }

    fn write(&mut self, regions: &[VolatileSlice<'_>], offset: u64) -> std::io::Result<usize> {
        self.0.borrow_mut().write(regions, offset)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Rig {
    fn new(size: usize, most: u64) -> Self {
        let model = Numbers(size as u64).bytes(size);
        let base = Shared::new(model.clone());
        // What no block has been written to is never read.
        let top = Shared::new(vec![0xaa; size]);
        let disk = Overlay::new(base.clone(), top.clone(), size as u64, most);
        Self { disk, base, top, model }
    }

    /// Writes as a request does, in as many steps as it takes; returns how much was.
    fn write(&mut self, offset: usize, bytes: &[u8], cuts: &mut Numbers) -> usize {
        let mut bytes = bytes.to_vec();
        let mut done = 0;
        while done < bytes.len() {
            let offset = (offset + done) as u64;
            match self.disk.write(&cut(&mut bytes[done..], cuts), offset) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        done
    }

    fn read(&mut self, offset: usize, len: usize, cuts: &mut Numbers) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        let mut done = 0;
        while done < len {
            let offset = (offset + done) as u64;
            done += self.disk.read(&cut(&mut bytes[done..], cuts), offset).unwrap();
        }
        bytes
    }
}

/// Bytes as a few regions.
fn cut<'a>(mut bytes: &'a mut [u8], cuts: &mut Numbers) -> Vec<VolatileSlice<'a>> {
    let mut regions = Vec::new();
    while !bytes.is_empty() {
        let (region, rest) = bytes.split_at_mut(1 + cuts.below(bytes.len()));
        regions.push(VolatileSlice::from(region));
        bytes = rest;
    }
    regions
}

#[test]
fn it_reads_as_a_plain_file_would_and_leaves_the_base_alone() {
    // Whole blocks, and a last one that is not whole; disks that move little at a time.
    for (seed, size, most_at_once) in
        [(1, 16 * 4096, usize::MAX), (2, 9 * 4096 + 512, usize::MAX), (3, 5 * 4096 + 1536, 700)]
    {
        let mut rig = Rig::new(size, u64::MAX);
        rig.base.0.borrow_mut().most = most_at_once;
        rig.top.0.borrow_mut().most = most_at_once;
        let before = rig.model.clone();
        let mut numbers = Numbers(seed);
        for _ in 0..600 {
            let sectors = size / 512;
            let at = 512 * numbers.below(sectors);
            let len = (512 * (1 + numbers.below(20))).min(size - at);
            if numbers.below(2) == 0 {
                let bytes = numbers.bytes(len);
                assert_eq!(rig.write(at, &bytes, &mut numbers), len);
                rig.model[at..at + len].copy_from_slice(&bytes);
            }
            assert!(rig.read(at, len, &mut numbers) == rig.model[at..at + len], "seed {seed}");
        }
        assert!(rig.read(0, size, &mut numbers) == rig.model, "seed {seed}");
        assert!(rig.base.0.borrow().bytes == before, "the base was written to");
        let log = &rig.base.0.borrow().log;
        assert!(log.iter().all(|operation| matches!(operation, Operation::Read(..))));
    }
}

#[test]
fn what_fails_changes_nothing_that_was_not_to_be_written() {
    let mut rig = Rig::new(8 * 4096, u64::MAX);
    let mut numbers = Numbers(4);
    for round in 0..400 {
        // One operation of either file fails, sooner or later.
        let error = [libc::EIO, libc::EINTR, libc::ENOSPC][numbers.below(3)];
        let failing = if numbers.below(2) == 0 { &rig.base } else { &rig.top };
        failing.0.borrow_mut().errors = vec![None; numbers.below(4)];
        failing.0.borrow_mut().errors.push(Some(error));
        let at = 512 * numbers.below(50);
        let len = 512 * (1 + numbers.below(14));
        let bytes = numbers.bytes(len);
        rig.write(at, &bytes, &mut numbers);
        rig.base.0.borrow_mut().errors.clear();
        rig.top.0.borrow_mut().errors.clear();
        let found = rig.read(0, 8 * 4096, &mut numbers);
        for (index, (found, model)) in found.iter().zip(&mut rig.model).enumerate() {
            let written = index.checked_sub(at).and_then(|index| bytes.get(index));
            assert!(found == model || Some(found) == written, "byte {index} of round {round}");
            *model = *found;
        }
    }
}

#[test]
fn no_more_is_taken_than_may_be() {
    const SIZE: usize = 64 * 4096;
    for most in [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 7, 63 * BLOCK, 64 * BLOCK] {
        let mut rig = Rig::new(SIZE, most);
        let mut numbers = Numbers(most + 5);
        let mut written = [false; 64];
        for _ in 0..200 {
            let at = 512 * numbers.below(SIZE / 512 - 8);
            let done = rig.write(at, &[7; 4096], &mut numbers);
            if done > 0 {
                written[at / 4096..=(at + done - 1) / 4096].fill(true);
            }
            rig.model[at..at + done].fill(7);
            // What is there already can be written for ever.
            let full = written.iter().filter(|block| **block).count() as u64 >= most / BLOCK;
            assert!(done == 4096 || full, "{done} of 4096 at {at}");
        }
        let taken = written.iter().filter(|block| **block).count() as u64;
        assert!(taken <= most / BLOCK, "{taken} blocks of {most} bytes");
        assert!(rig.read(0, SIZE, &mut numbers) == rig.model);
        let mut bytes = [1; 4096];
        let free = written.iter().position(|block| !block);
        if let Some(free) = free.filter(|_| taken == most / BLOCK) {
            let regions = cut(&mut bytes, &mut numbers);
            let error = rig.disk.write(&regions, free as u64 * BLOCK).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        }
    }
}

#[test]
fn whole_blocks_are_not_copied_first_and_a_flush_does_nothing() {
    let mut rig = Rig::new(8 * 4096, u64::MAX);
    assert_eq!(rig.write(4096, &[1; 3 * 4096], &mut Numbers(6)), 3 * 4096);
    assert!(rig.base.0.borrow().log.is_empty());
    assert_eq!(rig.top.0.borrow().log, [Operation::Write(4096, 3 * 4096)]);
    rig.disk.flush().unwrap();
    assert_eq!(rig.top.0.borrow().log.len(), 1);
    // A sector takes its block with it.
    rig.write(512, &[2; 512], &mut Numbers(7));
    assert_eq!(rig.base.0.borrow().log, [Operation::Read(0, 4096)]);
}
