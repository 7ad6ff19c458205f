//! What is known of a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, bail};

use super::Files;
use super::image::{self, Format};
use super::table::Need;
use crate::host::modules::name;

/// The longest configuration or index that is read, in bytes: ten times those of any distribution.
const MOST: u64 = 16 << 20;

/// Where a kernel has something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the image.
    BuiltIn,
    /// In a module that is there.
    Module,
    /// In a module that is not there.
    ModuleNotThere,
    /// Nowhere.
    Missing,
    /// There is no file that would tell.
    NotKnown,
}

/// What is known of a kernel.
#[derive(Clone, Debug)]
pub struct Known {
    /// The image's format.
    pub format: Format,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// The configuration: symbols and their values.
    pub config: Option<BTreeMap<String, String>>,
    /// Names of the modules that are there, and of what could be a module and is built in.
    pub modules: Option<(BTreeSet<String>, BTreeSet<String>)>,
}

impl Known {
    /// Looks into the files.
    pub fn of(files: Files) -> Result<Self> {
        let (format, version) = image::look(files.image)?;
        let config = files.config.map(text).transpose().context("its configuration")?;
        let modules = match files.modules {
            None => None,
            Some([there, built_in]) => Some((names(there)?, names(built_in)?)),
        };
        Ok(Self { format, version, config: config.as_deref().map(symbols), modules })
    }

    /// Where the kernel has what `need` names.
    pub fn place(&self, need: &Need) -> Place {
        let there =
            |module: &str| self.modules.as_ref().is_some_and(|(there, _)| there.contains(module));
        let built_in = |module: &str| {
            self.modules.as_ref().is_some_and(|(_, built_in)| built_in.contains(module))
        };
        let value = self.config.as_ref().map(|config| config.get(need.symbol).map(String::as_str));
        match (value, need.module) {
            (Some(Some("y")), _) => Place::BuiltIn,
            (_, Some(module)) if built_in(module) => Place::BuiltIn,
            (_, Some(module)) if there(module) => Place::Module,
            (Some(Some("m")), _) => Place::ModuleNotThere,
            (Some(_), _) => Place::Missing,
            (None, Some(_)) if self.modules.is_some() => Place::Missing,
            (None, _) => Place::NotKnown,
        }
    }
}

fn text(file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len())? > MOST {
        bail!("longer than {} MiB", MOST >> 20);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The symbols of a configuration that are set, without `CONFIG_`.
fn symbols(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
    lines.map(|(symbol, value)| (symbol.to_owned(), value.to_owned())).collect()
}

/// The modules that an index names, a line each, with a colon behind or not.
fn names(index: Option<File>) -> Result<BTreeSet<String>> {
    let text = index.map(text).transpose().context("its modules")?.unwrap_or_default();
    Ok(text.lines().map(|line| name(line.split(':').next().unwrap_or(line))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::table::NEEDS;

    fn known(config: Option<&str>, modules: Option<(&[&str], &[&str])>) -> Known {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Known {
            format: Format::Bzimage,
            version: None,
            config: config.map(symbols),
            modules: modules.map(|(there, built_in)| (set(there), set(built_in))),
        }
    }

    #[test]
    fn the_configuration_and_the_modules_decide_together() {
        let blk: &[&str] = &["virtio_blk"];
        let (y, m) = (Some("CONFIG_VIRTIO_BLK=y\n"), Some("CONFIG_VIRTIO_BLK=m\n"));
        let no = Some("# CONFIG_VIRTIO_BLK is not set\nCONFIG_VIRTIO=y\n");
        let rows = [
            (y, None, Place::BuiltIn),
            (y, Some((&[][..], &[][..])), Place::BuiltIn),
            (m, None, Place::ModuleNotThere),
            (m, Some((&[], &[])), Place::ModuleNotThere),
            (m, Some((blk, &[])), Place::Module),
            (no, None, Place::Missing),
            (no, Some((&[], &[])), Place::Missing),
            (None, Some((blk, &[])), Place::Module),
            (None, Some((&[], blk)), Place::BuiltIn),
            (None, Some((&[], &[])), Place::Missing),
            (None, None, Place::NotKnown),
        ];
        let need = NEEDS.iter().find(|need| need.name == "virtio_blk").unwrap();
        for (config, modules, place) in rows {
            assert_eq!(known(config, modules).place(need), place, "{config:?} {modules:?}");
        }
    }

    #[test]
    fn what_is_no_module_is_known_by_the_configuration_alone() {
        let need = NEEDS.iter().find(|need| need.name == "acpi").unwrap();
        assert_eq!(known(Some("CONFIG_ACPI=y"), None).place(need), Place::BuiltIn);
        assert_eq!(known(Some("CONFIG_ACPIX=y"), None).place(need), Place::Missing);
        assert_eq!(known(None, Some((&[], &[]))).place(need), Place::NotKnown);
    }
}
