//! From a source to an image: collecting a directory, having the image built, and what is told of it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::order::Task;
use image::word::Word;
use worker::jail::layers::Layer;

use super::job::Job;
use super::progress::Progress;
use crate::complain;
use crate::host::directory::{self, LeftOut, Most};
use crate::host::sum::{self, Sum};
use crate::host::{self, target::Target};

/// How an image is built.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// What it is built of, for messages.
    pub path: &'a Path,
    /// How much may be in it, before it is packed.
    pub most: u64,
    /// Take a container image for the files that it consists of.
    pub plain: bool,
    /// Layers of the jail that may be missing.
    pub missing: &'a [Layer],
}

/// What was named, open.
#[derive(Debug)]
pub enum Input {
    /// A directory.
    Directory(OwnedFd),
    /// A regular file.
    Archive(File),
}

impl Input {
    /// Opens what an image is to be made of.
    pub fn open(path: &Path) -> Result<Self> {
        match directory::open(path)? {
            Some(directory) => Ok(Self::Directory(directory)),
            None => host::open("source", path).map(Self::Archive),
        }
    }
}

/// An archive to build of.
#[derive(Debug)]
pub struct Source {
    /// The archive.
    pub file: File,
    /// It is a directory, collected.
    pub collected: bool,
    /// What is not in the archive.
    pub left_out: LeftOut,
}

/// A complete image that has no name yet.
#[derive(Debug)]
pub struct Built {
    /// Its SHA-256.
    pub sum: Sum,
    /// Number of inodes.
    pub inodes: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Recipe<'_> {
    /// The archive to build of: a directory becomes one first, in a file beside `target`.
    pub fn source(&self, input: Input, target: &Target, progress: &mut Progress) -> Result<Source> {
        let root = match input {
            Input::Directory(root) => root,
            Input::Archive(file) => {
                return Ok(Source { file, collected: false, left_out: LeftOut::default() });
            }
        };
        let tell = &mut |bytes| progress.collected(bytes);
        let most = Most { bytes: self.most, option: "--max-size" };
        let (file, left_out) =
            directory::archive(root, target.beside()?, target.replaces(), most, tell)
                .with_context(|| self.failed())?;
        Ok(Source { file, collected: true, left_out })
    }

    /// Has the image built in `target`.
    pub fn build(
        &self,
        source: &Source,
        target: &Target,
        progress: &mut Progress,
    ) -> Result<Built> {
        let task = Task::Build { most: self.most, plain: self.plain };
        let job = Job { task, source: &source.file, missing: self.missing };
        let word = job
            .write_to(target.file(), |done, all| progress.copied(done, all))
            .with_context(|| self.failed())?;
        progress.clear();
        let Word::Built(counts, length, attributes) = word else { bail!(super::OTHER_ANSWER) };
        check_length(target.file(), length)?;
        mention(source.left_out, attributes);
        let sum = sum::of(target.file()).context("cannot read the image")?;
        Ok(Built { sum, inodes: counts.inodes, length })
    }

    fn failed(&self) -> String {
        format!("cannot build an image of {:?}", self.path)
    }
}

/// An image of a directory, in a file without a name.
pub fn of_directory(path: &Path, most: Most, missing: &[Layer]) -> Result<File> {
    let root = directory::open(path)?.with_context(|| format!("{path:?} is no directory"))?;
    let (source, left_out) = directory::archive(root, host::temporary()?, None, most, &mut |_| {})?;
    let image = host::temporary()?;
    // What is in the archive was counted already.
    let task = Task::Build { most: most.bytes, plain: true };
    let job = Job { task, source: &source, missing };
    let Word::Built(_, length, attributes) = job.write_to(&image, |_, _| {})? else {
        bail!(super::OTHER_ANSWER)
    };
    check_length(&image, length)?;
    mention(left_out, attributes);
    Ok(image)
}

/// The file is as long as it was said to be: whoever wrote it may have been taken over by the source.
fn check_length(file: &File, length: u64) -> Result<()> {
    let found = file.metadata().context("cannot look at the image")?.len();
    if found != length {
        bail!("cannot use the image: it is {found} bytes long, and was said to be {length}");
    }
    Ok(())
}

/// Tells what is not in the image.
fn mention(left_out: LeftOut, attributes: u64) {
    let rows = [
        (left_out.sockets, "sockets"),
        (left_out.mounts, "directories' contents that are other file systems"),
        (attributes, "extended attributes that squashfs has no place for"),
    ];
    for (count, what) in rows.into_iter().filter(|(count, _)| *count > 0) {
        complain(&format!("left out: {count} {what}"));
    }
}
