//! `--print-config`: the options in force, as a profile that `--config` takes back.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, CommandFactory};
use toml::Value;

use super::profile::{is_flag, is_list, key};
use super::{Cli, RunArgs};
use crate::host;

/// An option's key, and what stands for it when it is not given.
pub type Chosen = (&'static str, OsString);

/// What `run` chooses by itself: the kernel, its modules, the root file system.
///
/// # Errors
/// Those of a run that finds none.
pub fn chosen(args: &RunArgs) -> Result<Vec<Chosen>> {
    let kernel = match &args.kernel {
        Some(kernel) => kernel.path.clone(),
        None => host::kernel::default()?,
    };
    let mut chosen = Vec::new();
    if let Some(modules) = host::kernel::modules_dir(&kernel) {
        chosen.push(("modules", modules.into()));
    }
    if args.rootfs.is_none() {
        chosen.push(("rootfs", host::default_rootfs()?.into()));
    }
    chosen.push(("kernel", kernel.into()));
    Ok(chosen)
}

/// The options of subcommand `name` as TOML, in the order of its help.
///
/// # Errors
/// TOML cannot hold a value that is not UTF-8.
pub fn text(name: &str, matches: &ArgMatches, chosen: &[Chosen]) -> Result<String> {
    let mut text = format!("# casemate {name} --config FILE\n");
    let command = Cli::command();
    let options = command.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
    for arg in options {
        let Some(key) = key(arg) else { continue };
        let chosen = chosen.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        if let Some(value) = value(arg, matches, chosen.map(OsString::as_os_str))
            .with_context(|| format!("cannot print {key}"))?
        {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    Ok(text)
}

fn value(arg: &Arg, matches: &ArgMatches, chosen: Option<&OsStr>) -> Result<Option<Value>> {
    let id = arg.get_id().as_str();
    if is_flag(arg) {
        return Ok(Some(Value::Boolean(matches.get_flag(id))));
    }
    let given = matches.get_raw(id).into_iter().flatten();
    let values = given.map(scalar).collect::<Result<Vec<_>>>()?;
    if is_list(arg) {
        return Ok((!values.is_empty()).then_some(Value::Array(values)));
    }
    match values.into_iter().next() {
        Some(value) => Ok(Some(value)),
        None => chosen.map(scalar).transpose(),
    }
}

/// A number where it is written as one, else a string.
fn scalar(value: &OsStr) -> Result<Value> {
    let text = value.to_str().with_context(|| format!("{value:?} is not UTF-8"))?;
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Ok(Value::Integer(number)),
        _ => Ok(Value::String(text.to_owned())),
    }
}
