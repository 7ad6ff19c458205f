//! Profiles: a TOML file that stands for options of `run` or `boot`.
//!
//! A key is the long name of an option, and becomes that option on the command line before clap reads
//! it: so a profile has the same names, the same values and the same errors as the command line, and a
//! new option is a new key without anybody's doing.
//!
//! | what | rule |
//! |---|---|
//! | which file | the one that `--config` names. None is read unasked: a directory may be somebody else's, and what is in it would then choose what is run and given to the guest |
//! | both name an option | the command line's stands in place of the file's, a list as a whole |
//! | a flag | `true` sets it; one that is set cannot be taken back on the command line |
//! | a list | an array; of one value, that value will do |
//! | the command | `command`, an array |
//! | a path | means what it means on the command line: from the working directory |
//! | what weakens the default | has `insecure-` in its name and shows in the report, as always |
//! | an unknown key, a wrong value | an error with its line, status 2 |

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Cli;
use crate::host;
use crate::outcome::in_words;

/// Options about profiles, which are no keys.
const NOT_KEYS: [&str; 4] = ["config", "print_config", "help", "version"];

/// The command line with the options of the profile that it names, if it names one.
///
/// # Errors
/// One line that says what is wrong with the profile, and in which line of it.
pub fn put_in(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    // What is wrong with the command line is found when all of it is read; this looks for what is named.
    let Ok(given) = Cli::command().ignore_errors(true).try_get_matches_from(&args) else {
        return Ok(args);
    };
    let Some((name, given)) = given.subcommand().filter(|(name, _)| ["run", "boot"].contains(name))
    else {
        return Ok(args);
    };
    let Some(path) = given.get_one::<PathBuf>("config") else { return Ok(args) };
    let bytes = host::open("profile", path).and_then(host::read);
    let bytes = bytes.map_err(|error| in_words(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("profile {path:?} is not text"))?;
    Profile::new(path, &text, name).put_in(args, given)
}

/// The key of an option: its long name; that of the command is `command`.
pub fn key(arg: &Arg) -> Option<String> {
    if NOT_KEYS.contains(&arg.get_id().as_str()) {
        return None;
    }
    if arg.is_positional() {
        return Some(arg.get_value_names()?.first()?.to_ascii_lowercase());
    }
    arg.get_long().map(str::to_owned)
}

/// True for an option that takes no value.
pub fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// True for an option that may be given more than once, or takes more than one value.
pub fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

struct Profile<'a> {
    path: &'a Path,
    text: &'a str,
    /// `run` or `boot`.
    name: &'a str,
    /// That subcommand, in which nothing has to be given.
    lenient: Command,
}

impl<'a> Profile<'a> {
    fn new(path: &'a Path, text: &'a str, name: &'a str) -> Self {
        let lenient = Cli::command()
            .mut_subcommand(name, |command| command.mut_args(|arg| arg.required(false)));
        Self { path, text, name, lenient }
    }

    /// Puts what the file says and the command line does not into `args`.
    fn put_in(&self, mut args: Vec<OsString>, given: &ArgMatches) -> Result<Vec<OsString>, String> {
        let table = DeTable::parse(self.text)
            .map_err(|error| self.wrong(error.span().unwrap_or_default(), error.message()))?;
        let (mut options, mut command) = (Vec::new(), Vec::new());
        for (key, value) in table.get_ref().iter() {
            let arg = self.option(key)?;
            let mut words = self.words(&arg, key.get_ref(), value)?;
            self.check(&arg, &words, value.span())?;
            let id = arg.get_id().as_str();
            if given.value_source(id) == Some(ValueSource::CommandLine) {
                continue;
            }
            if arg.is_positional() { &mut command } else { &mut options }.append(&mut words);
        }
        let at = args.iter().position(|arg| *arg == *self.name).map_or(args.len(), |at| at + 1);
        args.splice(at..at, options);
        if !command.is_empty() && args.last().is_none_or(|last| last != "--") {
            args.push("--".into());
        }
        args.append(&mut command);
        Ok(args)
    }

    /// The option that `key` is the name of.
    fn option(&self, name: &Spanned<impl AsRef<str>>) -> Result<Arg, String> {
        let text = name.get_ref().as_ref();
        let options = self.lenient.find_subcommand(self.name).into_iter();
        let options = options.flat_map(Command::get_arguments);
        let keyed: Vec<(String, &Arg)> = options.filter_map(|arg| Some((key(arg)?, arg))).collect();
        if let Some((_, arg)) = keyed.iter().find(|(key, _)| key == text) {
            return Ok((*arg).clone());
        }
        let reason = match nearest(text, keyed.iter().map(|(key, _)| key.as_str())) {
            Some(nearest) => format!("unknown key {text:?}, did you mean {nearest:?}?"),
            None => format!("unknown key {text:?} (casemate {} --help lists them)", self.name),
        };
        Err(self.wrong(name.span(), &reason))
    }

    /// The words of the command line that say what `key = value` says.
    fn words(
        &self,
        arg: &Arg,
        key: &str,
        value: &Spanned<DeValue>,
    ) -> Result<Vec<OsString>, String> {
        let wrong = |expected| {
            let kind = value.get_ref().type_str();
            Err(self
                .wrong(value.span(), &format!("{key} has to be {expected}, and is of type {kind}")))
        };
        if is_flag(arg) {
            return match value.get_ref() {
                DeValue::Boolean(true) => Ok(vec![format!("--{key}").into()]),
                DeValue::Boolean(false) => Ok(Vec::new()),
                _ => wrong("true or false"),
            };
        }
        let values = match value.get_ref() {
            DeValue::Array(values) if is_list(arg) => values.iter().map(scalar).collect(),
            _ => scalar(value).map(|text| vec![text]),
        };
        let Some(values) = values else {
            return wrong(match is_list(arg) {
                true => "an array of strings and numbers",
                false => "a string or a number",
            });
        };
        if values.iter().any(|text| text.contains('\0')) {
            return Err(self.wrong(value.span(), &format!("{key} has a NUL character in it")));
        }
        let word = |text: String| match arg.is_positional() {
            true => text.into(),
            false => format!("--{key}={text}").into(),
        };
        Ok(values.into_iter().map(word).collect())
    }

    /// Refuses values that the option does not take, by the option's own parser.
    fn check(&self, arg: &Arg, words: &[OsString], span: Range<usize>) -> Result<(), String> {
        let start = ["casemate".into(), self.name.into()];
        let dashes = arg.is_positional().then(|| "--".into());
        let args = start.into_iter().chain(dashes).chain(words.iter().cloned());
        match self.lenient.clone().try_get_matches_from::<_, OsString>(args) {
            // What it takes besides may be on the command line.
            Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
                Err(self.wrong(span, &one_line(&error)))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, span: Range<usize>, reason: &str) -> String {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        let words: Vec<&str> = reason.split_whitespace().collect();
        format!("cannot use profile {:?}: line {line}: {}", self.path, words.join(" "))
    }
}

/// The key that is most like `text`: at most half of it may be wrong.
fn nearest<'a>(text: &str, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |key: &&str| strsim::damerau_levenshtein(text, key);
    keys.min_by_key(distance).filter(|key| 2 * distance(key) <= key.len().max(text.len()))
}

/// A string as it is, a number as it is written.
fn scalar(value: &Spanned<DeValue>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    }
}

/// What clap has to say, in one line without what it says on usage.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = words.join(" ").trim_start_matches("error: ").to_owned();
    if let Some(ContextValue::String(option)) = error.get(ContextKind::SuggestedArg) {
        line.push_str(&format!(", did you mean {option}?"));
    }
    line
}
