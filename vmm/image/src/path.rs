//! Names from the source, taken apart, and refused when they lead out of the tree.

use crate::error::{Name, Why};

/// The longest path, in bytes: what Linux takes.
pub const PATH_MAX: usize = 4096;
/// The longest part of a path, in bytes: what Linux takes.
pub const NAME_MAX: usize = 255;

/// The parts of an entry's path; none: the root.
pub fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Why> {
    if path.is_empty() || path.contains(&0) {
        return Err(Why::NoPath);
    }
    if path.len() > PATH_MAX {
        return Err(Why::LongPath);
    }
    if path.starts_with(b"/") {
        return Err(Why::Absolute);
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(Why::Parent);
    }
    if parts.iter().any(|part| part.len() > NAME_MAX) {
        return Err(Why::LongName);
    }
    Ok(parts)
}

/// Checks the target of a symbolic link that is `depth` directories below the root.
///
/// An absolute target is inside: it begins at the root of the image. What climbs above that would be
/// caught by the kernel in a guest, and by nothing where the image is mounted elsewhere.
pub fn check_symlink(target: &[u8], depth: usize) -> Result<(), Why> {
    if target.is_empty() || target.len() >= PATH_MAX || target.contains(&0) {
        return Err(Why::NoTarget);
    }
    let mut depth = if target.starts_with(b"/") { 0 } else { depth };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return Err(Why::Symlink(Name::new(target))),
            },
            _ => depth += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let long = "x/".repeat(3000);
        let name = "x".repeat(256);
        let rows: [(&str, Result<&[&str], &str>); 13] = [
            ("a/b", Ok(&["a", "b"])),
            ("./a//./b/", Ok(&["a", "b"])),
            ("./", Ok(&[])),
            ("..a/b..", Ok(&["..a", "b.."])),
            ("", Err("no path")),
            ("a\0b", Err("no path")),
            ("/a", Err("absolute")),
            ("//", Err("absolute")),
            ("..", Err("\"..\"")),
            ("a/../b", Err("\"..\"")),
            ("a/..", Err("\"..\"")),
            (&long, Err("longer than 4096")),
            (&name, Err("longer than 255")),
        ];
        for (path, expected) in rows {
            match (parts(path.as_bytes()), expected) {
                (Ok(parts), Ok(expected)) => {
                    let expected: Vec<&[u8]> =
                        expected.iter().map(|part| part.as_bytes()).collect();
                    assert_eq!(parts, expected, "{path}");
                }
                (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{path}: {why}"),
                (result, _) => panic!("{path}: {result:?}"),
            }
        }
    }

    #[test]
    fn symbolic_links_stay_inside() {
        let rows = [
            ("b", 0, true),
            ("/etc/x", 3, true),
            ("../b", 1, true),
            ("../../b", 2, true),
            ("a/../b", 0, true),
            ("../b", 0, false),
            ("../../b", 1, false),
            ("a/../../b", 0, false),
            ("/../etc", 5, false),
            ("", 0, false),
            ("a\0", 0, false),
        ];
        for (target, depth, inside) in rows {
            assert_eq!(
                check_symlink(target.as_bytes(), depth).is_ok(),
                inside,
                "{target:?} {depth}"
            );
        }
    }
}
