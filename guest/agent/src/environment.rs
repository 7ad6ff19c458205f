//! The command's environment: defaults, then the user's from `/etc/passwd`, then the task's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment as `NAME=value` entries, each name once. `TERM` is there only if the task has it.
pub fn environment(passwd: &[u8], uid: u32, task: &[OsString]) -> Vec<OsString> {
    let mut entries = vec![OsString::from(PATH)];
    match user(passwd, uid) {
        Some((name, home)) => {
            entries.push(entry("HOME", home));
            entries.push(entry("USER", name));
        }
        None => entries.push(entry("HOME", b"/")),
    }
    for own in task {
        entries.retain(|other| name_of(other) != name_of(own));
        entries.push(own.clone());
    }
    entries
}

/// The value of a variable.
pub fn value<'a>(environment: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let found = environment.iter().find(|entry| name_of(entry) == name.as_bytes())?;
    found.as_bytes().get(name.len() + 1..).map(OsStr::from_bytes)
}

fn entry(name: &str, value: &[u8]) -> OsString {
    OsString::from_vec([name.as_bytes(), b"=", value].concat())
}

fn name_of(entry: &OsStr) -> &[u8] {
    entry.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default()
}

/// Name and home directory of a user (passwd(5)).
fn user(passwd: &[u8], uid: u32) -> Option<(&[u8], &[u8])> {
    let uid = uid.to_string();
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let id = fields.nth(1)?;
        let home = fields.nth(2)?;
        (id == uid.as_bytes() && !home.is_empty()).then_some((name, home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_has_the_last_word() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n# odd\nweb:x:33:33::/var/www:\nno:x:7:7::\n";
        let rows: [(u32, &[&str], &[&str]); 5] = [
            (0, &[], &[PATH, "HOME=/root", "USER=root"]),
            (33, &[], &[PATH, "HOME=/var/www", "USER=web"]),
            (7, &[], &[PATH, "HOME=/"]),
            (1000, &["TERM=xterm", "A=b=c"], &[PATH, "HOME=/", "TERM=xterm", "A=b=c"]),
            (0, &["PATH=/bin", "HOME=", "A=1", "A=2"], &["USER=root", "PATH=/bin", "HOME=", "A=2"]),
        ];
        for (uid, task, expected) in rows {
            let task: Vec<OsString> = task.iter().map(OsString::from).collect();
            assert_eq!(environment(passwd, uid, &task), expected, "uid {uid}");
        }
    }

    #[test]
    fn a_value_is_all_after_the_first_equals_sign() {
        let entries = ["PATHS=x".into(), "PATH=/a=b:/c".into(), "E=".into(), "NONE".into()];
        assert_eq!(value(&entries, "PATH"), Some(OsStr::new("/a=b:/c")));
        assert_eq!(value(&entries, "E"), Some(OsStr::new("")));
        assert_eq!(value(&entries, "NONE"), None);
        assert_eq!(value(&entries, "HOME"), None);
    }
}
