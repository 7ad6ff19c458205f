//! `casemate image list` and `casemate image prune`: what is in the cache.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::host::cache::{Entry, ImageCache};
use crate::limits;
use crate::say;

/// What `image list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What `image prune` takes.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove all, not only what is too much
    #[arg(long, conflicts_with = "max_size")]
    pub all: bool,
    /// How much may stay
    #[arg(long, value_name = "SIZE", default_value = limits::IMAGES,
          value_parser = limits::parse_bytes)]
    pub max_size: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    /// What it was built of, and by what.
    key: &'a str,
    sha256: &'a str,
    bytes: u64,
    /// When it was last used, in seconds since 1970.
    used: u64,
}

#[derive(Serialize)]
struct Listing<'a> {
    images: Vec<Row<'a>>,
    bytes: u64,
}

/// Lists the images, the one first that was not used for the longest time.
pub fn list(args: &ListArgs) -> Result<()> {
    print(&ImageCache::open()?.entries()?, args.json, "")
}

/// Removes images that are not in use, and lists them.
pub fn prune(args: &PruneArgs) -> Result<()> {
    let most = if args.all { 0 } else { args.max_size };
    print(&ImageCache::open()?.prune(most)?, args.json, "removed ")
}

fn print(entries: &[Entry], json: bool, verb: &str) -> Result<()> {
    let bytes = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
    if json {
        let images = entries.iter().map(row).collect();
        return say(&(serde_json::to_string_pretty(&Listing { images, bytes })? + "\n"));
    }
    let mut text = String::new();
    for entry in entries {
        text.push_str(&format!(
            "{}  {} bytes, used {} s ago\n",
            entry.sum,
            entry.bytes,
            ago(entry)
        ));
    }
    let images = if entries.len() == 1 { "image" } else { "images" };
    say(&format!("{text}{verb}{} {images}, {bytes} bytes\n", entries.len()))
}

fn row(entry: &Entry) -> Row<'_> {
    let used = entry.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Row { key: &entry.key, sha256: &entry.sum, bytes: entry.bytes, used }
}

fn ago(entry: &Entry) -> u64 {
    SystemTime::now().duration_since(entry.used).unwrap_or_default().as_secs()
}
