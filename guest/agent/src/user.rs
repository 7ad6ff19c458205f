//! Who the command runs as: names and numbers, looked up in the guest's own /etc/passwd and /etc/group.
//!
//! | given | user | group | other groups |
//! |---|---|---|---|
//! | `app` | of its line in passwd(5) | of that line | those of group(5) that name it |
//! | `1000` | the number | of its line, else the same number | the same, if it has a line |
//! | `app:grp`, `1000:grp` | as above | by its line in group(5), or its number | none |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::failure::Failed;

/// Linux takes no more groups of one process.
const GROUPS_MAX: usize = 65536;

/// A user and the groups it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    groups: Vec<u32>,
}

/// The guest's list of users; empty where it has none.
pub fn passwd() -> Vec<u8> {
    std::fs::read("/etc/passwd").unwrap_or_default()
}

impl User {
    /// Looks up `USER[:GROUP]`.
    pub fn find(text: &OsStr) -> Result<Self, Failed> {
        let groups = std::fs::read("/etc/group").unwrap_or_default();
        Self::among(text.as_bytes(), &passwd(), &groups).map_err(Failed::setup)
    }

    fn among(text: &[u8], users: &[u8], groups: &[u8]) -> Result<Self, String> {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let (user, group) = (parts.next().unwrap_or_default(), parts.next());
        let number = number(user);
        let line = lines(users).find(|line| match number {
            Some(uid) => line.id == uid,
            None => line.name == user,
        });
        let unknown = |what: &str, name: &[u8], file: &str| {
            format!(
                "cannot run as {what} \"{}\": it is not in {file} of the root image",
                name.escape_ascii()
            )
        };
        let uid = number.or(line.as_ref().map(|line| line.id));
        let uid = uid.ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
        if let Some(group) = group {
            let gid = self::number(group)
                .or_else(|| lines(groups).find(|line| line.name == group).map(|line| line.id))
                .ok_or_else(|| unknown("group", group, "/etc/group"))?;
            return Ok(Self { uid, gid, groups: Vec::new() });
        }
        let Some(Line { name, rest, .. }) = line else {
            return Ok(Self { uid, gid: uid, groups: Vec::new() });
        };
        let gid = rest.split(|byte| *byte == b':').next().and_then(self::number).unwrap_or(uid);
        let has_user = |line: &Line| line.rest.split(|byte| *byte == b',').any(|one| one == name);
        let others = lines(groups).filter(has_user).map(|line| line.id);
        Ok(Self { uid, gid, groups: others.take(GROUPS_MAX).collect() })
    }

    /// Makes this thread's user this one, in a process that has no other thread.
    pub fn become_it(&self) -> Result<(), Errno> {
        // What the standard library's would do for every thread, and must not between fork and exec.
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups)?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }
}

/// A line of passwd(5) or group(5): both have a name, a password and an id, and something behind it.
struct Line<'a> {
    name: &'a [u8],
    id: u32,
    rest: &'a [u8],
}

fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(4, |byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = number(fields.nth(1)?)?;
        Some(Line { name, id, rest: fields.next().unwrap_or_default() })
    })
}

/// An id. The highest number means "none" to the kernel.
fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok()?.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# odd\nbad:x:y:0\nnobody:x:65534:65533::/:\n\
                           app:x:1000:100::/app:/bin/sh\nhalf:x:7";
    const GROUPS: &[u8] =
        b"root:x:0:\nusers:x:100:\nvideo:x:44:other,app\naudio:x:29:app\nnot:x:9:application\n";

    #[test]
    fn users_and_groups_are_those_of_the_guest() {
        let rows: [(&str, u32, u32, &[u32]); 9] = [
            ("root", 0, 0, &[]),
            ("nobody", 65534, 65533, &[]),
            ("app", 1000, 100, &[44, 29]),
            ("1000", 1000, 100, &[44, 29]),
            ("app:video", 1000, 44, &[]),
            ("app:5", 1000, 5, &[]),
            ("1234", 1234, 1234, &[]),
            ("1234:users", 1234, 100, &[]),
            ("half", 7, 7, &[]),
        ];
        for (text, uid, gid, groups) in rows {
            let expected = User { uid, gid, groups: groups.to_vec() };
            assert_eq!(User::among(text.as_bytes(), USERS, GROUPS), Ok(expected), "{text}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        let rows = [
            ("nemo", "user \"nemo\"", "/etc/passwd"),
            ("", "user \"\"", "/etc/passwd"),
            ("bad", "user \"bad\"", "/etc/passwd"),
            ("4294967295", "user \"4294967295\"", "/etc/passwd"),
            ("-1", "user \"-1\"", "/etc/passwd"),
            ("app:nemo", "group \"nemo\"", "/etc/group"),
            ("app:", "group \"\"", "/etc/group"),
            ("a\x1b\n", "user \"a\\x1b\\n\"", "/etc/passwd"),
        ];
        for (text, who, file) in rows {
            let line = User::among(text.as_bytes(), USERS, GROUPS).unwrap_err();
            assert!(line.contains(who) && line.contains(file), "{text:?}: {line}");
        }
    }
}
