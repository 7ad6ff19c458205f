//! squashfs 4.0, written: <https://dr-emann.github.io/squashfs/> describes the format.
//!
//! | file | writes |
//! |---|---|
//! | [`output`] | bytes, one after the other, up to a limit |
//! | [`data`] | contents: blocks, and fragments that small ends share |
//! | [`metadata`] | packed blocks of 8 KiB, and the tables that point at them |
//! | [`tables`] | owners, attributes |
//! | [`nodes`] | inodes and directories |
//!
//! Written here because no library in Rust writes extended attributes and hard links. The order of
//! everything follows from the input alone: contents in the order in which they come, nodes in the
//! order of their names. Every block is packed by itself, by deflate, on one thread.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::tree::Tree;
use crate::word::Counts;

pub mod data;
pub mod metadata;
pub mod nodes;
pub mod output;
pub mod tables;

use data::{Content, Data};
use output::Output;

/// What the super block begins with.
pub const MAGIC: u32 = 0x7371_7368;
/// Length of the super block in bytes.
pub const SUPER_BLOCK: usize = 96;
/// Length of a block of contents in bytes: what mksquashfs has by default.
pub const BLOCK: usize = 128 << 10;
/// The length that the file is rounded up to, in bytes: whole sectors and whole pages.
pub const ALIGNMENT: u64 = 4096;
/// Number of the compressor: deflate, in zlib's form, which every kernel with squashfs knows.
pub const ZLIB: u16 = 1;
/// A table that is not there.
pub const NONE: u64 = u64::MAX;
/// There are no extended attributes.
const NO_XATTRS: u16 = 1 << 9;

/// The second half of writing an image: the tables that say what the contents are.
///
/// `contents` has every file of `tree` that a name leads to. Returns what is in the image, the length
/// of the file system, and the number of attributes that squashfs cannot hold.
pub fn finish(
    mut data: Data,
    tree: &Tree,
    contents: &BTreeMap<usize, Content>,
) -> Result<(Output, Counts, u64), Error> {
    data.flush()?;
    let (mut output, fragments) = data.into_parts();
    let mut tables = tables::Tables::default();
    let nodes = nodes::write(tree, contents, &mut tables)?;
    let inode_table = output.append(&nodes.inodes)?;
    let directory_table = output.append(&nodes.directories)?;
    let fragment_count =
        u32::try_from(fragments.len()).map_err(|_| Error::Format("number of fragments"))?;
    let fragment_table = match fragments.is_empty() {
        true => NONE,
        false => metadata::write_table(&mut output, &data::fragment_entries(&fragments))?,
    };
    let owners = tables.owner_count();
    let id_table = metadata::write_table(&mut output, &tables.owners())?;
    let xattr_table = tables.write_xattrs(&mut output)?;
    let flags = if xattr_table == NONE { NO_XATTRS } else { 0 };
    let end = output.position();

    let mut block = Vec::with_capacity(SUPER_BLOCK);
    for number in [MAGIC, nodes.count, nodes.newest, 128 << 10, fragment_count] {
        block.extend(number.to_le_bytes());
    }
    let block_log = 17_u16;
    for number in [ZLIB, block_log, flags, owners, 4, 0] {
        block.extend(number.to_le_bytes());
    }
    let tables_at = [
        nodes.root,
        end,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        NONE,
    ];
    for number in tables_at {
        block.extend(number.to_le_bytes());
    }
    output.write_at(&block, 0)?;
    Ok((output, nodes.counts, tables.left_out()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_super_block_agrees_with_its_constants() {
        assert_eq!(BLOCK, 1 << 17);
        assert_eq!(5 * 4 + 6 * 2 + 8 * 8, SUPER_BLOCK);
    }
}
