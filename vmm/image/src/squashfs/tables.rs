//! What inodes refer to by number: owners and sets of extended attributes.

use std::collections::BTreeMap;

use super::NONE;
use super::metadata::{self, Metadata};
use super::output::Output;
use crate::archive::Xattrs;
use crate::error::Error;

/// An inode without extended attributes.
pub const NO_XATTRS: u32 = u32::MAX;

/// The namespaces of attributes that squashfs knows, and their numbers.
const PREFIXES: [(&[u8], u16); 3] = [(b"user.", 0), (b"trusted.", 1), (b"security.", 2)];

/// Owners and attributes of all nodes written so far.
#[derive(Default)]
pub struct Tables {
    numbers: BTreeMap<u32, u16>,
    owners: Vec<u8>,
    sets: BTreeMap<Vec<u8>, u32>,
    /// For each set, its attributes as the image has them, and how many they are.
    encoded: Vec<(Vec<u8>, u32)>,
    left_out: u64,
}

impl Tables {
    /// The number of a user or group.
    pub fn owner(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = u16::try_from(self.numbers.len()).ok().filter(|number| *number < u16::MAX);
        let number = number.ok_or(Error::Owners)?;
        self.numbers.insert(id, number);
        self.owners.extend(id.to_le_bytes());
        Ok(number)
    }

    /// The number of a set of attributes. What squashfs has no place for is left out and counted.
    pub fn xattrs(&mut self, xattrs: &Xattrs) -> Result<u32, Error> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for (name, value) in xattrs {
            let known = PREFIXES.iter().find_map(|(prefix, number)| {
                Some((*number, name.strip_prefix(*prefix).filter(|name| !name.is_empty())?))
            });
            let sizes = known.and_then(|(number, name)| {
                let name_size = u16::try_from(name.len()).ok().filter(|size| *size <= 255)?;
                Some((number, name, name_size, u32::try_from(value.len()).ok()?))
            });
            let Some((number, name, name_size, value_size)) = sizes else {
                self.left_out += 1;
                continue;
            };
            bytes.extend(number.to_le_bytes());
            bytes.extend(name_size.to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend(value_size.to_le_bytes());
            bytes.extend_from_slice(value);
            count += 1;
        }
        if count == 0 {
            return Ok(NO_XATTRS);
        }
        if let Some(number) = self.sets.get(&bytes) {
            return Ok(*number);
        }
        let number = u32::try_from(self.encoded.len()).map_err(|_| Error::Format("attributes"))?;
        self.sets.insert(bytes.clone(), number);
        self.encoded.push((bytes, count));
        Ok(number)
    }

    /// The owners as the image has them.
    pub fn owners(&self) -> Vec<u8> {
        self.owners.clone()
    }

    /// Number of owners.
    pub fn owner_count(&self) -> u16 {
        u16::try_from(self.numbers.len()).unwrap_or(u16::MAX)
    }

    /// So many attributes have no place in squashfs.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Writes the attributes. Returns where their table is, or [`NONE`].
    pub fn write_xattrs(&self, output: &mut Output) -> Result<u64, Error> {
        if self.encoded.is_empty() {
            return Ok(NONE);
        }
        let mut values = Metadata::default();
        let mut sets = Vec::new();
        for (bytes, count) in &self.encoded {
            sets.extend(metadata::reference(values.position()?).to_le_bytes());
            sets.extend(count.to_le_bytes());
            let length = u32::try_from(bytes.len()).map_err(|_| Error::Format("attributes"))?;
            sets.extend(length.to_le_bytes());
            values.append(bytes);
        }
        let values = output.append(&values.into_bytes())?;
        let places = metadata::write_blocks(output, &sets)?;
        let number = u32::try_from(self.encoded.len()).map_err(|_| Error::Format("attributes"))?;
        let mut table = values.to_le_bytes().to_vec();
        table.extend(number.to_le_bytes());
        table.extend([0; 4]);
        table.extend(places);
        output.append(&table)
    }
}
