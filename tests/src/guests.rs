//! Parts of bare-metal guests that several tests use.
//!
//! | guest-physical | what |
//! |---|---|
//! | [`FREE`] + *n* × 1 MiB | the queues and buffers of device *n* |
//! | [`FREE`] + 64 MiB and up | a test's own |

use bare::virtio::{Buffer, Queue, VERSION_1, bring_up};
use bare::{FREE, IMAGE, Op, Width};

/// More reads than a run has time for: what never comes ends with the run's limit.
pub const FOREVER: u64 = u64::MAX;
/// Exit code of a device that cannot be brought up.
pub const NOT_UP: u8 = 101;
/// Exit code of a request that was not answered as expected.
pub const NOT_SERVED: u8 = 102;
/// Exit code of bytes that are not those that were expected.
pub const NOT_SAME: u8 = 103;

/// virtio-blk, feature FLUSH.
pub const FLUSH: u64 = 1 << 9;

/// The start of the memory of device `n`.
fn memory(n: u8) -> u64 {
    FREE + (u64::from(n) << 20)
}

/// Where the tests themselves may put things: with less than 128 MiB of RAM, nothing is there.
pub const OWN: u64 = FREE + (64 << 20);

/// The console's driver.
#[derive(Debug)]
pub struct Console {
    /// From the host.
    pub receive: Queue,
    /// To the host.
    pub transmit: Queue,
    said: u16,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Device number of the first console.
    pub const DEVICE: u8 = 0;

    /// A driver of the first console.
    pub fn new() -> Self {
        let queue = |index, base| Queue { index, size: 8, base };
        let base = memory(Self::DEVICE);
        Self { receive: queue(0, base), transmit: queue(1, base + 0x1000), said: 0 }
    }

    /// Makes it ready.
    pub fn up(&self) -> Vec<Op> {
        bring_up(Self::DEVICE, VERSION_1, &[self.receive, self.transmit], NOT_UP)
    }

    /// Sends a text and waits until it is taken.
    pub fn say(&mut self, text: &str) -> Vec<Op> {
        let addr = memory(Self::DEVICE) + 0x2000;
        let len = u32::try_from(text.len()).unwrap();
        let mut ops = vec![Op::Bytes { addr, data: text.into() }];
        let buffer = Buffer { addr, len, writable: false };
        ops.extend(self.transmit.request(Self::DEVICE, self.said, &[buffer], FOREVER, NOT_SERVED));
        self.said += 1;
        ops
    }
}

/// What a guest that runs until it is stopped says first.
pub const READY: &str = "ready\n";

/// A guest that says [`READY`] and then does `last`.
pub fn announce(last: Op) -> Vec<Op> {
    let mut console = Console::new();
    let mut ops = console.up();
    ops.extend(console.say(READY));
    ops.push(last);
    ops
}

/// A disk's driver.
#[derive(Debug)]
pub struct Disk {
    /// Its device number.
    pub device: u8,
    /// Its queue.
    pub queue: Queue,
    done: u16,
}

/// How the device answers a request (virtio 1.2, section 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// Done.
    Ok = 0,
    /// Refused or failed.
    Error = 1,
    /// Unknown.
    Unsupported = 2,
}

impl Disk {
    /// A driver of disk `n`, which is a device after the console.
    pub fn new(n: u8) -> Self {
        let device = n + 1;
        Self { device, queue: Queue { index: 0, size: 8, base: memory(device) }, done: 0 }
    }

    /// Makes it ready, with flushes of its own.
    pub fn up(&self) -> Vec<Op> {
        bring_up(self.device, VERSION_1 | FLUSH, &[self.queue], NOT_UP)
    }

    /// Where the driver has the header of a request, 16 bytes, and its status behind it.
    pub fn header(&self) -> u64 {
        memory(self.device) + 0x2000
    }

    /// Where the driver has the data of a request.
    pub fn data(&self) -> u64 {
        memory(self.device) + 0x3000
    }

    /// One request of a kind at a sector, and its answer.
    pub fn request(
        &mut self,
        kind: u32,
        sector: u64,
        data: Option<Buffer>,
        answer: Answer,
    ) -> Vec<Op> {
        let status = self.header() + 16;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let mut chain = vec![Buffer { addr: self.header(), len: 16, writable: false }];
        chain.extend(data);
        chain.push(Buffer { addr: status, len: 1, writable: true });
        let mut ops = vec![
            Op::Bytes { addr: self.header(), data: header.into() },
            Op::Write { width: Width::Byte, addr: status, value: 0xee },
        ];
        ops.extend(self.queue.request(self.device, self.done, &chain, FOREVER, NOT_SERVED));
        ops.push(expect(Width::Byte, status, u64::from(answer as u8), NOT_SERVED));
        self.done += 1;
        ops
    }

    /// Writes these bytes.
    pub fn write(&mut self, sector: u64, bytes: &[u8], answer: Answer) -> Vec<Op> {
        let mut ops = vec![Op::Bytes { addr: self.data(), data: bytes.into() }];
        let buffer = self.buffer(bytes.len(), false);
        ops.extend(self.request(1, sector, Some(buffer), answer));
        ops
    }

    /// Reads and finds these bytes.
    pub fn read(&mut self, sector: u64, bytes: &[u8]) -> Vec<Op> {
        let buffer = self.buffer(bytes.len(), true);
        let mut ops = vec![Op::Bytes { addr: self.data(), data: vec![0xee; bytes.len()] }];
        ops.extend(self.request(0, sector, Some(buffer), Answer::Ok));
        ops.extend(holds(self.data(), bytes));
        ops
    }

    /// Makes what was written durable.
    pub fn flush(&mut self) -> Vec<Op> {
        self.request(4, 0, None, Answer::Ok)
    }

    /// Asks who the disk is and finds this.
    pub fn identify(&mut self, name: &str) -> Vec<Op> {
        let mut id = [0; 20];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let mut ops = vec![Op::Bytes { addr: self.data(), data: vec![0xee; 20] }];
        ops.extend(self.request(8, 0, Some(self.buffer(20, true)), Answer::Ok));
        ops.extend(holds(self.data(), &id));
        ops
    }

    /// Forgets what was requested, as after a reset, and clears the rings.
    pub fn forget(&mut self) -> Vec<Op> {
        self.done = 0;
        let word = |addr| Op::Write { width: Width::Long, addr, value: 0 };
        vec![word(self.queue.avail()), word(self.queue.used())]
    }

    fn buffer(&self, len: usize, writable: bool) -> Buffer {
        Buffer { addr: self.data(), len: u32::try_from(len).unwrap(), writable }
    }
}

/// Fails with `code` unless a number is there.
pub fn expect(width: Width, addr: u64, value: u64, code: u8) -> Op {
    Op::Expect { width, addr, mask: u64::MAX, value, code }
}

/// Fails unless these bytes are there.
pub fn holds(addr: u64, bytes: &[u8]) -> Vec<Op> {
    let words = bytes.chunks(8).zip((addr..).step_by(8)).flat_map(|(chunk, addr)| {
        let word: Option<[u8; 8]> = chunk.try_into().ok();
        match word {
            Some(word) => {
                vec![expect(Width::Quad, addr, u64::from_le_bytes(word), NOT_SAME)]
            }
            None => chunk
                .iter()
                .zip(addr..)
                .map(|(byte, addr)| expect(Width::Byte, addr, u64::from(*byte), NOT_SAME))
                .collect(),
        }
    });
    words.collect()
}

/// The machine code of a bare guest: what its ELF image loads at [`IMAGE`].
fn code(program: &[Op]) -> Vec<u8> {
    // One ELF header and one program header.
    bare::elf(program)[64 + 56..].to_vec()
}

/// A bzImage of a bare guest: one sector of setup, and the code at the 64-bit entry point.
///
/// The fields are those of Documentation/arch/x86/boot.rst, protocol 2.12.
pub fn bzimage(program: &[Op]) -> Vec<u8> {
    let mut payload = vec![0; 0x200];
    payload.extend(code(program));
    payload.resize(payload.len().next_multiple_of(16), 0);
    let len = u32::try_from(payload.len()).unwrap();
    let mut image = vec![0; 2 * 512];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]); // setup_sects
    put(0x1f4, &(len / 16).to_le_bytes()); // syssize
    put(0x1fe, &0xaa55_u16.to_le_bytes()); // boot_flag
    put(0x200, &[0xeb, 0x66]); // jump, past the header
    put(0x202, b"HdrS");
    put(0x206, &0x020c_u16.to_le_bytes()); // version
    put(0x211, &[1]); // loadflags: LOADED_HIGH
    put(0x214, &0x10_0000_u32.to_le_bytes()); // code32_start
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    put(0x230, &0x20_0000_u32.to_le_bytes()); // kernel_alignment
    put(0x234, &[1]); // relocatable_kernel
    put(0x236, &1_u16.to_le_bytes()); // xloadflags: XLF_KERNEL_64
    put(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    put(0x258, &IMAGE.to_le_bytes()); // pref_address
    put(0x260, &len.next_multiple_of(4096).to_le_bytes()); // init_size
    image.extend(payload);
    image
}

/// An ELF image with a PVH entry that exits with `code` if it got a start info, and with 1 if not.
pub fn pvh(code: u8) -> Vec<u8> {
    let mut text = Vec::new();
    text.extend([0x66, 0xba, 0x03, 0x06]); // mov dx, 0x603
    text.extend([0xb0, 1]); // mov al, 1
    text.extend([0x81, 0x3b, 0x78, 0xc5, 0x6e, 0x33]); // cmp dword [ebx], 0x336ec578
    text.extend([0x75, 2]); // jne past the next one
    text.extend([0xb0, code]); // mov al, code
    text.push(0xee); // out dx, al
    text.extend([0xf4, 0xeb, 0xfd]); // hlt for good

    const HEADERS: u64 = 64 + 2 * 56;
    const NOTE: u64 = 20;
    // The note: length of the name, length of the entry, XEN_ELFNOTE_PHYS32_ENTRY, both of them.
    let entry = u32::try_from(IMAGE).unwrap();
    let mut note: Vec<u8> = [4_u32, 4, 18].iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(b"Xen\0");
    note.extend(entry.to_le_bytes());
    let text_len = u64::try_from(text.len()).unwrap();
    let note_len = u64::try_from(note.len()).unwrap();
    assert_eq!(note_len, NOTE);

    // The same as a plain bare guest's, whose 64-bit entry would be a triple fault here.
    let mut image = bare::elf(&[])[..64].to_vec();
    image[56] = 2; // program headers
    let mut header = |kind: u32, flags: u32, words: [u64; 6]| {
        image.extend(kind.to_le_bytes());
        image.extend(flags.to_le_bytes());
        image.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    header(1, 5, [HEADERS + NOTE, IMAGE, IMAGE, text_len, text_len, 4]);
    header(4, 4, [HEADERS, 0, 0, note_len, note_len, 4]);
    image.extend(note);
    image.extend(text);
    image
}
