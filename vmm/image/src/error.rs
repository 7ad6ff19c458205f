//! Why an image cannot be built or read.

use std::fmt;
use std::io;

/// A name from the source, as it may be shown: quoted, escaped and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// So much of a name is shown, in bytes.
    const SHOWN: usize = 80;

    /// The name of something in the source.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..Self::SHOWN).unwrap_or(&self.0);
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "\"{}{more}\"", shown.escape_ascii())
    }
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// Its path begins with a slash.
    #[error("its path is absolute")]
    Absolute,
    /// Its path climbs.
    #[error("its path holds \"..\"")]
    Parent,
    /// Its path is empty, or holds a NUL byte.
    #[error("its path is no path")]
    NoPath,
    /// Its path is too long.
    #[error("its path is longer than {} bytes", crate::path::PATH_MAX)]
    LongPath,
    /// A part of its path is too long.
    #[error("a part of its path is longer than {} bytes", crate::path::NAME_MAX)]
    LongName,
    /// Something on its path is not a directory.
    #[error("its path goes through {0}, which is not a directory")]
    Through(Name),
    /// The root is not a directory.
    #[error("it replaces the root, and is not a directory")]
    Root,
    /// A symbolic link that climbs above the root.
    #[error("it is a symbolic link to {0}, which leaves the tree")]
    Symlink(Name),
    /// A symbolic link without a target, or with one that is too long.
    #[error("it is a symbolic link to nothing that could be")]
    NoTarget,
    /// A hard link whose target's path is no good.
    #[error("it is a hard link to {0}, which leaves the tree")]
    Link(Name),
    /// A hard link to what is not there.
    #[error("it is a hard link to {0}, which is not there")]
    LinkToNothing(Name),
    /// A hard link to a directory.
    #[error("it is a hard link to {0}, which is a directory")]
    LinkToDirectory(Name),
    /// A type that images do not have.
    #[error("its type, {0:?}, is not supported")]
    Type(char),
    /// A sparse file in pax form.
    #[error("it is sparse in a form that is not supported (tar --format=gnu -S makes one that is)")]
    PaxSparse,
    /// A sparse file's map is not in order.
    #[error("its map of sparse parts makes no sense")]
    SparseMap,
    /// A device number that Linux does not have.
    #[error("its device number is out of range")]
    Device,
    /// A user or group id that Linux does not have.
    #[error("its owner is out of range")]
    Owner,
    /// A whiteout that names nothing.
    #[error("it is a whiteout of nothing that could be")]
    Whiteout,
    /// Extended attributes beyond what is taken.
    #[error("its extended attributes are longer than 64 KiB")]
    Xattrs,
    /// What comes out is files and directories.
    #[error("it is {0}, and only files and directories come out")]
    OutKind(&'static str),
    /// A bit that changes who runs it.
    #[error("it has a set-id or sticky bit")]
    SetId,
    /// The same path again.
    #[error("its path is there twice")]
    Twice,
    /// More than may come out.
    #[error("with it, more than {0} bytes would come out (--max-out)")]
    OutSize(u64),
    /// The file is larger than the image may be.
    #[error("it is larger than the image may be (--max-size)")]
    Size,
}

/// Why an image cannot be built or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One entry is no good.
    #[error("refused entry {0}: {1}")]
    Entry(Name, Why),
    /// The archive breaks the rules of its format.
    #[error("the archive is damaged: {0}")]
    Archive(&'static str),
    /// The archive has a header that is not supported.
    #[error("the archive has a global header that sets {0}, which is not supported")]
    Global(Name),
    /// The source is neither a tar archive nor packed in a known way.
    #[error("it is no tar archive, nor one packed by gzip or zstd")]
    NoArchive,
    /// The source ends early.
    #[error("the archive ends early")]
    Truncated,
    /// Unpacked, the source is more than the image may be.
    #[error("unpacked, it is larger than the image may be (--max-size)")]
    Bomb,
    /// There are too many entries.
    #[error("it has more than {} entries", crate::tree::ENTRIES_MAX)]
    Entries,
    /// Names, links and attributes are too much.
    #[error("its names, links and attributes take more than {} MiB", crate::tree::NAMES_MAX >> 20)]
    Names,
    /// There are too many entries to come out.
    #[error("it has more than {} entries", crate::unpack::ENTRIES_MAX)]
    OutEntries,
    /// The names of what comes out are too much.
    #[error("its names take more than {} MiB", crate::unpack::NAMES_MAX >> 20)]
    OutNames,
    /// The launcher asked for the end before it was all unpacked.
    #[error("the end was asked for")]
    Ended,
    /// The guest did not complete it.
    #[error("the guest did not complete it")]
    Unmarked,
    /// The guest could not complete it, and says why.
    #[error("the guest says: {0}")]
    Guest(String),
    /// A file or directory cannot be made.
    #[error("cannot make {0}: {1}")]
    Make(Name, #[source] io::Error),
    /// There are too many owners.
    #[error("it has more than 65535 different owners")]
    Owners,
    /// The file system would be larger than its format allows.
    #[error("its {0} is larger than squashfs allows")]
    Format(&'static str),
    /// The source changed between the two times it is read.
    #[error("it changed while it was read")]
    Changed,
    /// A container image is not as the standard has it.
    #[error("the container image is damaged: {0}")]
    Container(String),
    /// Data does not have the digest that it is known by.
    #[error("the container image is damaged: {0} does not have its digest")]
    Digest(Name),
    /// It is no squashfs.
    #[error("it is no squashfs image")]
    NoImage,
    /// The image breaks the rules of its format.
    #[error("the image is damaged: {0}")]
    Image(&'static str),
    /// The source cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[source] io::Error),
    /// The image cannot be written.
    #[error("cannot write the image: {0}")]
    Write(#[source] io::Error),
}

impl Error {
    /// What a reader on top of one of ours reports, without what it was wrapped in.
    pub fn of_reading(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Truncated;
        }
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::Read(error),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::from(io::ErrorKind::UnexpectedEof),
            Error::Read(error) => error,
            error => Self::other(error),
        }
    }
}
