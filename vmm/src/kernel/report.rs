//! What follows from what is known.

use std::path::Path;

use serde::Serialize;

use super::image::Format;
use super::sources::{Known, Place};
use super::table::{NEEDS, Need, Weight};

/// One requirement, as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What people call it.
    pub name: &'static str,
    /// `built in`, `module`, …
    pub state: &'static str,
    /// No guest works without it, and it is not there.
    pub fatal: bool,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// What would mend it, if it is not there.
    pub remedy: Option<String>,
}

/// Whether a kernel can work here.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The kernel.
    pub file: String,
    /// Nothing that is needed is missing, and enough is known to say so.
    pub works: bool,
    /// The same in words.
    pub verdict: String,
    /// The image's format.
    pub format: Format,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// There was a configuration to look at.
    pub has_config: bool,
    /// There was a directory of modules to look at.
    pub has_modules: bool,
    /// The requirements.
    pub checks: Vec<Row>,
}

impl Report {
    /// Goes through the table.
    pub fn of(file: &Path, known: &Known) -> Self {
        let places: Vec<(&Need, Place)> =
            NEEDS.iter().map(|need| (need, known.place(need))).collect();
        let there = |place: &Place| matches!(place, Place::BuiltIn | Place::Module);
        let roots = || places.iter().filter(|(need, _)| need.weight == Weight::Root);
        let has_root = roots().any(|(_, place)| there(place));
        let unknown = |weight| {
            places.iter().any(|(need, place)| {
                need.weight == weight && need.module.is_some() && *place == Place::NotKnown
            })
        };
        let too_little = unknown(Weight::Needed) || (!has_root && unknown(Weight::Root));
        let checks: Vec<Row> =
            places.iter().map(|(need, place)| row(need, place, has_root)).collect();
        let missing: Vec<&str> =
            checks.iter().filter(|row| row.fatal).map(|row| row.name).collect();
        let verdict = match known.format {
            Format::Unknown => "it is no kernel for x86-64 that casemate boots".to_owned(),
            Format::Bzimage32 => "it has no 64-bit entry".to_owned(),
            _ if !missing.is_empty() => format!("it lacks {}", missing.join(", ")),
            _ if too_little => "not known: give its --kconfig FILE or its --modules DIR".to_owned(),
            _ => "it can work here".to_owned(),
        };
        let bootable = matches!(known.format, Format::Bzimage | Format::Elf);
        Self {
            file: file.display().to_string(),
            works: bootable && missing.is_empty() && !too_little,
            verdict,
            format: known.format,
            version: known.version.clone(),
            has_config: known.config.is_some(),
            has_modules: known.modules.is_some(),
            checks,
        }
    }
}

/// `has_root`: there is one kind of root file system at least.
fn row(need: &Need, place: &Place, has_root: bool) -> Row {
    let absent = matches!(place, Place::Missing | Place::ModuleNotThere);
    let fatal = match need.weight {
        Weight::Needed => absent,
        Weight::Root => absent && !has_root,
        Weight::Useful => false,
    };
    let (state, remedy) = match place {
        Place::BuiltIn => ("built in", None),
        Place::Module => ("module", None),
        Place::ModuleNotThere => ("module, not there", Some("give --modules DIR".to_owned())),
        Place::Missing => {
            let remedy = format!("a kernel with CONFIG_{}", need.symbol);
            ("missing", fatal.then_some(remedy))
        }
        Place::NotKnown => ("not known", None),
    };
    Row { name: need.name, state, fatal, needed_for: need.why, remedy }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// A kernel with everything built in but what `change` takes away.
    fn report(format: Format, change: impl Fn(&mut BTreeMap<String, String>)) -> Report {
        let mut config: BTreeMap<String, String> =
            NEEDS.iter().map(|need| (need.symbol.to_owned(), "y".to_owned())).collect();
        change(&mut config);
        let known = Known { format, version: None, config: Some(config), modules: None };
        Report::of(Path::new("k"), &known)
    }

    #[test]
    fn one_thing_missing_is_enough_and_is_named() {
        assert!(report(Format::Elf, |_| {}).works);
        for need in NEEDS {
            let report = report(Format::Bzimage, |config| {
                config.remove(need.symbol);
            });
            let fatal = need.weight == Weight::Needed;
            assert_eq!(report.works, !fatal, "{}", need.name);
            assert_eq!(report.verdict.contains(need.name), fatal, "{}", report.verdict);
            let row = report.checks.iter().find(|row| row.name == need.name).unwrap();
            assert_eq!((row.state, row.fatal), ("missing", fatal));
        }
    }

    #[test]
    fn one_kind_of_root_is_enough() {
        let roots = ["SQUASHFS", "EXT4_FS", "EROFS_FS"];
        for kept in roots {
            assert!(
                report(Format::Elf, |config| config
                    .retain(|symbol, _| symbol == kept || !roots.contains(&symbol.as_str())))
                .works
            );
        }
        let none = report(Format::Elf, |config| {
            config.retain(|symbol, _| !roots.contains(&symbol.as_str()))
        });
        assert_eq!(none.verdict, "it lacks squashfs, ext4, erofs");
    }

    #[test]
    fn modules_have_to_be_there() {
        let module = |config: &mut BTreeMap<String, String>| {
            config.insert("VIRTIO_BLK".to_owned(), "m".to_owned());
        };
        let report = report(Format::Elf, module);
        assert!(!report.works && report.verdict.contains("virtio_blk"));
        let row = report.checks.iter().find(|row| row.name == "virtio_blk").unwrap();
        assert_eq!(row.remedy.as_deref(), Some("give --modules DIR"));
    }

    #[test]
    fn other_images_and_too_little_known() {
        assert!(!report(Format::Unknown, |_| {}).works);
        assert!(!report(Format::Bzimage32, |_| {}).works);
        let known = |modules: Option<(BTreeSet<String>, BTreeSet<String>)>| Known {
            format: Format::Elf,
            version: None,
            config: None,
            modules,
        };
        let nothing = Report::of(Path::new("k"), &known(None));
        assert!(!nothing.works && nothing.verdict.contains("--kconfig"), "{}", nothing.verdict);
        let drivers = NEEDS.iter().filter_map(|need| need.module).map(str::to_owned).collect();
        let modules = Report::of(Path::new("k"), &known(Some((drivers, BTreeSet::new()))));
        assert!(modules.works, "{}", modules.verdict);
    }
}
