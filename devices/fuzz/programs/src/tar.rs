//! Tar archives, mostly good: what the bytes of a program are turned into for the target `archive`.

use crate::bytes::Bytes;

const BLOCK: usize = 512;

/// Names that meet one another, leave the tree, or take something away.
const NAMES: [&[u8]; 20] = [
    b"a",
    b"b",
    b"d/",
    b"d/e",
    b"d/f/g",
    b"./a",
    b"/a",
    b"..",
    b"d/../../x",
    b"",
    b"d",
    b"d/e/f",
    b".wh.a",
    b"d/.wh..wh..opq",
    b".wh.",
    b"d/.wh.e",
    b"\xff\n",
    b"etc/passwd",
    b"a/",
    b"./",
];
/// Types of entries that are something, and some that extend the next.
const KINDS: [u8; 20] = *b"0000551122\x0034567xxLK";
/// Keys of pax records.
const KEYS: [&str; 14] = [
    "path",
    "linkpath",
    "size",
    "mtime",
    "uid",
    "gid",
    "SCHILY.xattr.user.n",
    "SCHILY.xattr.security.capability",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.realsize",
    "GNU.sparse.name",
    "charset",
    "GNU.sparse.map",
];

/// An archive that is as long as the program wants it, of at most 64 entries.
pub fn archive(program: &mut Bytes<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    for _ in 0..64 {
        if program.is_empty() || program.byte() == 0xff {
            break;
        }
        entry(program, &mut archive);
    }
    // Two blocks of zeroes at the end, which not everybody writes.
    let end = if program.rarely() { program.below(3 * BLOCK) } else { 2 * BLOCK };
    archive.resize(archive.len() + end, 0);
    archive
}

/// An entry with this name and content, and nothing special about it.
pub fn plain(archive: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    let mut header = Header::new(name, b'0', content.len() as u64);
    header.seal();
    archive.extend_from_slice(&header.0);
    fill_block(archive, content);
}

fn fill_block(archive: &mut Vec<u8>, content: &[u8]) {
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// One of the names, or any bytes.
fn name(program: &mut Bytes<'_>) -> Vec<u8> {
    if program.rarely() {
        let len = program.below(300);
        return program.take(len).to_vec();
    }
    program.one_of(&NAMES).to_vec()
}

fn entry(program: &mut Bytes<'_>, archive: &mut Vec<u8>) {
    let kind = if program.rarely() { program.byte() } else { program.one_of(&KINDS) };
    let own = name(program);
    let content = content(program, kind);
    let size = if program.rarely() { program.edge() } else { content.len() as u64 };
    let mut header = Header::new(&own, kind, size);
    if matches!(kind, b'1' | b'2') {
        header.put(157, &name(program));
    }
    if kind == b'S' {
        header.sparse(program);
    }
    if program.rarely() {
        header.number(100, 8, program.edge());
        header.number(108, 8, program.edge());
        header.number(116, 8, program.edge());
        header.number(136, 12, program.edge());
        header.number(329, 8, program.edge());
    }
    if program.rarely() {
        // Any bytes in any place.
        let at = program.below(BLOCK);
        let len = program.below(16);
        header.put(at, program.take(len));
    }
    header.seal();
    if program.rarely() {
        let at = program.below(BLOCK);
        header.0[at] ^= 1 << program.below(8);
    }
    archive.extend_from_slice(&header.0);
    fill_block(archive, &content);
}

fn content(program: &mut Bytes<'_>, kind: u8) -> Vec<u8> {
    match kind {
        b'x' | b'g' => (0..program.below(4)).flat_map(|_| record(program)).collect(),
        b'L' | b'K' => [name(program), vec![0]].concat(),
        b'0' | 0 | b'7' | b'S' => match program.below(4) {
            0 => Vec::new(),
            // What packs well, across a squashfs block now and then.
            1 => vec![program.byte(); 7 * usize::from(program.half()) % 200_000],
            _ => {
                let len = program.below(64);
                program.take(len).to_vec()
            }
        },
        _ => Vec::new(),
    }
}

/// A pax record: its own length in decimal, a key and a value.
fn record(program: &mut Bytes<'_>) -> Vec<u8> {
    let key = program.one_of(&KEYS);
    let value = match program.below(4) {
        0 => name(program),
        1 => program.edge().to_string().into_bytes(),
        2 => b"0,1,5,7".to_vec(),
        _ => {
            let len = program.below(40);
            program.take(len).to_vec()
        }
    };
    let rest = [b" ", key.as_bytes(), b"=", &value, b"\n"].concat();
    let mut len = rest.len();
    while len != rest.len() + len.to_string().len() {
        len = rest.len() + len.to_string().len();
    }
    let len = if program.rarely() { program.edge() } else { len as u64 };
    [len.to_string().as_bytes(), &rest].concat()
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let mut header = Self([0; BLOCK]);
        header.put(0, &name[..name.len().min(100)]);
        for (at, len, number) in [(100, 8, 0o644), (108, 8, 0), (116, 8, 0), (136, 12, 1)] {
            header.number(at, len, number);
        }
        header.number(124, 12, size);
        header.0[156] = kind;
        // Sparse files are GNU's.
        header.put(257, if kind == b'S' { b"ustar  \0" } else { b"ustar\x0000" });
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0[at..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// A number in octal, or in base 256 where it does not fit.
    fn number(&mut self, at: usize, len: usize, number: u64) {
        let octal = format!("{number:0width$o}", width = len - 1);
        if octal.len() < len {
            self.put(at, octal.as_bytes());
            self.0[at + len - 1] = 0;
        } else {
            self.0[at..at + len].fill(0);
            self.0[at] = 0x80;
            self.put(at + len - 8, &number.to_be_bytes());
            self.0[at] |= 0x80;
        }
    }

    /// Up to four parts of a sparse file, and its whole length.
    fn sparse(&mut self, program: &mut Bytes<'_>) {
        for part in 0..program.below(5) {
            let (at, len) = (u64::from(program.half()), u64::from(program.byte()));
            self.number(386 + 24 * part, 12, at);
            self.number(386 + 24 * part + 12, 12, len);
        }
        self.0[482] = u8::from(program.rarely());
        let real =
            if program.rarely() { program.edge() } else { u64::from(program.word()) % (1 << 20) };
        self.number(483, 12, real);
    }

    fn seal(&mut self) {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
    }
}
