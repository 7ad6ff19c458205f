//! A driver that others wrote, the `virtio-drivers` crate, drives our transport and devices.
#![cfg(test)]

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use devices::blk::{Blk, ID_LEN, Shape};
use devices::console::IDENTITY;
use devices::raw::Raw;
use devices::serve::{BlkLoop, ConsoleLoop, Inputs, Joined, Line};
use devices::testing::{Image, Machine};
use devices::violation::Fault;
use rustix::pipe::pipe;
use virtio_drivers::Error;
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::transport::{InterruptStatus, Transport};

mod hal;
mod wire;

use hal::{Platform, RAM};
use wire::Wire;

const SECTORS: usize = 64;
const ID: &[u8; ID_LEN] = b"independent-disk\0\0\0\0";

type Disk = VirtIOBlk<Platform, Wire>;

/// Runs a worker's life in a thread; how it ended comes when it has.
fn live(life: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Receiver<String> {
    let (ended, end) = channel();
    thread::spawn(move || ended.send(format!("{:?}", life())));
    end
}

fn end(life: &Receiver<String>) -> String {
    life.recv_timeout(Duration::from_secs(20)).expect("the worker does not end")
}

fn contents() -> Vec<u8> {
    (0..SECTORS * 512).map(|at| (at * 7 + at / 512).to_le_bytes()[0]).collect()
}

/// A disk, whose image is made so, and its worker.
fn disk(read_only: bool, change: fn(&mut Image)) -> (Disk, Receiver<String>) {
    let shape = Shape { sectors: SECTORS as u64, read_only };
    let (machine, link) = Machine::new(*RAM, shape.identity());
    let life = live(move || {
        let mut image = Image::new(contents());
        change(&mut image);
        BlkLoop::new(link, Blk::new(image, shape, *ID)).run()
    });
    (Disk::new(Wire::new(machine)).unwrap(), life)
}

#[test]
fn a_disk_is_read_written_and_flushed() {
    let (mut disk, life) = disk(false, |_| {});
    assert_eq!((disk.capacity(), disk.readonly()), (SECTORS as u64, false));
    let mut id = [0; 20];
    assert_eq!(disk.device_id(&mut id), Ok(16));
    assert_eq!(&id, ID);
    let mut expected = contents();
    for (round, sector) in (0..SECTORS - 4).enumerate() {
        let bytes = vec![round.to_le_bytes()[0]; 512 * (1 + round % 4)];
        disk.write_blocks(sector, &bytes).unwrap();
        expected[512 * sector..512 * sector + bytes.len()].copy_from_slice(&bytes);
        let mut back = vec![0; bytes.len()];
        disk.read_blocks(sector, &mut back).unwrap();
        assert!(back == bytes, "sector {sector}");
    }
    disk.flush().unwrap();
    let mut all = vec![0; SECTORS * 512];
    disk.read_blocks(0, &mut all).unwrap();
    assert!(all == expected);
    assert!(disk.ack_interrupt().contains(InterruptStatus::QUEUE_INTERRUPT));
    drop(disk);
    assert_eq!(end(&life), "Ok(())");
}

#[test]
fn what_is_not_on_the_disk_is_an_error_and_the_disk_goes_on() {
    let (mut disk, _life) = disk(false, |_| {});
    let mut sector = [0; 512];
    for bad in [SECTORS, SECTORS + 1, 1 << 40, usize::MAX] {
        assert_eq!(disk.read_blocks(bad, &mut sector), Err(Error::IoError), "{bad}");
        assert_eq!(disk.write_blocks(bad, &sector), Err(Error::IoError), "{bad}");
        disk.read_blocks(SECTORS - 1, &mut sector).unwrap();
        assert!(sector == contents()[512 * (SECTORS - 1)..]);
    }
}

#[test]
fn a_read_only_disk_says_so_and_refuses_writes() {
    let (mut disk, _life) = disk(true, |_| {});
    assert!(disk.readonly());
    assert_eq!(disk.write_blocks(0, &[9; 512]), Err(Error::IoError));
    let mut sector = [0; 512];
    disk.read_blocks(0, &mut sector).unwrap();
    assert!(sector == contents()[..512]);
}

#[test]
fn a_failing_image_is_an_error_and_a_short_one_is_not() {
    let (mut disk, _life) = disk(false, |image| {
        image.most = 100;
        image.errors = vec![Some(libc::EINTR), None, None, None, None, None, None, Some(libc::EIO)];
    });
    let mut sector = [0; 512];
    disk.read_blocks(2, &mut sector).unwrap();
    assert!(sector == contents()[1024..1536]);
    // The eighth operation fails, for the driver to see.
    assert_eq!(disk.read_blocks(2, &mut sector), Err(Error::IoError));
    disk.read_blocks(2, &mut sector).unwrap();
}

#[test]
fn a_flush_that_failed_once_fails_for_good() {
    let (mut disk, _life) = disk(false, |image| image.errors = vec![None, Some(libc::EIO)]);
    disk.write_blocks(0, &[1; 512]).unwrap();
    assert_eq!(disk.flush(), Err(Error::IoError));
    disk.write_blocks(0, &[2; 512]).unwrap();
    assert_eq!(disk.flush(), Err(Error::IoError));
}

#[test]
fn a_console_sends_and_receives_and_starts_again() {
    let (machine, link) = Machine::new(*RAM, IDENTITY);
    let [(screen, stdout), (stdin, keyboard)] = [pipe().unwrap(), pipe().unwrap()];
    let life = live(move || {
        let lines = vec![Line::new(link, Joined::Raw(Raw::new(stdout)))];
        let inputs = Inputs { stdin: Some(stdin), orders: None };
        ConsoleLoop::new(lines, inputs, |_| Ok(())).run()
    });
    let mut console = VirtIOConsole::<Platform, Wire>::new(Wire::new(machine)).unwrap();
    let size = console.size().unwrap();
    assert!(size.is_none(), "no size is offered");
    for round in 0..20 {
        let sent: Vec<u8> = (0..200).map(|at| at ^ round).collect();
        console.send_bytes(&sent).unwrap();
        console.send(b'\n').unwrap();
        assert_eq!(read(&screen, 201), [&sent[..], b"\n"].concat());
        rustix::io::write(&keyboard, &sent[..100]).unwrap();
        let mut heard = Vec::new();
        while heard.len() < 100 {
            console.ack_interrupt().unwrap();
            heard.extend(console.recv(true).unwrap());
        }
        assert_eq!(heard, sent[..100]);
    }
    assert_eq!(console.emergency_write(b'x'), Err(Error::Unsupported));
    drop(console);
    assert_eq!(end(&life), "Ok(())");
}

#[test]
fn a_driver_that_lets_go_leaves_a_device_for_the_next() {
    let shape = Shape { sectors: SECTORS as u64, read_only: false };
    let (machine, link) = Machine::new(*RAM, shape.identity());
    let life = live(move || BlkLoop::new(link, Blk::new(Image::new(contents()), shape, *ID)).run());
    let mut wire = Wire::new(machine);
    for round in 0..10 {
        let mut disk = Disk::new(wire.clone()).unwrap();
        disk.write_blocks(round, &[7; 512]).unwrap();
        assert!(wire.queue_used(0), "round {round}");
        // It takes its queue back.
        drop(disk);
        assert!(!wire.queue_used(0), "round {round}");
        assert!(wire.get_status().is_empty(), "round {round}");
    }
    drop(wire);
    assert_eq!(end(&life), "Ok(())");
}

fn read(fd: &OwnedFd, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut done = 0;
    while done < count {
        done += rustix::io::read(fd, &mut bytes[done..]).unwrap();
    }
    bytes
}
