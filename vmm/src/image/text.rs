//! What `image inspect` prints.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use image::word::{Counts, Shape};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::host::sum::Sum;

/// Everything that is known of an image.
#[derive(Debug, Serialize)]
pub struct Inspected {
    file: String,
    sha256: String,
    size: u64,
    format: &'static str,
    compression: String,
    block_size: u64,
    /// In seconds since 1970.
    time: u64,
    /// Length of the file system without what follows it, in bytes.
    file_system_size: u64,
    inodes: u64,
    /// Not known where the compression is not.
    contents: Option<Counts>,
    /// How the container image that it was built of wants to be run.
    config: Option<Box<RawValue>>,
}

impl Inspected {
    /// Puts together what was found.
    pub fn new(
        path: &Path,
        size: u64,
        sum: &Sum,
        shape: Shape,
        contents: Option<Counts>,
        config: Option<Box<RawValue>>,
    ) -> Self {
        let Shape { compressor, block, time, bytes, inodes } = shape;
        Self {
            file: path.display().to_string(),
            sha256: sum.to_string(),
            size,
            format: "squashfs",
            compression: compression(compressor),
            block_size: block,
            time,
            file_system_size: bytes,
            inodes,
            contents,
            config,
        }
    }

    /// One JSON object.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// A line for each thing that is known.
    pub fn to_text(&self) -> String {
        let mut rows = vec![
            ("file", self.file.clone()),
            ("sha256", self.sha256.clone()),
            ("size", format!("{} bytes", self.size)),
            ("format", format!("{}, {}", self.format, self.compression)),
            ("inodes", self.inodes.to_string()),
        ];
        if let Some(counts) = &self.contents {
            let Counts { files, directories, symlinks, devices, others, .. } = counts;
            rows.push(("files", format!("{files}, {} bytes", counts.content)));
            rows.push(("hard links", counts.hard_links.to_string()));
            rows.push(("directories", directories.to_string()));
            rows.push(("symlinks", symlinks.to_string()));
            rows.push(("devices", devices.to_string()));
            rows.push(("others", others.to_string()));
        }
        if let Some(config) = &self.config {
            rows.push(("config", config.get().to_owned()));
        }
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<12} {value}");
            text
        })
    }
}

fn compression(number: u64) -> String {
    match number {
        1 => "zlib".to_owned(),
        2 => "lzma".to_owned(),
        3 => "lzo".to_owned(),
        4 => "xz".to_owned(),
        5 => "lz4".to_owned(),
        6 => "zstd".to_owned(),
        other => format!("compressor {other}"),
    }
}
