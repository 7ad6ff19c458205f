//! Files without a name, which are gone with the run, and disks in them.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use devices::blk::{SECTOR, Shape};
use devices::throttle::Rates;
use worker::plan::Backing;

use super::Image;

/// A new file without a name, which is gone with the last process that has it open. It may become large:
/// not in /tmp, which is memory on many hosts.
pub fn temporary() -> Result<File> {
    let directory = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    let directory = directory.map_or_else(|| "/var/tmp".into(), PathBuf::from);
    tempfile::tempfile_in(&directory)
        .with_context(|| format!("cannot make a temporary file in {directory:?} (TMPDIR)"))
}

impl Image {
    /// A disk in a file without a name, which is gone with the run.
    pub fn temporary(file: File, rates: Rates) -> Result<Self> {
        let shape = Shape { sectors: sectors(&file)?, read_only: false };
        Ok(Self { file, shape, backing: Backing::Temporary, copy: None, rates })
    }

    /// A disk in a file without a name, which is only read.
    pub fn read_only(file: File) -> Result<Self> {
        let shape = Shape { sectors: sectors(&file)?, read_only: true };
        Ok(Self { file, shape, backing: Backing::Image, copy: None, rates: Rates::NONE })
    }
}

fn sectors(file: &File) -> Result<u64> {
    Ok(file.metadata().context("cannot look at a temporary file")?.len() / SECTOR)
}
