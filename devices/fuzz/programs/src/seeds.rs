//! Programs to begin with: what an ordinary driver does, for each target.
//!
//! They are made here and committed as `devices/fuzz/corpus/TARGET/seed-*`; a test compares the two.
//! A program is written as its decoder reads it, so what its bytes mean stands beside them.

/// A seed's name and program.
pub type Seed = (&'static str, Vec<u8>);

/// Seeds of the target with this name.
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "registers" => registers(),
        "ring" => ring(),
        "blk" => blk(),
        "console" => console(),
        "control" => control(),
        "frames" => frames(),
        "loader" => loader(),
        "archive" => archive(),
        "inspect" => inspect(),
        "overlay" => overlay(),
        "limits" => limits(),
        "output" => output(),
        "whole" => whole(),
        _ => Vec::new(),
    }
}

/// A driver's way to DRIVER_OK and back: identity, then writes of (index of the register, of the
/// value), each with its two knobs.
fn registers() -> Vec<Seed> {
    let write = |offset: u8, value: u8| [0, offset, 3, 0, value];
    // Indices of OFFSETS and VALUES.
    let bring_up = [
        write(16, 1),
        write(16, 3),
        write(7, 0),
        write(6, 0),
        write(7, 1),
        write(6, 1),
        write(16, 6),
        write(8, 0),
        write(10, 8),
        write(19, 11),
        write(21, 13),
        write(23, 14),
        write(11, 1),
        write(16, 7),
        write(13, 0),
        write(11, 0),
    ];
    let program = |identity: u8, end: u8| {
        [&[identity, 9, 0][..], &bring_up.concat(), &write(16, end)].concat()
    };
    vec![("blk", program(1, 0)), ("console", program(0, 9))]
}

/// A queue of 16, chains of two descriptors, and their way to the used ring.
fn ring() -> Vec<Seed> {
    // Size, table, used ring, no edge.
    let mut program = vec![4, 0, 0, 0];
    for chain in 0..6u8 {
        let head = 2 * chain;
        // Describe: index, flags NEXT, address, length, no edge; then the writable one.
        program.extend([0, head, 1, chain, 100, 0]);
        program.extend([0, head + 1, 3, chain + 9, 50, 0]);
        // Offer: head, no edge, index in order, watched.
        program.extend([3, head, 0, 0, 0]);
        // Use: written.
        program.extend([6, 7, 0]);
    }
    vec![("chains", program)]
}

/// Kind (index), plain, sector, sectors, plain length, place.
fn request(kind: u8, sector: u8, sectors: u8, place: u8) -> Vec<u8> {
    let head = vec![kind, 0, 0, sector, sectors, 0, place];
    match kind {
        // Data's first byte, one part, all of it.
        1 => [head, vec![b'd', 0, 0]].concat(),
        // Room for the identity, one part, all of it.
        4 => [head, vec![20, 0, 0]].concat(),
        _ => [head, vec![0, 0]].concat(),
    }
}

/// Writes, reads, a flush, the identity and what is not supported, with FLUSH and without.
fn blk() -> Vec<Seed> {
    let program = |knobs: u8| {
        let mut program = vec![knobs];
        for (kind, sector) in [(1, 0), (0, 0), (3, 0), (4, 0), (6, 0), (1, 7), (0, 9)] {
            program.push(0);
            program.extend(request(kind, sector, 1, 3 * sector));
        }
        program
    };
    vec![
        ("requests", program(0x40)),
        ("write-through", program(0x42)),
        ("watched", program(0x4c)),
        ("file", program(0x44)),
    ]
}

/// Output, room for it, room for input and input.
fn console() -> Vec<Seed> {
    let mut program = vec![6, 9];
    for turn in 0..4u8 {
        // Output: place, length, first byte, one part, nothing writable.
        program.extend([0, turn, 200, 0, b'o', 0, 0]);
        // Room: nothing readable, place, length, one part.
        program.extend([5, 0, 64 + turn, 100, 0, 0]);
        program.extend([10, 5]);
        program.extend(b"typed");
    }
    vec![("both-ways", program)]
}

/// Start, stop, start.
fn control() -> Vec<Seed> {
    // Start: plain features; for both queues a place, a size, no edge, present; no damage.
    let start = [2, 0, 2, 4, 0, 1, 4, 3, 0, 1, 0];
    vec![("start-stop", [&start[..], &[0, 0], &start].concat())]
}

/// A command's life: frames in turn, both streams, input, a signal, the end.
fn frames() -> Vec<Seed> {
    let mut program = Vec::new();
    // Hello, started, a grant; each with one byte for its choice, one not to be damaged, and one for
    // the length of the chain.
    program.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    program.extend([0, 0, 100, 0, 0, 0]);
    for stream in 0..2u8 {
        program.extend([0, 1, stream, 50, 0, b'x', 0]);
    }
    program.extend([11, 4]);
    program.extend(b"keys");
    program.extend([0, 13, 15, 0]);
    // Out of the ordinary: exited with 7.
    program.extend([0, 0, 0, 0, 0xff, 4, 7, 0]);
    vec![("life", program)]
}

/// Images as small as the formats allow.
fn loader() -> Vec<Seed> {
    let elf = || {
        let mut image = vec![0; 0x1000];
        image[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        image[16..21].copy_from_slice(&[2, 0, 62, 0, 1]);
        image[24..32].copy_from_slice(&0x10_0010u64.to_le_bytes());
        image[32..40].copy_from_slice(&64u64.to_le_bytes());
        image[54..56].copy_from_slice(&56u16.to_le_bytes());
        image
    };
    let segment = |kind: u32, offset: u64, address: u64, len: u64| {
        let mut bytes = [kind.to_le_bytes(), 7u32.to_le_bytes()].concat();
        for word in [offset, address, address, len, len, 4] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    };
    let mut plain = elf();
    plain[56] = 1;
    let load = segment(1, 0x1000, 0x10_0000, 0x80);
    plain[64..64 + 56].copy_from_slice(&load);
    plain.extend([0xab; 0x80]);
    // A kernel and an initrd: the last byte says that 8 of 256 parts are the latter.
    plain.push(8);
    let mut pvh = elf();
    pvh[56] = 2;
    pvh[64..64 + 56].copy_from_slice(&load);
    pvh[120..120 + 56].copy_from_slice(&segment(4, 0x1080, 0, 20));
    pvh.extend([0xab; 0x80]);
    pvh.extend([4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]);
    pvh.extend(*b"Xen\0");
    pvh.extend(0x10_0020u32.to_le_bytes());
    pvh.push(0);
    let mut bzimage = vec![0; 1024];
    bzimage.extend([0xcd; 0x400]);
    for (at, value) in [
        (0x1f1, &[1][..]),
        (0x1f4, &(0x40u32).to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x201, &[0x66]),
        (0x202, b"HdrS"),
        (0x206, &0x20fu16.to_le_bytes()),
        (0x211, &[1]),
        (0x214, &0x10_0000u32.to_le_bytes()),
        (0x22c, &0x7fff_ffffu32.to_le_bytes()),
        (0x230, &0x20_0000u32.to_le_bytes()),
        (0x234, &[1]),
        (0x235, &[21]),
        (0x236, &[3, 0]),
        (0x238, &2047u32.to_le_bytes()),
        (0x258, &0x20_0000u64.to_le_bytes()),
        (0x260, &0x10_0000u32.to_le_bytes()),
    ] {
        bzimage[at..at + value.len()].copy_from_slice(value);
    }
    bzimage.push(0);
    vec![("elf", plain), ("pvh", pvh), ("bzimage", bzimage)]
}

/// Archives of a file, a directory, a link and attributes: as they are, packed, and of two layers.
fn archive() -> Vec<Seed> {
    // More; kind, name (indices); what is in it; its size as it is; numbers and bytes as they are.
    let file = |name: u8| [&[0, 0, 0, 0, name, 2, 5][..], b"hello", &[0, 0, 0, 0]].concat();
    let directory = [0, 0, 4, 0, 2, 0, 0, 0, 0];
    let symlink = [0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0];
    // One record: key (index), value as it is, its length as it is.
    let attribute = [&[0, 0, 16, 0, 0, 1, 6, 3, 3][..], b"val", &[0, 0, 0, 0, 0]].concat();
    let layer = [&directory[..], &file(3), &symlink, &attribute, &file(0)].concat();
    let whole = |knobs: u8| [&[knobs][..], &layer].concat();
    let layers =
        |knobs: u8| [&[knobs, 1][..], &layer, &[0xff, 0], &layer, &[0xff, 0, 0, 0]].concat();
    vec![
        ("tar", whole(1)),
        ("gzip", whole(3)),
        ("zstd", whole(4)),
        ("docker", layers(5)),
        ("docker-packed", layers(6)),
        ("not-unwrapped", layers(13)),
    ]
}

/// A table of a directory, a file of two blocks and a symbolic link; stored, and packed.
fn inspect() -> Vec<Seed> {
    let head = |kind: u8| [&[kind, 0][..], &[0; 14]].concat();
    let directory = [head(1), vec![0; 16]].concat();
    let file =
        [head(2), vec![0; 4], vec![0xff; 4], vec![0; 4], vec![1, 0, 2, 0], vec![0; 8]].concat();
    let symlink = [&head(3)[..], &[1, 0, 0, 0, 1, 0, 0, 0, b'a']].concat();
    let table = [directory, file, symlink].concat();
    // Knobs, inodes, nothing wrong, a configuration or none.
    let config = [&[0x00, 0, 3, 0, 13][..], b"{\"Cmd\":[\"a\"]}", &table].concat();
    let program = |knobs: u8| [&[knobs, 0, 3, 0][..], &table].concat();
    vec![("stored", program(0x10)), ("packed", program(0x14)), ("config", config)]
}

/// Blocks that are written in part and whole, read back, and one more than there is room for.
fn overlay() -> Vec<Seed> {
    // What, coarse, sector, sectors, byte, one region.
    let write = |sector: u8, sectors: u8, byte: u8| [0, 1, sector, sectors, byte, 2];
    let read = |sector: u8, sectors: u8| [7, 1, sector, sectors, 2, 2];
    let rows = [write(0, 8, b'a'), write(9, 2, b'b'), read(0, 16), write(30, 3, b'c'), read(28, 8)];
    // Five blocks and a half; room for two, or for seven.
    let program = |most: u8| [&[5, 4, most][..], &rows.concat(), &[11]].concat();
    vec![("full", program(2)), ("roomy", program(7))]
}

/// A disk at its limit, and an output.
fn limits() -> Vec<Seed> {
    // A while of no requests, then one that begins, of some sectors.
    let throttle = [&[0, 4, 3][..], &[1, 20, 0, 9, 2, 0, 63].repeat(6)].concat();
    let pace = [&[1, 3][..], &[1, 20, 200, 0, 2, 255, 0].repeat(6)].concat();
    vec![("disk", throttle), ("output", pace)]
}

/// Text, and what is none, in pieces.
fn output() -> Vec<Seed> {
    let text = "plain\tä €\r\n\x1b[2J\u{202e}\u{9b}\r".as_bytes();
    // Form, room, no bound, two cuts.
    let program = |form: u8| [&[form, 0, 20, 1, 2, 0, 3, 0, 5][..], text, b"\xe2\x82"].concat();
    vec![("exact", program(0)), ("utf-8", program(1)), ("ascii", program(2))]
}

/// Devices that are up, requests and output, a reset in the middle.
fn whole() -> Vec<Seed> {
    let program = |knobs: u8| {
        let mut program = vec![knobs];
        for turn in 0..3u8 {
            program.push(0);
            program.extend(request([1, 0, 3][usize::from(turn)], turn, 1, turn));
            // The console's output, and room; the first byte after the choice says which.
            program.extend([1, 1, 64 + turn, 40, 0, b'o', 0, 0]);
            program.extend([1, 0, 0, 80 + turn, 60, 0, 0, 0]);
            // The host types.
            program.extend([29, 2, 3, b'k', b'e', b'y']);
        }
        // Both are reset and brought up again.
        program.extend([44, 0, 4, 45, 0, 4]);
        program.push(0);
        program.extend(request(4, 0, 0, 9));
        program
    };
    vec![
        ("raw", program(0x30)),
        ("log", program(0x32)),
        ("read-only", program(0x31)),
        ("end", program(0xfc)),
    ]
}
