//! A tar archive's entries, one after the other, with everything that extends a header.
//!
//! The headers are the `tar` crate's; going from one to the next is done here, because each length in
//! a hostile archive needs a bound of ours, and pax values may hold any byte.

use crate::error::{Error, Name, Why};
use crate::header::{self, BLOCK, Fields, Map};
use crate::pax;
use crate::source::Stream;

/// The longest name or link in GNU form, in bytes: a path and the NUL at its end.
const LONG_MAX: u64 = 4097;
/// All attributes of one entry, in bytes.
const XATTRS_MAX: usize = 64 << 10;
/// The most parts of a sparse file.
const PARTS_MAX: usize = 1 << 20;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an entry.
    HardLink(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
}

/// Names and values, in order of the names.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path, as it is in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Length of its content in bytes.
    pub size: u64,
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change, in seconds since 1970.
    pub time: u32,
    /// Its extended attributes.
    pub xattrs: Xattrs,
}

impl Entry {
    /// The error that refuses this entry.
    pub fn refused(&self, why: Why) -> Error {
        Error::Entry(Name::new(&self.path), why)
    }
}

/// Where the content of the current entry is read.
#[derive(Debug, Default)]
struct Content {
    size: u64,
    at: u64,
    /// Parts that hold data, and which of them is next.
    map: Map,
    next: usize,
}

/// An archive, between two entries or in one's content.
pub struct Archive {
    stream: Stream,
    content: Content,
    /// What is stored of the current entry and not read yet, and the padding after it.
    left: u64,
    padding: u64,
    over: bool,
}

/// What extends the next header.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<u8>,
}

impl Archive {
    /// The archive in `stream`.
    pub fn new(stream: Stream) -> Self {
        Self { stream, content: Content::default(), left: 0, padding: 0, over: false }
    }

    /// Where in the archive the current entry's content is, if it is there in one piece and unread.
    pub fn content_at(&self) -> Option<u64> {
        let whole = self.content.map == [(0, self.content.size)];
        (whole && self.content.at == 0).then(|| self.stream.position())
    }

    /// What the archive is read from.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The next entry; `None` after the last. What was not read of the content before is skipped.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its content")]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut extension = Extension::default();
        loop {
            let Some(block) = self.next_header()? else {
                let dangling = extension.path.is_some() || !extension.pax.is_empty();
                return if dangling { Err(Error::Truncated) } else { Ok(None) };
            };
            let fields = header::read(&block)?;
            self.expect(fields.stored)?;
            match fields.kind {
                b'L' => extension.path = Some(self.long()?),
                b'K' => extension.link = Some(self.long()?),
                b'x' => extension.pax = self.read_up_to(pax::LENGTH_MAX)?,
                b'g' => pax::check_global(&self.read_up_to(pax::LENGTH_MAX)?)?,
                _ => return self.begin(fields, &extension).map(Some),
            }
        }
    }

    /// Reads content until `buffer` is full or the content is at its end. Returns the number of bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let content = &mut self.content;
        let most = usize::try_from(content.size - content.at).unwrap_or(usize::MAX);
        let length = most.min(buffer.len());
        let buffer = &mut buffer[..length];
        let mut filled = 0;
        while filled < length {
            let (start, end) = match content.map.get(content.next) {
                Some((at, length)) => (*at, at + length),
                None => (content.size, content.size),
            };
            let rest = &mut buffer[filled..];
            let until = if content.at < start { start } else { end };
            let most = usize::try_from(until - content.at).unwrap_or(usize::MAX);
            let count = most.min(rest.len());
            if content.at < start {
                rest[..count].fill(0);
            } else {
                self.stream.exactly(&mut rest[..count])?;
                self.left -= count as u64;
            }
            filled += count;
            content.at += count as u64;
            content.next += usize::from(content.at >= end);
        }
        Ok(length)
    }

    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        if self.over {
            return Ok(None);
        }
        self.stream.skip(std::mem::take(&mut self.left))?;
        self.stream.skip(std::mem::take(&mut self.padding))?;
        let first = self.stream.position() == 0;
        let mut block = [0; BLOCK];
        let read = self.stream.fill(&mut block)?;
        if read < BLOCK {
            return Err(if first { Error::NoArchive } else { Error::Truncated });
        }
        if header::is_end(&block) {
            self.over = true;
            return Ok(None);
        }
        if !header::is_header(&block) {
            let damaged = Error::Archive("the checksum of a header is wrong");
            return Err(if first { Error::NoArchive } else { damaged });
        }
        Ok(Some(block))
    }

    /// So many bytes follow, and what rounds them up to blocks.
    fn expect(&mut self, length: u64) -> Result<(), Error> {
        let rounded = length.checked_next_multiple_of(BLOCK as u64);
        let rounded = rounded.ok_or(Error::Archive("an entry is longer than any can be"))?;
        self.left = length;
        self.padding = rounded - length;
        Ok(())
    }

    fn long(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = self.read_up_to(LONG_MAX)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn read_up_to(&mut self, most: u64) -> Result<Vec<u8>, Error> {
        if self.left > most {
            return Err(Error::Archive("what extends a header is too long"));
        }
        let length = usize::try_from(std::mem::take(&mut self.left)).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.stream.exactly(&mut bytes)?;
        Ok(bytes)
    }

    fn begin(&mut self, mut fields: Fields, extension: &Extension) -> Result<Entry, Error> {
        fields.path = extension.path.clone().unwrap_or(fields.path);
        fields.link = extension.link.clone().unwrap_or(fields.link);
        let mut xattrs = Xattrs::new();
        for (key, value) in pax::records(&extension.pax)? {
            match key {
                b"path" => fields.path = value.to_vec(),
                b"linkpath" => fields.link = value.to_vec(),
                b"size" => fields.stored = pax::number(value)?,
                b"uid" => fields.uid = pax::number(value)?,
                b"gid" => fields.gid = pax::number(value)?,
                b"mtime" => fields.time = pax::seconds(value)?,
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::Entry(Name::new(&fields.path), Why::PaxSparse));
                }
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        let refuse = |why| Error::Entry(Name::new(&fields.path), why);
        // The last of two of the same name counts.
        xattrs.reverse();
        xattrs.sort_by(|(a, _), (b, _)| a.cmp(b));
        xattrs.dedup_by(|(a, _), (b, _)| a == b);
        if xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > XATTRS_MAX {
            return Err(refuse(Why::Xattrs));
        }
        let owner = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let uid = owner(fields.uid).ok_or_else(|| refuse(Why::Owner))?;
        let gid = owner(fields.gid).ok_or_else(|| refuse(Why::Owner))?;
        let time = u32::try_from(fields.time).unwrap_or(u32::MAX);
        let kind = kind(&fields).map_err(refuse)?;
        let is_file = kind == Kind::File;
        // Only a file has content; what a header of another kind says of its size is no length.
        self.expect(if is_file { fields.stored } else { 0 })?;
        self.content = self.content_of(&mut fields, is_file)?;
        let (path, mode, size) = (fields.path, fields.mode, self.content.size);
        Ok(Entry { path, kind, size, mode, uid, gid, time, xattrs })
    }

    fn content_of(&mut self, fields: &mut Fields, is_file: bool) -> Result<Content, Error> {
        let whole = |size| Content { size, map: vec![(0, size)], ..Content::default() };
        let Some((size, mut map, mut more)) = fields.sparse.take() else {
            return Ok(if is_file { whole(fields.stored) } else { Content::default() });
        };
        let refuse = || Error::Entry(Name::new(&fields.path), Why::SparseMap);
        while more {
            let mut block = [0; BLOCK];
            self.stream.exactly(&mut block)?;
            let (mut parts, yet_more) = header::more_map(&block, &fields.path)?;
            map.append(&mut parts);
            more = yet_more;
            if map.len() > PARTS_MAX {
                return Err(refuse());
            }
        }
        // An empty part at the end says how long the file is, and so does the header.
        map.retain(|(_, length)| *length > 0);
        let mut end = 0;
        let mut stored = 0;
        for (at, length) in &map {
            if *at < end {
                return Err(refuse());
            }
            end = at.checked_add(*length).filter(|end| *end <= size).ok_or_else(refuse)?;
            stored += length;
        }
        if stored != fields.stored {
            return Err(refuse());
        }
        Ok(Content { size, map, ..Content::default() })
    }
}

fn kind(fields: &Fields) -> Result<Kind, Why> {
    let link = || fields.link.clone();
    Ok(match (fields.kind, fields.device) {
        // In the oldest form a directory is a file whose name ends with a slash.
        (b'0' | 0, _) if fields.path.ends_with(b"/") => Kind::Directory,
        (b'0' | 0 | b'7' | b'S', _) => Kind::File,
        (b'1', _) => Kind::HardLink(link()),
        (b'2', _) => Kind::Symlink(link()),
        (b'3', Some((major, minor))) => Kind::Character(major, minor),
        (b'4', Some((major, minor))) => Kind::Block(major, minor),
        (b'5', _) => Kind::Directory,
        (b'6', _) => Kind::Fifo,
        (other, _) => return Err(Why::Type(char::from(other))),
    })
}
