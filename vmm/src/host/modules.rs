//! Kernel modules that the guest needs, in the order in which they have to be loaded.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

/// What the agent needs and a distribution's kernel has as modules.
pub const WANTED: [&str; 7] =
    ["virtio_mmio", "virtio_blk", "virtio_console", "squashfs", "ext4", "erofs", "overlay"];

/// A module: its file name and its bytes.
pub type Module = (String, Vec<u8>);

/// Reads the wanted modules of `dir` and what they depend on, dependencies first. What is not in
/// `modules.dep` is taken for built in; the agent will say if it is not.
pub fn load(dir: &Path) -> Result<Vec<Module>> {
    let index = dir.join("modules.dep");
    let directory =
        File::open(dir).with_context(|| format!("cannot use the modules in {dir:?}"))?;
    let text = super::open_below("module index", &directory, Path::new("modules.dep"))
        .and_then(super::read)
        .with_context(|| format!("cannot use the modules in {dir:?}"))?;
    let text = String::from_utf8(text).with_context(|| format!("{index:?} is not text"))?;
    let mut modules = Vec::new();
    for path in order(&text) {
        let file = super::open_below("module", &directory, Path::new(path))
            .with_context(|| format!("cannot use the modules in {dir:?}"))?;
        let bytes = super::read(file).with_context(|| format!("cannot read module {path:?}"))?;
        let name = path.rsplit('/').next().unwrap_or(path);
        modules.push((name.to_owned(), bytes));
    }
    Ok(modules)
}

/// Paths of the wanted modules in load order, from the text of modules.dep: `path: dependency …`,
/// where a line lists everything a module needs and what has to be loaded first comes last.
fn order(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let index: HashMap<String, (&str, &str)> =
        lines.map(|(path, needs)| (name(path), (path, needs))).collect();
    let mut order = Vec::new();
    for (path, needs) in WANTED.iter().filter_map(|wanted| index.get(*wanted)) {
        for path in needs.split_ascii_whitespace().rev().chain([*path]) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    order
}

/// modules.dep, which lists the modules in `dir`, and modules.builtin, which lists what could be one and is
/// not, if there is such a file.
pub fn indices(dir: &Path) -> Result<[Option<File>; 2]> {
    let directory =
        File::open(dir).with_context(|| format!("cannot use the modules in {dir:?}"))?;
    let open = |name| super::open_below("module index", &directory, Path::new(name));
    let there =
        open("modules.dep").with_context(|| format!("cannot use the modules in {dir:?}"))?;
    Ok([Some(there), open("modules.builtin").ok()])
}

/// `virtio_mmio` of `kernel/drivers/virtio/virtio-mmio.ko.xz`.
pub fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let text = "\
kernel/fs/ext4/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko
kernel/fs/mbcache.ko:
kernel/drivers/virtio/virtio-mmio.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko
";
        let names: Vec<String> = order(text).into_iter().map(name).collect();
        let expected = [
            "virtio",
            "virtio_ring",
            "virtio_mmio",
            "virtio_console",
            "crc16",
            "jbd2",
            "mbcache",
            "ext4",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn no_module_is_outside_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules");
        std::fs::create_dir(&modules).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(modules.join("erofs.ko"), "module").unwrap();
        std::os::unix::fs::symlink("erofs.ko", modules.join("ext4.ko")).unwrap();
        std::os::unix::fs::symlink("../secret", modules.join("overlay.ko")).unwrap();
        let absolute = dir.path().join("secret").display().to_string().replace("secret", "overlay");
        std::fs::write(dir.path().join("overlay"), "secret").unwrap();
        let rows = [
            ("erofs.ko:\next4.ko:\n", true),
            ("overlay.ko:\n", false),
            ("../overlay:\n", false),
            (&format!("{absolute}:\n"), false),
        ];
        for (index, inside) in rows {
            std::fs::write(modules.join("modules.dep"), index).unwrap();
            let loaded = load(&modules);
            assert_eq!(loaded.is_ok(), inside, "{index}: {loaded:?}");
            if let Err(error) = loaded {
                assert!(format!("{error:#}").contains("leads out"), "{error:#}");
            }
        }
    }

    #[test]
    fn a_directory_without_an_index_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", load(dir.path()).unwrap_err());
        assert!(error.contains("modules.dep") && error.contains("No such file"), "{error}");
    }
}
