//! The initramfs, built in memory for each run: the agent, the task and the kernel's modules.
//!
//! A cpio archive of the "newc" kind (Linux: driver-api/early-userspace/buffer-format), without
//! compression, in a sealed memfd. Nothing here is parsed by the launcher.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};
use protocol::task::{PATH, Task};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::host::modules::Module;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;
const CONSOLE: u32 = 0o020_600;

/// Builds the archive. `task.modules` is set to where the archive holds `modules`.
pub fn build(agent: &[u8], modules: &[Module], mut task: Task) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = memfd_create("initramfs", flags).context("cannot make a memfd")?;
    let mut archive = Archive { file: BufWriter::new(File::from(memfd)), entries: 0 };
    for name in ["dev", "proc", "sys", "modules"] {
        archive.add(name, DIRECTORY, &[])?;
    }
    // The kernel opens this for the agent before any device node exists.
    archive.add("dev/console", CONSOLE, &[])?;
    archive.add("init", PROGRAM, agent)?;
    task.modules = modules.iter().map(|(name, _)| format!("/modules/{name}").into()).collect();
    for (name, bytes) in modules {
        archive.add(&format!("modules/{name}"), DATA, bytes)?;
    }
    archive.add(PATH.trim_start_matches('/'), DATA, &task.encode())?;
    let file = trailer(archive.file)?.into_inner().map_err(|error| error.into_error())?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).context("cannot seal the initramfs")?;
    Ok(file)
}

struct Archive {
    file: BufWriter<File>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entries += 1;
        let mut entry = Builder::new(name).ino(self.entries).mode(mode);
        if mode == CONSOLE {
            entry = entry.rdev_major(5).rdev_minor(1);
        }
        let size = u32::try_from(bytes.len()).context("a file is too long for an initramfs")?;
        let mut writer = entry.write(&mut self.file, size);
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use cpio::newc::Reader;

    use super::*;

    #[test]
    fn the_archive_holds_what_the_kernel_and_the_agent_look_for() {
        let modules = [("a.ko".to_owned(), vec![1, 2, 3]), ("b.ko".to_owned(), vec![])];
        let task = Task { argv: vec!["true".into()], ..Task::default() };
        let mut file = build(b"agent", &modules, task).unwrap();
        assert!(file.set_len(0).is_err(), "not sealed");
        file.rewind().unwrap();
        let mut found = Vec::new();
        loop {
            let mut reader = Reader::new(file).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            found.push((reader.entry().name().to_owned(), reader.entry().mode(), bytes));
            file = reader.finish().unwrap();
        }
        let get = |name: &str| found.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!(get("init").1, PROGRAM);
        assert_eq!(get("init").2, b"agent");
        assert_eq!(get("modules/a.ko").2, [1, 2, 3]);
        assert_eq!(get("dev/console").1, CONSOLE);
        let task = Task::decode(&get("task").2).unwrap();
        assert_eq!(task.modules, ["/modules/a.ko", "/modules/b.ko"]);
        assert_eq!(task.argv, ["true"]);
    }
}
