//! Kernels and root images for Linux guests: made by the scripts, found in their cache.

use std::path::PathBuf;

/// Something that a script makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixture {
    /// Debian's kernel of a flavour, as a bzImage.
    Kernel(&'static str),
    /// The same, taken out of the bzImage.
    Elf(&'static str),
    /// The lean kernel.
    Lean,
    /// A Debian userland with python3.
    Rootfs,
    /// The same with a C compiler.
    Compiler,
    /// A static busybox.
    Busybox,
}

impl Fixture {
    /// Where it is, or why it is not there and what to do.
    pub fn find(self) -> Result<PathBuf, String> {
        let cache = cache().ok_or("needs a cache directory: HOME is not set")?;
        let there = |path: PathBuf| path.exists().then_some(path);
        match self {
            Self::Kernel(flavour) => kernel(flavour, "vmlinuz-")
                .ok_or_else(|| format!("needs a kernel: run scripts/debian-kernel {flavour}")),
            Self::Elf(flavour) => kernel(flavour, "vmlinux-").ok_or_else(|| {
                format!("needs a kernel: run scripts/debian-kernel {flavour} --elf")
            }),
            Self::Lean => there(cache.join("kernels/lean/bzImage"))
                .ok_or_else(|| "needs the lean kernel: run scripts/guest-kernel".to_owned()),
            Self::Rootfs => there(cache.join("rootfs/debian-python3.squashfs"))
                .ok_or_else(|| "needs a Debian userland: run scripts/debian-rootfs".to_owned()),
            Self::Compiler => {
                there(cache.join("rootfs/debian-python3_gcc_libc6-dev_make.squashfs")).ok_or_else(
                    || "needs a compiler: run scripts/debian-rootfs gcc libc6-dev make".to_owned(),
                )
            }
            Self::Busybox => there(cache.join("busybox/busybox"))
                .ok_or_else(|| "needs a static busybox: run scripts/emulated-host true".to_owned()),
        }
    }

    /// Where it is.
    pub fn path(self) -> PathBuf {
        self.find().unwrap()
    }
}

fn kernel(flavour: &str, prefix: &str) -> Option<PathBuf> {
    let boot = cache()?.join(format!("kernels/debian-{flavour}/boot"));
    let entries = std::fs::read_dir(boot).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
    })
}

/// The directory that the scripts fill.
fn cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("CASEMATE_CACHE")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("casemate")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".cache/casemate")))
}
