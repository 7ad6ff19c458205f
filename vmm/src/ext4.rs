//! An empty ext4 file system, for the scratch disk: the guest's root may have no program to make one.
//!
//! Linux: filesystems/ext4 (super block, group descriptors, inode table, directory entries). Blocks of
//! 4 KiB, no journal and no backups, since it is gone with the run. The file has to be empty and
//! sparse: all that is zero is not written.
//!
//! | block of a group | what |
//! |---|---|
//! | 0, and as many as it takes | in the first group: super block, group descriptors |
//! | then 2 | bitmaps of blocks and of inodes |
//! | then 512 | inodes |
//! | then 2 | in the first group: the root directory, lost+found |

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

const BLOCK: u64 = 4096;
const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
const INODES_PER_GROUP: u64 = 8192;
const INODE: usize = 256;
const INODE_BLOCKS: u64 = INODES_PER_GROUP * INODE as u64 / BLOCK;
const DESCRIPTOR: usize = 32;
/// Blocks of every group that hold no files.
const OVERHEAD: u64 = 2 + INODE_BLOCKS;
/// Inodes that are taken from the start: ten reserved ones, and lost+found.
const TAKEN: u64 = 11;
const ROOT: u64 = 2;

/// The smallest and the largest size in bytes.
pub const SIZES: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 40;

/// How a file system of some size is laid out.
struct Layout {
    blocks: u64,
    groups: u64,
    /// Blocks of group descriptors.
    descriptors: u64,
}

/// Makes an empty file system of at most `size` bytes, within [`SIZES`], and gives the file that length.
pub fn format(file: &File, size: u64) -> Result<()> {
    write(file, size).context("cannot make the scratch disk's file system")
}

fn write(file: &File, size: u64) -> Result<()> {
    let layout = Layout::of(size);
    file.set_len(size)?;
    let mut descriptors = Vec::new();
    let mut free = 0;
    for group in 0..layout.groups {
        let at = layout.bitmaps(group);
        file.write_all_at(&layout.block_bitmap(group), at * BLOCK)?;
        file.write_all_at(&inode_bitmap(group), (at + 1) * BLOCK)?;
        descriptors.extend_from_slice(&layout.descriptor(group)?);
        free += layout.free_blocks(group);
    }
    file.write_all_at(&layout.super_block(free)?, 1024)?;
    file.write_all_at(&descriptors, BLOCK)?;
    let table = (layout.bitmaps(0) + 2) * BLOCK;
    let data = layout.bitmaps(0) + OVERHEAD;
    file.write_all_at(&inode(0o040_755, 3, data)?, table + (ROOT - 1) * INODE as u64)?;
    file.write_all_at(&inode(0o040_700, 2, data + 1)?, table + (TAKEN - 1) * INODE as u64)?;
    let root = [(".", ROOT), ("..", ROOT), ("lost+found", TAKEN)];
    file.write_all_at(&directory(&root)?, data * BLOCK)?;
    file.write_all_at(&directory(&[(".", TAKEN), ("..", ROOT)])?, (data + 1) * BLOCK)?;
    Ok(())
}

impl Layout {
    fn of(size: u64) -> Self {
        let blocks = size / BLOCK;
        // A last group without room for files is none.
        let rest = blocks % BLOCKS_PER_GROUP;
        let blocks = if blocks > rest && rest < OVERHEAD + 64 { blocks - rest } else { blocks };
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        Self { blocks, groups, descriptors: (groups * DESCRIPTOR as u64).div_ceil(BLOCK) }
    }

    /// The block with the bitmap of blocks; that of inodes and the inodes follow.
    fn bitmaps(&self, group: u64) -> u64 {
        group * BLOCKS_PER_GROUP + if group == 0 { 1 + self.descriptors } else { 0 }
    }

    fn blocks_in(&self, group: u64) -> u64 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// Blocks at the start of a group that are taken.
    fn taken(&self, group: u64) -> u64 {
        OVERHEAD + if group == 0 { 1 + self.descriptors + 2 } else { 0 }
    }

    fn free_blocks(&self, group: u64) -> u64 {
        self.blocks_in(group) - self.taken(group)
    }

    fn block_bitmap(&self, group: u64) -> Vec<u8> {
        let (taken, end) = (self.taken(group), self.blocks_in(group));
        bitmap(|block| block < taken || block >= end)
    }

    fn descriptor(&self, group: u64) -> Result<[u8; DESCRIPTOR]> {
        let at = self.bitmaps(group);
        let (inodes, directories) =
            if group == 0 { (INODES_PER_GROUP - TAKEN, 2) } else { (INODES_PER_GROUP, 0) };
        let mut bytes = [0; DESCRIPTOR];
        for (index, block) in [at, at + 1, at + 2].into_iter().enumerate() {
            put32(&mut bytes, 4 * index, block)?;
        }
        put16(&mut bytes, 12, self.free_blocks(group))?;
        put16(&mut bytes, 14, inodes)?;
        put16(&mut bytes, 16, directories)?;
        Ok(bytes)
    }

    fn super_block(&self, free: u64) -> Result<[u8; 1024]> {
        /// Extended attributes, indexed directories, backups where `s_backup_bgs` says: nowhere.
        const COMPATIBLE: u64 = 0x8 | 0x20 | 0x200;
        /// Types in directories, extents.
        const INCOMPATIBLE: u64 = 0x2 | 0x40;
        /// Large and huge files, more than 65,000 subdirectories, inodes with nanoseconds.
        const READ_ONLY: u64 = 0x2 | 0x8 | 0x20 | 0x40;
        let inodes = self.groups * INODES_PER_GROUP;
        let mut bytes = [0; 1024];
        let fields32 = [
            (0, inodes),
            (4, self.blocks),
            (12, free),
            (16, inodes - TAKEN),
            (24, 2), // blocks of 2^(10+2) bytes
            (28, 2),
            (32, BLOCKS_PER_GROUP),
            (36, BLOCKS_PER_GROUP),
            (40, INODES_PER_GROUP),
            (76, 1), // revision
            (84, TAKEN),
            (92, COMPATIBLE),
            (96, INCOMPATIBLE),
            (100, READ_ONLY),
            (0x160, 1), // signed directory hashes
        ];
        for (at, value) in fields32 {
            put32(&mut bytes, at, value)?;
        }
        // No number of mounts, magic number, clean, go on after errors; inodes' sizes.
        let fields16 = [
            (54, 0xffff),
            (56, 0xef53),
            (58, 1),
            (60, 1),
            (88, INODE as u64),
            (0x15c, 32),
            (0x15e, 32),
        ];
        for (at, value) in fields16 {
            put16(&mut bytes, at, value)?;
        }
        bytes[104..120].copy_from_slice(b"casemate-scratch");
        // The seed of hashes in directories, and their kind: half MD4.
        bytes[236..252].copy_from_slice(b"scratch-casemate");
        bytes[252] = 1;
        Ok(bytes)
    }
}

fn bitmap(is_taken: impl Fn(u64) -> bool) -> Vec<u8> {
    (0..BLOCK)
        .map(|byte| (0..8).fold(0, |bits, bit| bits | u8::from(is_taken(8 * byte + bit)) << bit))
        .collect()
}

fn inode_bitmap(group: u64) -> Vec<u8> {
    let taken = if group == 0 { TAKEN } else { 0 };
    bitmap(|inode| inode < taken || inode >= INODES_PER_GROUP)
}

/// A directory of one block.
fn inode(mode: u64, links: u64, block: u64) -> Result<[u8; INODE]> {
    let mut bytes = [0; INODE];
    put16(&mut bytes, 0, mode)?;
    put32(&mut bytes, 4, BLOCK)?;
    put16(&mut bytes, 26, links)?;
    put32(&mut bytes, 28, BLOCK / 512)?;
    put32(&mut bytes, 40, block)?;
    put16(&mut bytes, 128, 32)?;
    Ok(bytes)
}

/// A block of entries, all of which are directories. The last takes the rest of the block.
fn directory(entries: &[(&str, u64)]) -> Result<Vec<u8>> {
    const DIRECTORY: u8 = 2;
    let mut block = vec![0; usize::try_from(BLOCK)?];
    let mut at = 0;
    for (index, (name, inode)) in entries.iter().enumerate() {
        let last = index + 1 == entries.len();
        let len = if last { block.len() - at } else { (8 + name.len()).next_multiple_of(4) };
        put32(&mut block, at, *inode)?;
        put16(&mut block, at + 4, u64::try_from(len)?)?;
        block[at + 6] = u8::try_from(name.len())?;
        block[at + 7] = DIRECTORY;
        block[at + 8..at + 8 + name.len()].copy_from_slice(name.as_bytes());
        at += len;
    }
    Ok(block)
}

fn put32(bytes: &mut [u8], at: usize, value: u64) -> Result<()> {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(value)?.to_le_bytes());
    Ok(())
}

fn put16(bytes: &mut [u8], at: usize, value: u64) -> Result<()> {
    bytes[at..at + 2].copy_from_slice(&u16::try_from(value)?.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn e2fsck_finds_nothing_to_mend() {
        let mib = 1 << 20;
        let sizes = [
            *SIZES.start(),
            100 * mib + 4096,
            128 * mib,
            // The last group has no room, hardly any, some.
            128 * mib + 4096,
            128 * mib + (OVERHEAD + 63) * BLOCK,
            128 * mib + (OVERHEAD + 64) * BLOCK,
            1000 * mib + 512,
            // More groups than a block has descriptors.
            20 << 30,
        ];
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        for size in sizes {
            let file = tempfile::NamedTempFile::new().unwrap();
            format(file.as_file(), size).unwrap();
            assert_eq!(file.as_file().metadata().unwrap().len(), size);
            let mut e2fsck = Command::new("e2fsck");
            let e2fsck = e2fsck.env("PATH", &path).args(["-f", "-n"]).arg(file.path());
            match e2fsck.output() {
                Ok(output) => assert!(
                    output.status.success(),
                    "{size}: {}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                ),
                Err(_) => eprintln!("not run: e2fsck of a scratch disk: needs the program e2fsck"),
            }
        }
    }
}
