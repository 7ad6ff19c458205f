//! How a container image wants to be run (OCI image specification, "config": the execution parameters), and
//! how the launcher hears of it: entries of `key=value`, each ended by a NUL byte.
//!
//! What is said here is somebody else's word: both sides check it, and it is as long as a configuration may
//! be at most. User and group stay as they are written: only the guest knows who that is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde_json::{Map, Value};

use crate::error::Error;

/// The longest name of a user and a group in bytes.
const USER_MAX: usize = 256;

/// How a container image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// What is always executed.
    pub entrypoint: Vec<OsString>,
    /// Its arguments, where no others are given; the command, where there is no entrypoint.
    pub cmd: Vec<OsString>,
    /// Environment, each `NAME=value`.
    pub env: Vec<OsString>,
    /// User, or user and group with a colon between them, as names or numbers.
    pub user: Option<OsString>,
    /// Working directory.
    pub workdir: Option<OsString>,
}

impl Execution {
    /// What a configuration says.
    ///
    /// # Errors
    /// It is not as the standard has it, or cannot be: it holds a NUL character, for one.
    pub fn of(config: &Map<String, Value>) -> Result<Self, Error> {
        let list = |key| list(config.get(key)).ok_or_else(|| wrong(key));
        let text = |key| text(config.get(key)).ok_or_else(|| wrong(key));
        let execution = Self {
            entrypoint: list("Entrypoint")?,
            cmd: list("Cmd")?,
            env: list("Env")?,
            user: text("User")?,
            workdir: text("WorkingDir")?,
        };
        match execution.fault() {
            None => Ok(execution),
            Some(key) => Err(wrong(key)),
        }
    }

    /// The entries, as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |key: u8, value: &OsStr| {
            bytes.extend_from_slice(&[key, b'=']);
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        };
        self.entrypoint.iter().for_each(|word| put(b'e', word));
        self.cmd.iter().for_each(|word| put(b'c', word));
        self.env.iter().for_each(|entry| put(b'v', entry));
        self.user.iter().for_each(|user| put(b'u', user));
        self.workdir.iter().for_each(|path| put(b'w', path));
        bytes
    }

    /// Reads back what [`Execution::encode`] wrote; `None` for what it never writes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut execution = Self::default();
        if bytes.is_empty() {
            return Some(execution);
        }
        for entry in bytes.strip_suffix(&[0])?.split(|byte| *byte == 0) {
            let &[key, b'=', ref value @ ..] = entry else { return None };
            let value = OsString::from_vec(value.to_vec());
            match key {
                b'e' => execution.entrypoint.push(value),
                b'c' => execution.cmd.push(value),
                b'v' => execution.env.push(value),
                b'u' => execution.user = Some(value),
                b'w' => execution.workdir = Some(value),
                _ => return None,
            }
        }
        execution.fault().is_none().then_some(execution)
    }

    /// Which part cannot be, if one cannot.
    fn fault(&self) -> Option<&'static str> {
        let has_nul = |text: &OsString| text.as_bytes().contains(&0);
        let named = |entry: &OsString| entry.as_bytes().iter().position(|byte| *byte == b'=');
        let is_user = |user: &OsString| {
            let user = user.as_bytes();
            let plain = user.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/');
            let colons = user.iter().filter(|byte| **byte == b':').count();
            plain && user.len() <= USER_MAX && colons <= 1 && user.first() != Some(&b':')
        };
        let rows = [
            ("Entrypoint", self.entrypoint.iter().any(has_nul)),
            ("Cmd", self.cmd.iter().any(has_nul)),
            (
                "Env",
                self.env
                    .iter()
                    .any(|entry| has_nul(entry) || named(entry).is_none_or(|at| at == 0)),
            ),
            ("User", !self.user.iter().all(is_user)),
            (
                "WorkingDir",
                self.workdir.iter().any(|path| has_nul(path) || !path.as_bytes().starts_with(b"/")),
            ),
        ];
        rows.into_iter().find(|(_, wrong)| *wrong).map(|(key, _)| key)
    }
}

fn wrong(key: &str) -> Error {
    Error::Container(format!("{key} of its configuration is not as the standard has it"))
}

fn list(value: Option<&Value>) -> Option<Vec<OsString>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(values)) => {
            values.iter().map(|value| value.as_str().map(OsString::from)).collect()
        }
        Some(_) => None,
    }
}

/// A text that is there and not empty.
fn text(value: Option<&Value>) -> Option<Option<OsString>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => {
            Some(Some(OsString::from(text)).filter(|text| !text.is_empty()))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Execution, Error> {
        Execution::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_is_said_survives_the_way() {
        let texts = [
            "{}",
            r#"{"Cmd":null,"User":"","WorkingDir":""}"#,
            r#"{"Entrypoint":["/bin/sh","-c",""],"Cmd":["a=b","c\nd"],"Env":["A=","B=ü=x"],
                "User":"app:1000","WorkingDir":"/srv","Labels":{"x":"y"}}"#,
        ];
        for text in texts {
            let execution = of(text).unwrap();
            assert_eq!(Execution::decode(&execution.encode()), Some(execution), "{text}");
        }
        assert_eq!(of(texts[1]).unwrap(), Execution::default());
        assert_eq!(of(texts[2]).unwrap().entrypoint.len(), 3);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let rows = [
            r#"{"Entrypoint":"/bin/sh"}"#,
            r#"{"Entrypoint":["/bin/sh\u0000"]}"#,
            r#"{"Cmd":[1]}"#,
            r#"{"Cmd":["\u0000"]}"#,
            r#"{"Env":["A=\u0000"]}"#,
            r#"{"Env":["A"]}"#,
            r#"{"Env":["=x"]}"#,
            r#"{"Env":{"A":"x"}}"#,
            r#"{"User":0}"#,
            r#"{"User":"a b"}"#,
            r#"{"User":"a:b:c"}"#,
            r#"{"User":":b"}"#,
            r#"{"User":"../x"}"#,
            r#"{"WorkingDir":"srv"}"#,
            r#"{"WorkingDir":"/a\u0000"}"#,
        ];
        for text in rows {
            let line = of(text).unwrap_err().to_string();
            let key = text.split('"').nth(1).unwrap();
            assert!(line.contains(key), "{text}: {line}");
        }
        assert!(of(&format!(r#"{{"User":"{}"}}"#, "u".repeat(USER_MAX + 1))).is_err());
        for bytes in [&b"e"[..], b"e=x", b"x=y\0", b"\0", b"v=x\0", b"w=x\0", b"u=a b\0"] {
            assert_eq!(Execution::decode(bytes), None, "{bytes:?}");
        }
    }
}
