//! Which kernel runs when the user names none, and where a kernel's modules are.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A lean kernel if one was built, else the newest of the host that has its modules.
pub fn default() -> Result<PathBuf> {
    let lean = super::cache().map(|cache| cache.join("kernels/lean/bzImage"));
    lean.filter(|path| path.exists()).or_else(|| newest(Path::new("/boot"))).context(
        "no guest kernel: give --kernel FILE, build one with scripts/guest-kernel, \
         or fetch Debian's with scripts/debian-kernel cloud",
    )
}

/// The newest kernel in `boot` that can be read and has a module directory.
fn newest(boot: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(boot).ok()?;
    let usable = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        version(path).is_some()
            && modules_dir(path).is_some()
            && super::open("kernel", path).is_ok()
    });
    usable.max_by(|a, b| compare(version(a).unwrap_or_default(), version(b).unwrap_or_default()))
}

/// VERSION of `vmlinuz-VERSION` or `vmlinux-VERSION`.
fn version(kernel: &Path) -> Option<&str> {
    let name = kernel.file_name()?.to_str()?;
    name.strip_prefix("vmlinuz-").or_else(|| name.strip_prefix("vmlinux-"))
}

/// The module directory that belongs to `kernel` by its name: `../lib/modules/VERSION`.
pub fn modules_dir(kernel: &Path) -> Option<PathBuf> {
    let version = version(kernel)?;
    let root = kernel.parent()?.join("..");
    let dir = root.join("lib/modules").join(version);
    dir.join("modules.dep").is_file().then_some(dir)
}

/// Where the configuration of `kernel` may be: beside it or with its modules, by the names that
/// distributions and scripts/guest-kernel give it.
pub fn configs(kernel: &Path, modules: Option<&Path>) -> Vec<PathBuf> {
    let beside = version(kernel).map(|version| kernel.with_file_name(format!("config-{version}")));
    let plain = version(kernel).is_none().then(|| kernel.with_file_name("config"));
    beside.into_iter().chain(plain).chain(modules.map(|dir| dir.join("config"))).collect()
}

/// Compares versions: runs of digits as numbers, everything else as text.
fn compare(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> Vec<(u64, &str)> {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .map(|part| (part.parse().unwrap_or(0), part))
            .collect()
    }
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_read_them() {
        let ordered = ["5.10.0-9-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.3-amd64"];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        std::fs::create_dir(&boot).unwrap();
        assert_eq!(newest(&boot), None);
        for version in ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.0-amd64"] {
            std::fs::write(boot.join(format!("vmlinuz-{version}")), "x").unwrap();
        }
        for version in ["6.1.0-9-amd64", "6.1.0-10-amd64"] {
            let dir = root.path().join("lib/modules").join(version);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("modules.dep"), "").unwrap();
        }
        assert_eq!(newest(&boot), Some(boot.join("vmlinuz-6.1.0-10-amd64")));
    }
}
