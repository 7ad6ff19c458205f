//! The kernel modules of the initramfs.

use std::ffi::OsString;
use std::fmt;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::failure::cause;
use crate::mounts::forget;

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks the file (since Linux 5.17, where configured).
const COMPRESSED: i32 = 4;

/// The modules that did not load: worth a word only when something turns out to be missing.
#[derive(Debug, Default)]
pub struct Modules {
    failed: Vec<(OsString, Errno)>,
}

impl Modules {
    /// Loads modules in this order. One that is already there is fine. Each file is removed at once,
    /// since the initramfs lives in the guest's memory.
    pub fn load(paths: &[OsString]) -> Self {
        let mut failed = Vec::new();
        for path in paths {
            match load(path) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => failed.push((path.clone(), errno)),
            }
            forget(path);
        }
        Self { failed }
    }
}

/// A half sentence on each module that failed, to follow another one; nothing when all is well.
impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, errno) in &self.failed {
            write!(f, "; loading {} failed: {}", path.display(), cause(*errno))?;
        }
        Ok(())
    }
}

fn load(path: &OsString) -> Result<(), Errno> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    finit_module(&file, c"", flags(path))
}

fn flags(path: &OsString) -> i32 {
    let packed = [".xz", ".zst", ".gz"];
    let name = path.to_string_lossy();
    if packed.iter().any(|suffix| name.ends_with(suffix)) { COMPRESSED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_modules_are_told_by_their_name() {
        for (path, expected) in [
            ("/modules/overlay.ko", 0),
            ("/modules/overlay.ko.xz", COMPRESSED),
            ("/modules/overlay.ko.zst", COMPRESSED),
            ("/modules/overlay.ko.gz", COMPRESSED),
        ] {
            assert_eq!(flags(&path.into()), expected, "{path}");
        }
    }

    #[test]
    fn a_missing_module_is_remembered_by_name() {
        assert_eq!(Modules::default().to_string(), "");
        let modules = Modules::load(&["/none/a.ko".into(), "/none/b.ko".into()]);
        let text = "; loading /none/a.ko failed: No such file or directory\
                    ; loading /none/b.ko failed: No such file or directory";
        assert_eq!(modules.to_string(), text);
    }
}
