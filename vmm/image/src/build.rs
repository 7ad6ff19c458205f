//! From a source to an image, in two passes over it: the first makes out what the tree is, the second
//! copies the contents of those files that are left of it. So nothing that an upper layer replaces or
//! takes away is in the image, and nothing but names is ever kept in memory.

use std::collections::BTreeMap;

use crate::archive::Archive;
use crate::config;
use crate::error::{Error, Name};
use crate::oci::{self, Container};
use crate::outer::{Names, Outer};
use crate::source::{Source, Stream, Window};
use crate::squashfs::data::{Content, Data};
use crate::squashfs::output::Output;
use crate::squashfs::{self, ALIGNMENT, SUPER_BLOCK};
use crate::tree::{Id, Origin, ROOT, Tree, What};
use crate::word::Counts;

/// A file of the tree: which node, and how long it is.
type File = (Id, u64);

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// What is in it.
    pub counts: Counts,
    /// Length of the image in bytes.
    pub length: u64,
    /// Attributes that squashfs has no place for.
    pub left_out: u64,
}

/// How much is read of one archive to fill an image with `most` bytes: headers take room too.
fn most_read(most: u64) -> u64 {
    most.saturating_add(most / 2).saturating_add(64 << 20)
}

/// How long an image may be that `most` bytes are in: at worst none of them could be packed.
pub fn most_written(most: u64) -> u64 {
    most.saturating_add(most / 8).saturating_add(512 << 20)
}

/// The layers of a source.
enum Layers {
    /// The source is one archive.
    One(Window),
    Many(Outer, Container),
}

impl Layers {
    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(_, container) => container.layers.len(),
        }
    }

    fn open(&self, layer: usize, most: u64) -> Result<Stream, Error> {
        match self {
            Self::One(window) => Stream::of_window(*window, most_read(most)),
            Self::Many(outer, container) => outer.layer(&container.layers[layer].name),
        }
    }
}

/// Builds an image of what is in `source`, `length` bytes long. `most` bytes of content are allowed.
/// `tell` hears how many bytes of how many are copied.
pub fn build(
    source: Source,
    length: u64,
    image: &'static std::fs::File,
    most: u64,
    plain: bool,
    mut tell: impl FnMut(u64, u64),
) -> Result<Built, Error> {
    let (layers, tree) = plan(Window::all(source, length), most, plain)?;
    let files = files(&tree);
    let all = files.values().map(|(_, size)| size).sum();
    let mut done = 0;
    let mut data = Data::new(Output::new(image, SUPER_BLOCK as u64, most_written(most)));
    let mut contents = BTreeMap::new();
    for layer in 0..layers.count() {
        let wanted = files.range((layer, 0)..=(layer, usize::MAX));
        let wanted: Vec<(usize, File)> = wanted.map(|((_, index), file)| (*index, *file)).collect();
        let mut archive = Archive::new(layers.open(layer, most)?);
        let mut progress = |count: u64| {
            done += count;
            tell(done, all);
        };
        copy(&mut archive, &wanted, &mut data, &mut contents, &mut progress)?;
    }
    let (mut output, counts, left_out) = squashfs::finish(data, &tree, &contents)?;
    output.align(ALIGNMENT)?;
    if let Layers::Many(_, container) = &layers {
        config::write(&mut output, &container.config)?;
    }
    Ok(Built { counts, length: output.position(), left_out })
}

/// The first pass: what the layers are, and the tree that they make up.
fn plan(window: Window, most: u64, plain: bool) -> Result<(Layers, Tree), Error> {
    let mut tree = Tree::new(most);
    let mut names = Names::default();
    let mut archive = Archive::new(Stream::of_window(window, most_read(most))?);
    let mut index = 0;
    while let Some(entry) = archive.next()? {
        names.note(&entry, index, &archive);
        tree.add(entry, 0, index, false)?;
        index += 1;
    }
    archive.into_stream().finish()?;
    if plain || !oci::is_container(&names) {
        return Ok((Layers::One(window), tree));
    }
    let outer = Outer::new(window, most_read(most), names);
    let container = oci::read(&outer)?;
    let mut tree = Tree::new(most);
    for (number, layer) in container.layers.iter().enumerate() {
        let mut archive = Archive::new(outer.layer(&layer.name)?.hashed());
        let mut index = 0;
        while let Some(entry) = archive.next()? {
            tree.add(entry, number, index, true)?;
            index += 1;
        }
        if archive.into_stream().into_hash()? != layer.digest {
            return Err(Error::Digest(Name::new(layer.name.as_bytes())));
        }
    }
    Ok((Layers::Many(outer, container), tree))
}

/// Every file that a name leads to, by where its content is.
fn files(tree: &Tree) -> BTreeMap<Origin, File> {
    let mut files = BTreeMap::new();
    let mut directories = vec![ROOT];
    while let Some(id) = directories.pop() {
        let What::Directory(children) = &tree.node(id).what else { continue };
        for child in children.values() {
            match tree.node(child.id).what {
                What::Directory(_) => directories.push(child.id),
                What::File(size, origin) => {
                    files.insert(origin, (child.id, size));
                }
                _ => {}
            }
        }
    }
    files
}

/// The second pass over one layer.
fn copy(
    archive: &mut Archive,
    wanted: &[(usize, File)],
    data: &mut Data,
    contents: &mut BTreeMap<Id, Content>,
    progress: &mut impl FnMut(u64),
) -> Result<(), Error> {
    let mut index = 0;
    for &(of, (id, size)) in wanted {
        loop {
            // The source is somebody else's file: it may not be what it was in the first pass.
            let entry = archive.next()?.ok_or(Error::Changed)?;
            index += 1;
            if index > of {
                if entry.size != size {
                    return Err(Error::Changed);
                }
                break;
            }
        }
        let fill = |buffer: &mut [u8]| {
            let count = archive.fill(buffer)?;
            progress(count as u64);
            Ok(count)
        };
        contents.insert(id, data.write(fill)?);
    }
    Ok(())
}
