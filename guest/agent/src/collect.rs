//! What comes out: the directories that the command leaves files in for the host, as archives on disks.
//!
//! Everything is told as it is, links and devices too: what may come out is for the host to say, which
//! believes nothing of it anyway.

use std::fs::{File, FileType, Metadata};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use protocol::collected::{ARCHIVE, Mark};
use protocol::task::Task;
use tar::{Builder, EntryType, Header};

use crate::console;
use crate::failure::Failed;
use crate::mounts;
use crate::user::User;

/// Makes the directories, for the command's user to write to.
pub fn prepare(task: &Task) -> Result<(), Failed> {
    if task.outputs.is_empty() {
        return Ok(());
    }
    let user = task.user.as_deref().map(User::find).transpose()?;
    for (_, place) in &task.outputs {
        let failed =
            |why: String| Failed::setup(format!("cannot make {place:?} for output: {why}"));
        mounts::directories(place).map_err(|errno| failed(crate::failure::cause(errno)))?;
        if let Some(user) = &user {
            chown(place, Some(user.uid), Some(user.gid))
                .map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(())
}

/// Writes each directory to its disk, and last of all the mark.
pub fn collect(task: &Task) {
    for (disk, place) in &task.outputs {
        if let Err(error) = write(Path::new(disk), Path::new(place)) {
            // The host will miss the mark.
            console::say(&format!("cannot write {disk:?}: {error}"));
        }
    }
}

fn write(disk: &Path, place: &Path) -> io::Result<()> {
    let mut disk = File::options().write(true).open(disk)?;
    disk.seek(SeekFrom::Start(ARCHIVE))?;
    let mark = match archive(&disk, place) {
        Ok(()) => Mark::Complete(disk.stream_position()?.saturating_sub(ARCHIVE)),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Mark::Failed(format!("{} holds more than may come out (--max-out)", place.display()))
        }
        Err(error) => Mark::Failed(error.to_string()),
    };
    disk.sync_all()?;
    disk.write_all_at(&mark.encode(), 0)?;
    disk.sync_all()
}

/// Writes everything below `place`, directories before what is in them.
fn archive(disk: &File, place: &Path) -> io::Result<()> {
    let mut builder = Builder::new(BufWriter::with_capacity(1 << 20, disk));
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(place.join(&directory))? {
            let name = directory.join(entry?.file_name());
            let path = place.join(&name);
            let metadata = path.symlink_metadata()?;
            add(&mut builder, &name, &path, &metadata)
                .map_err(|error| io::Error::new(error.kind(), format!("{name:?}: {error}")))?;
            if metadata.is_dir() {
                directories.push(name);
            }
        }
    }
    builder.into_inner()?.flush()
}

fn add(
    builder: &mut Builder<impl Write>,
    name: &Path,
    path: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let kind = kind(metadata.file_type());
    header.set_entry_type(kind);
    match kind {
        EntryType::Regular => {
            header.set_size(metadata.len());
            builder.append_data(&mut header, name, File::open(path)?)
        }
        EntryType::Symlink => builder.append_link(&mut header, name, std::fs::read_link(path)?),
        _ => builder.append_data(&mut header, name, io::empty()),
    }
}

fn kind(of: FileType) -> EntryType {
    match () {
        () if of.is_file() => EntryType::Regular,
        () if of.is_dir() => EntryType::Directory,
        () if of.is_symlink() => EntryType::Symlink,
        () if of.is_char_device() => EntryType::Char,
        () if of.is_block_device() => EntryType::Block,
        // An archive has no sockets.
        () => EntryType::Fifo,
    }
}
