//! The tree that the layers of a source make up, before any content is read.
//!
//! An entry replaces what has its path, as unpacking would; a layer's whiteouts (the `.wh.` names of
//! the OCI image specification) take away what is below that layer. Two names of one file are two
//! entries for one node. Nothing here is a path of the host.

use std::collections::BTreeMap;

use crate::archive::{Entry, Kind, Xattrs};
use crate::error::{Error, Name, Why};
use crate::path;

/// The most entries of all layers.
pub const ENTRIES_MAX: usize = 1 << 20;
/// The most that names, links and attributes may take, in bytes.
pub const NAMES_MAX: usize = 128 << 20;

/// What begins the name of a whiteout.
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What begins other names that an old driver left behind.
const LEFTOVER: &[u8] = b".wh..wh.";

/// Number of a node.
pub type Id = usize;

/// Where a file's content is: the layer, and which entry of it.
pub type Origin = (usize, usize);

/// Who owns a node, and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change, in seconds since 1970.
    pub time: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// What has the name.
    pub id: Id,
    /// The layer that gave it.
    layer: usize,
}

/// Names in order of their bytes.
pub type Children = BTreeMap<Box<[u8]>, Child>;

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory(Children),
    /// A regular file: its length, and where its content is.
    File(u64, Origin),
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A FIFO.
    Fifo,
}

/// A file, a directory or anything else with attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who owns it, and the like.
    pub attributes: Attributes,
    /// What it is.
    pub what: What,
}

/// Every node of every layer; those that no name leads to are dead.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    entries: usize,
    names: usize,
    content: u64,
    most: u64,
}

/// The root's number.
pub const ROOT: Id = 0;

impl Tree {
    /// An empty root, for at most so many bytes of content.
    pub fn new(most: u64) -> Self {
        Self { nodes: vec![directory()], entries: 0, names: 0, content: 0, most }
    }

    /// The node with this number.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// Length of all content in bytes, dead files included.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Adds the `index`th entry of layer number `layer`. `layered`: whiteouts mean something.
    pub fn add(
        &mut self,
        entry: Entry,
        layer: usize,
        index: usize,
        layered: bool,
    ) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX || self.nodes.len() > ENTRIES_MAX {
            return Err(Error::Entries);
        }
        let xattrs = entry.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.names += entry.path.len() + xattrs.sum::<usize>();
        if let Kind::Symlink(target) | Kind::HardLink(target) = &entry.kind {
            self.names += target.len();
        }
        if self.names > NAMES_MAX {
            return Err(Error::Names);
        }
        self.content = self.content.checked_add(entry.size).ok_or(Error::Bomb)?;
        if entry.size > self.most {
            return Err(entry.refused(Why::Size));
        }
        if self.content > self.most {
            return Err(Error::Bomb);
        }
        self.place(&entry, layer, index, layered).map_err(|why| entry.refused(why))
    }

    fn place(
        &mut self,
        entry: &Entry,
        layer: usize,
        index: usize,
        layered: bool,
    ) -> Result<(), Why> {
        let parts = path::parts(&entry.path)?;
        let Some((name, parents)) = parts.split_last() else {
            if entry.kind != Kind::Directory {
                return Err(Why::Root);
            }
            self.nodes[ROOT].attributes = attributes(entry);
            return Ok(());
        };
        if layered && name.starts_with(WHITEOUT) {
            return self.white_out(parents, name, layer);
        }
        let what = match &entry.kind {
            Kind::HardLink(target) => {
                let id = self.link_target(target)?;
                return self.insert(parents, name, id, layer);
            }
            Kind::Directory => {
                return self.make_directory(parents, name, layer, attributes(entry));
            }
            Kind::File => What::File(entry.size, (layer, index)),
            Kind::Symlink(target) => {
                path::check_symlink(target, parents.len())?;
                What::Symlink(target.clone().into())
            }
            Kind::Character(major, minor) => What::Character(*major, *minor),
            Kind::Block(major, minor) => What::Block(*major, *minor),
            Kind::Fifo => What::Fifo,
        };
        if let What::Character(major, minor) | What::Block(major, minor) = what
            && (major >= 1 << 12 || minor >= 1 << 20)
        {
            return Err(Why::Device);
        }
        // Made first, so that an entry on an impossible path leaves nothing behind.
        self.parent(parents, layer)?;
        let id = self.push(Node { attributes: attributes(entry), what });
        self.insert(parents, name, id, layer)
    }

    /// Gives a node a name, in place of what had it.
    fn insert(&mut self, parents: &[&[u8]], name: &[u8], id: Id, layer: usize) -> Result<(), Why> {
        let parent = self.parent(parents, layer)?;
        self.children(parent)?.insert(name.into(), Child { id, layer });
        Ok(())
    }

    /// A directory that is there keeps what is in it.
    fn make_directory(
        &mut self,
        parents: &[&[u8]],
        name: &[u8],
        layer: usize,
        attributes: Attributes,
    ) -> Result<(), Why> {
        let parent = self.parent(parents, layer)?;
        let there = self.children(parent)?.get(name).map(|child| child.id);
        let id = match there.filter(|id| matches!(self.nodes[*id].what, What::Directory(_))) {
            Some(id) => id,
            None => self.push(directory()),
        };
        self.nodes[id].attributes = attributes;
        self.insert(parents, name, id, layer)
    }

    /// The directory at this path, made with every directory above it that is not there.
    fn parent(&mut self, parents: &[&[u8]], layer: usize) -> Result<Id, Why> {
        let mut id = ROOT;
        for (depth, part) in parents.iter().enumerate() {
            let through = || Why::Through(Name::new(&parents[..=depth].join(&b'/')));
            let next = match self.children(id)?.get_mut(*part) {
                Some(child) => {
                    // What a layer puts something into is that layer's too: its whiteouts spare it.
                    child.layer = layer;
                    child.id
                }
                None => {
                    let made = self.push(directory());
                    self.children(id)?.insert((*part).into(), Child { id: made, layer });
                    made
                }
            };
            if !matches!(self.nodes[next].what, What::Directory(_)) {
                return Err(through());
            }
            id = next;
        }
        Ok(id)
    }

    /// The node that a hard link means.
    fn link_target(&self, target: &[u8]) -> Result<Id, Why> {
        let parts = path::parts(target).map_err(|_| Why::Link(Name::new(target)))?;
        let step = |id: Id, part: &&[u8]| match &self.nodes[id].what {
            What::Directory(children) => children.get(*part).map(|child| child.id),
            _ => None,
        };
        let id = parts.iter().try_fold(ROOT, step);
        let id = id.ok_or_else(|| Why::LinkToNothing(Name::new(target)))?;
        match self.nodes[id].what {
            What::Directory(_) => Err(Why::LinkToDirectory(Name::new(target))),
            _ => Ok(id),
        }
    }

    fn white_out(&mut self, parents: &[&[u8]], name: &[u8], layer: usize) -> Result<(), Why> {
        let parent = self.parent(parents, layer)?;
        if name == OPAQUE {
            self.purge(parent, layer);
            return Ok(());
        }
        if name.starts_with(LEFTOVER) {
            return Ok(());
        }
        let name = &name[WHITEOUT.len()..];
        if matches!(name, b"" | b"." | b"..") {
            return Err(Why::Whiteout);
        }
        let Some(&Child { id, layer: given }) = self.children(parent)?.get(name) else {
            return Ok(());
        };
        if matches!(self.nodes[id].what, What::Directory(_)) {
            self.purge(id, layer);
        }
        if given < layer {
            self.children(parent)?.remove(name);
        }
        Ok(())
    }

    /// Takes everything that lower layers gave out of a directory, and out of those below it.
    fn purge(&mut self, id: Id, layer: usize) {
        let mut directories = vec![id];
        while let Some(id) = directories.pop() {
            if let What::Directory(children) = &mut self.nodes[id].what {
                children.retain(|_, child| child.layer == layer);
                directories.extend(children.values().map(|child| child.id));
            }
        }
    }

    fn children(&mut self, id: Id) -> Result<&mut Children, Why> {
        match &mut self.nodes[id].what {
            What::Directory(children) => Ok(children),
            _ => Err(Why::Root),
        }
    }

    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

/// A directory that no entry describes.
fn directory() -> Node {
    let attributes = Attributes { mode: 0o755, ..Attributes::default() };
    Node { attributes, what: What::Directory(Children::new()) }
}

fn attributes(entry: &Entry) -> Attributes {
    let Entry { mode, uid, gid, time, ref xattrs, .. } = *entry;
    Attributes { mode, uid, gid, time, xattrs: xattrs.clone() }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
