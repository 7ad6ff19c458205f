//! An archive that holds a container image: blobs by name, of which layers are archives themselves.
//!
//! A packed archive cannot be read by position: each blob of it is found by unpacking again.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::archive::{Archive, Entry, Kind};
use crate::error::{Error, Name};
use crate::path;
use crate::source::{Stream, Window};

/// The longest description that is read, in bytes.
const TEXT_MAX: u64 = 4 << 20;
/// More entries than any container image has of its own.
const BLOBS_MAX: usize = 1 << 16;

/// Where a blob is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Which entry it is.
    index: usize,
    /// Where its content is in the archive, if it is in one piece.
    at: Option<u64>,
    size: u64,
}

/// Names of blobs.
#[derive(Debug, Default)]
pub struct Names {
    places: BTreeMap<Vec<u8>, Place>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Names {
    /// Takes note of the `index`th entry, in whose content `archive` is.
    pub fn note(&mut self, entry: &Entry, index: usize, archive: &Archive) {
        let Ok(parts) = path::parts(&entry.path) else { return };
        if index >= BLOBS_MAX {
            return;
        }
        let name = parts.join(&b'/');
        match &entry.kind {
            Kind::File => {
                let place = Place { index, at: archive.content_at(), size: entry.size };
                self.places.insert(name, place);
            }
            // Older archives have a layer once, and links to it.
            Kind::Symlink(target) => {
                self.links.insert(name, beside(&parts, target));
            }
            _ => {}
        }
    }

    /// True when there is a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name.as_bytes())
    }

    fn find(&self, name: &str) -> Option<Place> {
        let name = name.as_bytes();
        let target = self.links.get(name).map_or(name, Vec::as_slice);
        self.places.get(target).copied()
    }
}

/// The path that a link leads to, from the directory it is in.
fn beside(parts: &[&[u8]], target: &[u8]) -> Vec<u8> {
    let mut path = parts.split_last().map_or(Vec::new(), |(_, above)| above.to_vec());
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.join(&b'/')
}

/// The archive, and the names in it.
pub struct Outer {
    window: Window,
    most: u64,
    names: Names,
}

/// A blob's content.
enum Blob {
    Plain(Window),
    Packed(Box<Archive>),
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(window) => window.read(buffer),
            Self::Packed(archive) => Ok(archive.fill(buffer)?),
        }
    }
}

impl Outer {
    /// The archive in `window`; no more than `most` bytes are read of it or of one blob in it.
    pub fn new(window: Window, most: u64, names: Names) -> Self {
        Self { window, most, names }
    }

    /// The names in it.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// A description: all of a blob that is not long.
    pub fn text(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (blob, size) = self.open(name)?;
        if size > TEXT_MAX {
            return Err(Error::Container(format!("{} is too long", Name::new(name.as_bytes()))));
        }
        let mut text = Vec::new();
        let mut blob: Box<dyn Read> = Box::new(blob.take(size));
        blob.read_to_end(&mut text).map_err(Error::of_reading)?;
        Ok(text)
    }

    /// A layer, unpacked.
    pub fn layer(&self, name: &str) -> Result<Stream, Error> {
        match self.open(name)? {
            (Blob::Plain(window), _) => Stream::of_window(window, self.most),
            (packed, _) => Stream::of_reader(packed, self.most),
        }
    }

    fn open(&self, name: &str) -> Result<(Blob, u64), Error> {
        let place = self.names.find(name).ok_or_else(|| {
            Error::Container(format!("{} is not there", Name::new(name.as_bytes())))
        })?;
        let stream = Stream::of_window(self.window, self.most)?;
        if let (Some(window), Some(at)) = (stream.window(), place.at) {
            return Ok((Blob::Plain(window.part(at, place.size)?), place.size));
        }
        let mut archive = Archive::new(stream);
        for _ in 0..=place.index {
            archive.next()?.ok_or(Error::Changed)?;
        }
        Ok((Blob::Packed(Box::new(archive)), place.size))
    }
}
