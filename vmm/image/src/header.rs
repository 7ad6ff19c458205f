//! One tar header: 512 bytes, in the forms that v7, ustar, GNU and pax have in common.

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::error::{Error, Name, Why};

/// Length of a header, and what contents are rounded up to, in bytes.
pub const BLOCK: usize = 512;

/// Parts of a sparse file that hold data: where and how long, in bytes.
pub type Map = Vec<(u64, u64)>;

/// What a header says, without what extends it.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The type flag.
    pub kind: u8,
    /// The path, or its end.
    pub path: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Length of what follows, in bytes.
    pub stored: u64,
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Time of the last change, in seconds since 1970.
    pub time: u64,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Length of a GNU sparse file with its holes, its parts, and whether more of them follow.
    pub sparse: Option<(u64, Map, bool)>,
}

/// True for a block of zeroes, which ends an archive.
pub fn is_end(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// True when the block's checksum is right, whatever else it holds.
pub fn is_header(block: &[u8; BLOCK]) -> bool {
    /// The checksum's own place counts as blanks.
    const SUM: std::ops::Range<usize> = 148..156;
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let blanks = 8 * u32::from(b' ');
    let expected = sum(&block[..SUM.start]) + blanks + sum(&block[SUM.end..]);
    Header::from_byte_slice(block).cksum().is_ok_and(|told| told == expected)
}

/// Reads a header whose checksum is right.
pub fn read(block: &[u8; BLOCK]) -> Result<Fields, Error> {
    let header = Header::from_byte_slice(block);
    let path = header.path_bytes().into_owned();
    let damaged = |_| Error::Archive("a number in a header makes no sense");
    let refuse = |why| Error::Entry(Name::new(&path), why);
    let kind = header.as_old().linkflag[0];
    let device = match kind {
        b'3' | b'4' => {
            let number = |number: std::io::Result<Option<u32>>| number.ok().flatten();
            let major = number(header.device_major()).ok_or_else(|| refuse(Why::Device))?;
            let minor = number(header.device_minor()).ok_or_else(|| refuse(Why::Device))?;
            Some((major, minor))
        }
        _ => None,
    };
    let sparse = match header.as_gnu().filter(|_| kind == b'S') {
        Some(gnu) => {
            let size = gnu.real_size().map_err(damaged)?;
            Some((size, map(&gnu.sparse, &path)?, gnu.is_extended()))
        }
        None => None,
    };
    Ok(Fields {
        kind,
        link: header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        stored: header.entry_size().map_err(damaged)?,
        // Some archives have the type of a file in its mode as well.
        mode: u16::try_from(header.mode().map_err(damaged)? & 0o7777).unwrap_or(0),
        uid: header.uid().map_err(damaged)?,
        gid: header.gid().map_err(damaged)?,
        // A time before 1970 is as good as none: images have no such times.
        time: header.mtime().unwrap_or(0),
        device,
        sparse,
        path,
    })
}

/// More parts of a sparse file, and whether there are yet more.
pub fn more_map(block: &[u8; BLOCK], path: &[u8]) -> Result<(Map, bool), Error> {
    let mut header = GnuExtSparseHeader::new();
    header.as_mut_bytes().copy_from_slice(block);
    Ok((map(&header.sparse, path)?, header.is_extended()))
}

fn map(parts: &[GnuSparseHeader], path: &[u8]) -> Result<Map, Error> {
    let parts = parts.iter().filter(|part| !part.is_empty());
    let parts = parts.map(|part| Ok((part.offset()?, part.length()?)));
    parts
        .collect::<std::io::Result<Map>>()
        .map_err(|_| Error::Entry(Name::new(path), Why::SparseMap))
}
