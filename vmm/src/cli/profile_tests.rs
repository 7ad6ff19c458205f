use clap::{Arg, Command};

use super::profile::{is_flag, key};
use super::*;

/// A value for an option that takes one, by what its help calls the value. An option with another kind
/// of value needs a row here.
fn sample(name: &str) -> &'static str {
    let rows = [
        ("FILE", "a \"b\"\\é.img"),
        ("IMAGE", "root.img"),
        ("SOURCE", "root.tar"),
        ("DIR", "sub/dir"),
        ("K=V", "A=1\n\t2"),
        ("USER", "1000:5"),
        ("PROGRAM", "/bin/sh"),
        ("NAME", "guest"),
        ("SIZE", "128M"),
        ("N", "3"),
        ("DURATION", "90s"),
        ("LAYER[>=", "landlock>=3"),
        ("LAYER", "cgroup"),
        ("STRING", "a=b  c=\"d\""),
        ("COMMAND", "sh"),
    ];
    let row = rows.iter().find(|(kind, _)| name == *kind || name.starts_with(&format!("{kind}[")));
    let row = row.or_else(|| rows.iter().find(|(kind, _)| name.starts_with(kind)));
    row.map(|(_, value)| *value).unwrap_or_else(|| panic!("no sample of a {name}: add a row"))
}

fn options(name: &str) -> Vec<Arg> {
    let command = Cli::command();
    let command = command.find_subcommand(name).unwrap();
    command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned().collect()
}

fn words(text: &[&str]) -> Vec<OsString> {
    text.iter().map(OsString::from).collect()
}

/// A profile in a file.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// What a command line with this profile comes to: the printed options, or the refusal.
fn config(name: &str, profile: &str, more: &[&str]) -> Result<String, String> {
    let file = file(profile);
    let path = file.path().to_str().unwrap();
    let args = [&["casemate", name, "--print-config", "--config", path], more].concat();
    match Read::of(words(&args)) {
        Ok(read) => Ok(text_of(name, &read)),
        Err(Refusal::Usage(line)) => Err(line.replace(path, "FILE")),
        Err(Refusal::Told(error)) => panic!("{error}"),
    }
}

fn text_of(name: &str, read: &Read) -> String {
    let (_, matches) = read.matches.subcommand().unwrap();
    print_config::text(name, matches, &[]).unwrap()
}

/// The words that give `arg` on the command line.
fn given(arg: &Arg) -> Vec<OsString> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    match (long, arg.get_value_names()) {
        (Some(long), _) if is_flag(arg) => words(&[&long]),
        (Some(long), Some([name, ..])) => vec![format!("{long}={}", sample(name)).into()],
        (None, Some([name, ..])) => words(&["--", sample(name), "--x", "y z"]),
        _ => panic!("an option without a long name has no key: {arg:?}"),
    }
}

#[test]
fn what_is_printed_is_taken_back_for_every_option() {
    for name in ["run", "boot"] {
        let needed: Vec<OsString> =
            options(name).iter().filter(|arg| arg.is_required_set()).flat_map(given).collect();
        for arg in options(name) {
            let Some(key) = key(&arg) else { continue };
            let mut args = words(&["casemate", name]);
            let own = if arg.is_required_set() { Vec::new() } else { given(&arg) };
            args.extend(own.into_iter().chain(needed.iter().cloned()));
            let read = Read::of(args).unwrap_or_else(|refusal| panic!("{key}: {refusal:?}"));
            let printed = text_of(name, &read);
            assert!(printed.contains(&format!("\n{key} = ")), "{key} is not in {printed}");
            assert_eq!(config(name, &printed, &[]), Ok(printed.clone()), "{key}");
        }
    }
}

#[test]
fn the_keys_are_the_options_and_nothing_else() {
    let known: Vec<String> = options("run").iter().filter_map(key).collect();
    for arg in Cli::command().find_subcommand("run").map(Command::get_arguments).unwrap() {
        let about_profiles = ["config", "print_config"].contains(&arg.get_id().as_str());
        assert_eq!(key(arg).is_none(), about_profiles, "{arg:?}");
    }
    for line in ["config = \"x\"", "print-config = true", "help = true", "version = true"] {
        let refused = config("run", line, &["--", "true"]).unwrap_err();
        assert!(refused.contains("line 1: unknown key"), "{refused}");
    }
    assert!(known.contains(&"command".to_owned()) && known.contains(&"mem".to_owned()));
}

#[test]
fn the_command_line_stands_in_place_of_the_file() {
    let profile = "mem = \"1G\"\ncpus = 2\nenv = [\"A=1\", \"B=2\"]\ncommand = [\"a\", \"--b\"]\n\
                   insecure-learn-syscalls = true\nrequire = \"cgroup\"\n";
    let all = config("run", profile, &[]).unwrap();
    let lines = [
        "mem = \"1G\"",
        "cpus = 2",
        "env = [\"A=1\", \"B=2\"]",
        "command = [\"a\", \"--b\"]",
        "insecure-learn-syscalls = true",
        "require = [\"cgroup\"]",
        "timeout = \"1h\"",
    ];
    lines.iter().for_each(|line| assert!(all.contains(&format!("{line}\n")), "{line}: {all}"));
    let over = config("run", profile, &["--mem=2G", "--env", "C=3", "--", "c"]).unwrap();
    for line in ["mem = \"2G\"", "cpus = 2", "env = [\"C=3\"]", "command = [\"c\"]"] {
        assert!(over.contains(&format!("{line}\n")), "{line}: {over}");
    }
    assert!(config("run", profile, &["--"]).unwrap().contains("command = [\"a\", \"--b\"]\n"));
}

#[test]
fn what_weakens_the_default_is_known_as_such() {
    let file = file("insecure-allow-missing = [\"cgroup\"]\ninsecure-learn-syscalls = true\n");
    let path = file.path().to_str().unwrap();
    let read = Read::of(words(&["casemate", "run", "--config", path, "--", "true"])).unwrap();
    let super::Command::Run(args) = read.cli.command else { panic!("not a run") };
    let expected = ["insecure-allow-missing cgroup", "insecure-learn-syscalls"];
    assert_eq!(args.common.jail.insecure(), expected);
}

#[test]
fn errors_have_the_line_and_the_nearest_key() {
    let rows: [(&str, &[&str]); 15] = [
        ("mem = \"1G\"\nmme = 2\n", &["line 2", "\"mme\"", "did you mean \"mem\"?"]),
        ("memory = \"1G\"\n", &["line 1", "did you mean \"mem\"?"]),
        ("max_output = 1\n", &["line 1", "did you mean \"max-output\"?"]),
        ("\n\nzzz = 1\n", &["line 3", "unknown key \"zzz\"", "--help"]),
        ("network = true\n", &["line 1", "unknown key \"network\""]),
        ("[run]\nmem = 1\n", &["line 1", "unknown key \"run\""]),
        ("mem = true\n", &["line 1", "mem has to be a string or a number", "boolean"]),
        ("mem = [64]\n", &["line 1", "mem has to be a string or a number", "array"]),
        ("env = [[\"A=1\"]]\n", &["line 1", "env has to be an array"]),
        ("insecure-learn-syscalls = \"yes\"\n", &["line 1", "has to be true or false"]),
        ("cpus = 1\n\ncpus = 2\n", &["line 3", "duplicate key"]),
        ("mem = 1\nmem 2\n", &["line 2"]),
        ("mem = 64\ncpus = 99\n", &["line 2", "--cpus", "99", "32"]),
        ("workdir = \"a\\u0000b\"\n", &["line 1", "NUL"]),
        ("command = [1.5]\n", &["line 1", "command has to be an array"]),
    ];
    for (profile, expected) in rows {
        let line = config("run", profile, &["--", "true"]).unwrap_err();
        assert!(line.starts_with("cannot use profile \"FILE\": "), "{line}");
        assert!(!line.contains('\n'), "{line}");
        expected.iter().for_each(|part| assert!(line.contains(part), "{profile}: {line}"));
    }
    let line = config("boot", "command = [\"x\"]\n", &["--kernel", "k"]).unwrap_err();
    assert!(line.contains("unknown key \"command\""), "{line}");
}

#[test]
fn the_command_line_is_refused_in_the_same_words_with_a_profile() {
    for wrong in [&["--cpus", "99", "--", "x"][..], &["--mme", "1", "--", "x"], &["x"]] {
        let plain = Read::of(words(&[&["casemate", "run"], wrong].concat())).unwrap_err();
        let Refusal::Usage(plain) = plain else { panic!("{plain:?}") };
        assert_eq!(config("run", "mem = 64\n", wrong), Err(plain));
    }
    // The command may be the image's.
    assert!(config("run", "mem = 64\n", &[]).is_ok());
}
