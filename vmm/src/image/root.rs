//! The root file system of a run: an image as it is, or one that is built of a source and kept in the cache;
//! and how it wants to be run.
//!
//! The key in the cache is the SHA-256 of the source and of the program that builds: of an archive its bytes,
//! whatever is in it, for nobody but the jailed process looks into it; of a directory the archive that it is
//! collected in. What is built is a copy of what was hashed, so that nobody can change it in between.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use devices::throttle::Rates;
use image::config;
use image::execution::Execution;
use image::order::Task;
use image::word::Word;
use worker::jail::layers::Layer;

use super::build::{Input, Recipe, Source};
use super::job::Job;
use super::progress::Progress;
use crate::cli::{Access, DiskArg, FileArg, RunArgs};
use crate::complain;
use crate::host::cache::ImageCache;
use crate::host::sum::{self, Sum};
use crate::host::target::Target;
use crate::host::{self, Image, directory};
use crate::outcome::Usage;

/// How much may be in an image that is built for a run, in bytes.
const MOST: u64 = 16 << 30;

/// A root file system.
#[derive(Debug)]
pub struct Root {
    /// The image.
    pub image: Image,
    /// How it wants to be run.
    pub execution: Execution,
}

impl Root {
    /// Opens what a run's command line names, or builds it.
    pub fn of(args: &RunArgs) -> Result<Self> {
        let rootfs = match &args.rootfs {
            Some(rootfs) => rootfs.clone(),
            None => FileArg { path: host::default_rootfs()?, sum: None },
        };
        let missing = &args.common.jail.insecure_allow_missing;
        let image = if directory::is_source(&rootfs.path) {
            let file = built(&rootfs, missing, args.image_cache_size)?;
            Image::read_only(file)?
        } else {
            let disk = DiskArg {
                path: rootfs.path.clone(),
                access: Access::Read,
                rates: Rates::NONE,
                sum: rootfs.sum,
            };
            host::image("root file system", &disk)?
        };
        let execution = execution(&rootfs.path, &image.file, missing)?;
        Ok(Self { image, execution })
    }
}

/// How an image wants to be run. Nobody is asked where the image has no word on it.
fn execution(path: &Path, image: &File, missing: &[Layer]) -> Result<Execution> {
    let failed = || format!("cannot read how {path:?} wants to be run");
    let length = image.metadata().with_context(failed)?.len();
    if !config::is_in(image, length) {
        return Ok(Execution::default());
    }
    let job = Job { task: Task::Execution, source: image, missing };
    let (word, bytes) = job.find().with_context(failed)?;
    if word != Word::Told {
        bail!(super::OTHER_ANSWER);
    }
    Execution::decode(&bytes).context("it makes no sense").with_context(failed)
}

/// The image of a source, from the cache or built, for reading.
fn built(rootfs: &FileArg, missing: &[Layer], cache_size: u64) -> Result<File> {
    let FileArg { path, sum } = rootfs;
    let input = Input::open(path)?;
    if sum.is_some() && matches!(input, Input::Directory(_)) {
        bail!(Usage(format!(
            "cannot pin {path:?}: it is a directory (casemate image build makes an image of it, which \
             can be pinned)"
        )));
    }
    let cache = ImageCache::open()?;
    let builder =
        sum::of(&host::companion("casemate-image")?).context("cannot read the builder")?;
    let recipe = Recipe { path, most: MOST, plain: false, missing };
    let mut progress = Progress::new();
    let target = cache.target()?;
    let mut source = recipe.source(input, &target, &mut progress)?;
    let found = sum_of(path, &source)?;
    sum::compare("root file system", path, &found, sum.as_ref())?;
    let key = Sum::of_text(&format!("casemate image\nsource {found}\nbuilder {builder}\n"));
    if let Some(image) = kept(&cache, &key)? {
        return Ok(image);
    }
    let _turn = cache.turn(&key)?;
    if let Some(image) = kept(&cache, &key)? {
        return Ok(image);
    }
    if !source.collected {
        source.file = copied(path, &source.file, &target)?;
        if sum_of(path, &source)? != found {
            bail!("cannot use root file system {path:?}: it changed while it was read");
        }
    }
    let built = recipe.build(&source, &target, &mut progress)?;
    if built.length > cache_size {
        return target.reopen();
    }
    let image = cache.keep(target, &key, &built.sum)?;
    cache.prune(cache_size)?;
    Ok(image)
}

fn sum_of(path: &Path, source: &Source) -> Result<Sum> {
    sum::of(&source.file).with_context(|| format!("cannot read root file system {path:?}"))
}

/// The image of this key, if it is there.
fn kept(cache: &ImageCache, key: &Sum) -> Result<Option<File>> {
    let (image, damaged) = cache.find(key)?;
    if damaged {
        complain("an image in the cache was damaged; it is gone, and built again");
    }
    Ok(image)
}

/// A copy that nobody else can write to.
fn copied(path: &Path, mut source: &File, target: &Target) -> Result<File> {
    let mut copy = target.beside()?;
    std::io::copy(&mut source, &mut copy).with_context(|| format!("cannot copy {path:?}"))?;
    Ok(copy)
}
