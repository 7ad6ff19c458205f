//! Tar archives, made byte by byte, so that they can be as wrong as a test wants.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// An archive that is being made.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

/// What an entry has besides its kind and path.
#[derive(Clone, Default)]
pub struct More<'a> {
    /// Where it leads.
    pub link: &'a str,
    /// What is in it.
    pub content: &'a [u8],
    /// Permissions; 0: 0644.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// Numbers of a device.
    pub device: (u32, u32),
    /// The length that it claims to have, if that is not its own.
    pub claimed: Option<u64>,
}

impl Tar {
    /// Adds an entry as it is, whatever its path.
    pub fn add(mut self, kind: EntryType, path: &str, more: &More<'_>) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if more.mode == 0 { 0o644 } else { more.mode });
        header.set_uid(more.owner.0);
        header.set_gid(more.owner.1);
        header.set_mtime(1_000_000_000);
        header.set_size(more.claimed.unwrap_or(more.content.len() as u64));
        header.set_device_major(more.device.0).unwrap();
        header.set_device_minor(more.device.1).unwrap();
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..more.link.len()].copy_from_slice(more.link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(more.content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a file.
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, path, &More { content, ..More::default() })
    }

    /// Adds a directory.
    pub fn directory(self, path: &str) -> Self {
        self.add(EntryType::Directory, path, &More { mode: 0o755, ..More::default() })
    }

    /// Adds a link.
    pub fn link(self, kind: EntryType, path: &str, link: &str) -> Self {
        self.add(kind, path, &More { link, mode: 0o777, ..More::default() })
    }

    /// Adds pax records for the next entry.
    pub fn pax(self, key: &str, value: &[u8]) -> Self {
        let rest = key.len() + value.len() + 3;
        let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
        let record = [format!("{} {key}=", rest + digits).as_bytes(), value, b"\n"].concat();
        let more = More { content: &record, ..More::default() };
        self.add(EntryType::XHeader, "pax", &more)
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The archive, without what marks its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }

    /// The archive.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A SHA-256 in digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
