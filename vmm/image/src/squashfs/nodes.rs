//! Inodes and directories. A directory comes after everything in it, because it says where that is.

use std::collections::BTreeMap;

use super::data::Content;
use super::metadata::{Metadata, reference};
use super::tables::{NO_XATTRS, Tables};
use crate::error::Error;
use crate::tree::{Attributes, Children, Id, ROOT, Tree, What};
use crate::word::Counts;

/// A file whose end is not among the fragments.
const NO_FRAGMENT: u32 = u32::MAX;
/// The most names after one directory header.
const NAMES: usize = 256;
/// The length of a directory counts the names that every directory has, and nothing more of them.
const DOTS: usize = 3;

/// Numbers of the kinds of inodes; the extended form is [`EXTENDED`] more.
mod kind {
    pub const DIRECTORY: u16 = 1;
    pub const FILE: u16 = 2;
    pub const SYMLINK: u16 = 3;
    pub const BLOCK: u16 = 4;
    pub const CHARACTER: u16 = 5;
    pub const FIFO: u16 = 6;
    pub const EXTENDED: u16 = 7;
}

/// Everything about nodes that the image holds.
pub struct Nodes {
    /// The inode table.
    pub inodes: Vec<u8>,
    /// The directory table.
    pub directories: Vec<u8>,
    /// Number of inodes.
    pub count: u32,
    /// Reference to the root's inode.
    pub root: u64,
    /// Time of the newest change, in seconds since 1970.
    pub newest: u32,
    /// What there is.
    pub counts: Counts,
}

/// Where an inode is, and what a directory has to say of it.
#[derive(Clone, Copy)]
struct Written {
    place: (u32, u16),
    number: u32,
    kind: u16,
}

struct Writer<'a> {
    tree: &'a Tree,
    contents: &'a BTreeMap<Id, Content>,
    tables: &'a mut Tables,
    inodes: Metadata,
    directories: Metadata,
    /// By node: its inode's number, and how many names lead to it.
    numbers: BTreeMap<Id, (u32, u32)>,
    written: BTreeMap<Id, Written>,
    newest: u32,
    counts: Counts,
}

/// Writes every node of `tree` that a name leads to.
pub fn write(
    tree: &Tree,
    contents: &BTreeMap<Id, Content>,
    tables: &mut Tables,
) -> Result<Nodes, Error> {
    let mut writer = Writer {
        tree,
        contents,
        tables,
        inodes: Metadata::default(),
        directories: Metadata::default(),
        numbers: BTreeMap::new(),
        written: BTreeMap::new(),
        newest: 0,
        counts: Counts::default(),
    };
    writer.number(ROOT)?;
    let count =
        u32::try_from(writer.numbers.len()).map_err(|_| Error::Format("number of inodes"))?;
    // The root's parent is no inode: it has the number after the last.
    let root = writer.write(ROOT, count + 1)?;
    writer.counts.inodes = u64::from(count);
    Ok(Nodes {
        inodes: writer.inodes.into_bytes(),
        directories: writer.directories.into_bytes(),
        count,
        root: reference(root.place),
        newest: writer.newest,
        counts: writer.counts,
    })
}

impl Writer<'_> {
    /// Numbers `id` and everything below it, and counts names.
    fn number(&mut self, id: Id) -> Result<(), Error> {
        let next =
            u32::try_from(self.numbers.len() + 1).map_err(|_| Error::Format("number of inodes"))?;
        let (_, names) = self.numbers.entry(id).or_insert((next, 0));
        *names += 1;
        if let What::Directory(children) = &self.tree.node(id).what {
            children.values().try_for_each(|child| self.number(child.id))?;
        }
        Ok(())
    }

    fn number_of(&self, id: Id) -> (u32, u32) {
        // Every node that is written was numbered before.
        self.numbers.get(&id).copied().unwrap_or_default()
    }

    /// Writes `id`, after everything below it, unless it is there under another name.
    fn write(&mut self, id: Id, parent: u32) -> Result<Written, Error> {
        if let Some(written) = self.written.get(&id) {
            self.counts.hard_links += 1;
            return Ok(*written);
        }
        let node = self.tree.node(id);
        let (number, names) = self.number_of(id);
        self.newest = self.newest.max(node.attributes.time);
        let xattrs = self.tables.xattrs(&node.attributes.xattrs)?;
        let (kind, body) = match &node.what {
            What::Directory(children) => {
                (kind::DIRECTORY, self.directory(children, number, parent, xattrs)?)
            }
            What::File(size, _) => {
                self.counts.files += 1;
                self.counts.content += size;
                (kind::FILE, self.file(id, *size, names, xattrs)?)
            }
            What::Symlink(target) => {
                self.counts.symlinks += 1;
                let length = u32::try_from(target.len()).map_err(|_| Error::Format("link"))?;
                let body = [&names.to_le_bytes()[..], &length.to_le_bytes(), target].concat();
                (kind::SYMLINK, with_xattrs(body, xattrs))
            }
            What::Character(major, minor) | What::Block(major, minor) => {
                self.counts.devices += 1;
                let is_block = matches!(node.what, What::Block(..));
                let body = [names.to_le_bytes(), device(*major, *minor).to_le_bytes()].concat();
                let kind = if is_block { kind::BLOCK } else { kind::CHARACTER };
                (kind, with_xattrs(body, xattrs))
            }
            What::Fifo => {
                self.counts.others += 1;
                (kind::FIFO, with_xattrs(names.to_le_bytes().to_vec(), xattrs))
            }
        };
        let place = self.inodes.position()?;
        let head = self.head(&node.attributes, kind + body.extension(), number)?;
        self.inodes.append(&head);
        self.inodes.append(&body.bytes);
        let written = Written { place, number, kind };
        self.written.insert(id, written);
        Ok(written)
    }

    /// What every inode begins with.
    fn head(&mut self, of: &Attributes, kind: u16, number: u32) -> Result<Vec<u8>, Error> {
        let (uid, gid) = (self.tables.owner(of.uid)?, self.tables.owner(of.gid)?);
        let mut head = Vec::new();
        [kind, of.mode, uid, gid].iter().for_each(|part| head.extend(part.to_le_bytes()));
        [of.time, number].iter().for_each(|part| head.extend(part.to_le_bytes()));
        Ok(head)
    }

    fn file(&self, id: Id, size: u64, names: u32, xattrs: u32) -> Result<Body, Error> {
        let content = self.contents.get(&id).ok_or(Error::Changed)?;
        let (index, offset) =
            content.fragment.map_or((NO_FRAGMENT, 0), |fragment| (fragment.index, fragment.offset));
        let mut bytes = Vec::new();
        let short = (u32::try_from(content.start), u32::try_from(size));
        let extended = match short {
            (Ok(start), Ok(size)) if names == 1 && xattrs == NO_XATTRS && content.sparse == 0 => {
                [start, index, offset, size]
                    .iter()
                    .for_each(|part| bytes.extend(part.to_le_bytes()));
                false
            }
            _ => {
                // A file that is nothing but zeroes still counts as having a byte.
                let sparse = content.sparse.min(size.saturating_sub(1));
                [content.start, size, sparse]
                    .iter()
                    .for_each(|part| bytes.extend(part.to_le_bytes()));
                [names, index, offset, xattrs]
                    .iter()
                    .for_each(|part| bytes.extend(part.to_le_bytes()));
                true
            }
        };
        content.blocks.iter().for_each(|length| bytes.extend(length.to_le_bytes()));
        Ok(Body { bytes, extended })
    }

    fn directory(
        &mut self,
        children: &Children,
        number: u32,
        parent: u32,
        xattrs: u32,
    ) -> Result<Body, Error> {
        self.counts.directories += 1;
        let mut names = Vec::new();
        let mut below = 0;
        for (name, child) in children {
            let written = self.write(child.id, number)?;
            below += u32::from(written.kind == kind::DIRECTORY);
            names.push((&**name, written));
        }
        let (block, offset) = self.directories.position()?;
        let listing = listing(&names)?;
        self.directories.append(&listing);
        let size = listing.len() + DOTS;
        let links = below + 2;
        let mut bytes = Vec::new();
        let extended = match u16::try_from(size) {
            Ok(size) if xattrs == NO_XATTRS => {
                [block, links].iter().for_each(|part| bytes.extend(part.to_le_bytes()));
                [size, offset].iter().for_each(|part| bytes.extend(part.to_le_bytes()));
                bytes.extend(parent.to_le_bytes());
                false
            }
            _ => {
                let size = u32::try_from(size).map_err(|_| Error::Format("directory"))?;
                [links, size, block, parent]
                    .iter()
                    .for_each(|part| bytes.extend(part.to_le_bytes()));
                // No index.
                [0, offset].iter().for_each(|part| bytes.extend(part.to_le_bytes()));
                bytes.extend(xattrs.to_le_bytes());
                true
            }
        };
        Ok(Body { bytes, extended })
    }
}

/// What follows the head of an inode.
struct Body {
    bytes: Vec<u8>,
    extended: bool,
}

impl Body {
    fn extension(&self) -> u16 {
        if self.extended { kind::EXTENDED } else { 0 }
    }
}

/// The body of an inode whose extended form ends with its attributes and differs in nothing else.
fn with_xattrs(mut bytes: Vec<u8>, xattrs: u32) -> Body {
    let extended = xattrs != NO_XATTRS;
    if extended {
        bytes.extend(xattrs.to_le_bytes());
    }
    Body { bytes, extended }
}

/// A device number as Linux has it on disk.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A directory's names, in runs of inodes that are in one block and have numbers close together.
fn listing(names: &[(&[u8], Written)]) -> Result<Vec<u8>, Error> {
    let mut listing = Vec::new();
    let mut rest = names;
    while let Some((_, first)) = rest.first() {
        let (block, base) = (first.place.0, first.number);
        let difference = |number: u32| i16::try_from(i64::from(number) - i64::from(base)).ok();
        let near = |(_, written): &&(&[u8], Written)| {
            written.place.0 == block && difference(written.number).is_some()
        };
        let count = rest.iter().take(NAMES).take_while(near).count();
        let (run, later) = rest.split_at(count);
        rest = later;
        let more = u32::try_from(count - 1).map_err(|_| Error::Format("directory"))?;
        [more, block, base].iter().for_each(|part| listing.extend(part.to_le_bytes()));
        for (name, written) in run {
            let number = difference(written.number).unwrap_or_default();
            let length = u16::try_from(name.len() - 1).map_err(|_| Error::Format("name"))?;
            listing.extend(written.place.1.to_le_bytes());
            listing.extend(number.to_le_bytes());
            [written.kind, length].iter().for_each(|part| listing.extend(part.to_le_bytes()));
            listing.extend_from_slice(name);
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_those_of_linux() {
        let rows = [
            ((1, 3), 0x103),
            ((8, 1), 0x801),
            ((0xfff, 0xf_ffff), 0xffff_ffff),
            ((4, 256), 0x10_0400),
        ];
        for ((major, minor), expected) in rows {
            assert_eq!(device(major, minor), expected);
            assert_eq!(u64::from(device(major, minor)), rustix::fs::makedev(major, minor));
        }
    }

    #[test]
    fn a_run_of_names_shares_a_block_and_a_base() {
        let written = |block, number| Written { place: (block, 0), number, kind: kind::FILE };
        let runs = |names: &[Written]| {
            let names: Vec<(&[u8], Written)> =
                names.iter().map(|written| (&b"x"[..], *written)).collect();
            let length = listing(&names).unwrap().len();
            (length - names.len() * 9) / 12
        };
        assert_eq!(runs(&[]), 0);
        assert_eq!(runs(&[written(0, 1), written(0, 2)]), 1);
        assert_eq!(runs(&[written(0, 1), written(1, 2)]), 2);
        assert_eq!(runs(&[written(0, 1), written(0, 32768), written(0, 32769)]), 1 + 1);
        assert_eq!(runs(&[written(0, 40000), written(0, 1)]), 2);
        assert_eq!(runs(&vec![written(0, 1); NAMES + 1]), 2);
    }
}
