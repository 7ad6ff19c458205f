use super::*;

fn entry(path: &str, kind: Kind) -> Entry {
    let path = path.as_bytes().to_vec();
    Entry { path, kind, size: 0, mode: 0o644, uid: 1, gid: 2, time: 3, xattrs: Xattrs::new() }
}

fn link(target: &str) -> Kind {
    Kind::HardLink(target.as_bytes().to_vec())
}

/// Paths, and what is there.
type Entries<'a> = &'a [(&'a str, Kind)];
/// A promise, layers, and every path of the tree that they make up.
type Laid<'a> = (&'a str, &'a [Entries<'a>], &'a [&'a str]);

/// The tree that layers of entries make up.
fn build(layers: &[Entries<'_>]) -> Result<Tree, Error> {
    let mut tree = Tree::new(1 << 20);
    for (layer, entries) in layers.iter().enumerate() {
        for (index, (path, kind)) in entries.iter().enumerate() {
            tree.add(entry(path, kind.clone()), layer, index, layers.len() > 1)?;
        }
    }
    Ok(tree)
}

/// Every path in order; for a file, with where it comes from.
fn paths(tree: &Tree) -> Vec<String> {
    fn walk(tree: &Tree, id: Id, path: &str, found: &mut Vec<String>) {
        match &tree.node(id).what {
            What::Directory(children) => {
                for (name, child) in children {
                    let below = format!("{path}/{}", String::from_utf8_lossy(name));
                    found.push(below.clone());
                    walk(tree, child.id, &below, found);
                }
            }
            What::File(_, (layer, index)) => {
                *found.last_mut().unwrap() = format!("{path} {layer}.{index}");
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(tree, ROOT, "", &mut found);
    found
}

const FILE: Kind = Kind::File;
const DIRECTORY: Kind = Kind::Directory;

#[test]
fn layers_are_laid_over_one_another() {
    let rows: [Laid<'_>; 12] = [
        ("parents are made", &[&[("a/b/c", FILE)]], &["/a", "/a/b", "/a/b/c 0.0"]),
        ("the last of one name counts", &[&[("a", FILE), ("a", FILE)]], &["/a 0.1"]),
        ("a whiteout in a single archive is a file", &[&[(".wh.a", FILE)]], &["/.wh.a 0.0"]),
        ("a whiteout", &[&[("a", FILE), ("b", FILE)], &[(".wh.a", FILE)]], &["/b 0.1"]),
        ("a whiteout of nothing", &[&[("b", FILE)], &[(".wh.a", FILE)]], &["/b 0.0"]),
        (
            "a whiteout spares its own layer",
            &[&[("a", FILE)], &[("a", FILE), (".wh.a", FILE)]],
            &["/a 1.0"],
        ),
        (
            "a directory that is taken away and made again is empty",
            &[&[("d/a", FILE)], &[("d", DIRECTORY), ("d/b", FILE), (".wh.d", FILE)]],
            &["/d", "/d/b 1.1"],
        ),
        (
            "an opaque directory",
            &[&[("d/a", FILE), ("d/e/f", FILE)], &[("d/b", FILE), ("d/.wh..wh..opq", FILE)]],
            &["/d", "/d/b 1.0"],
        ),
        (
            "an opaque directory spares what its layer puts deep into it",
            &[&[("d/e/f", FILE)], &[("d/e/g", FILE), ("d/.wh..wh..opq", FILE)]],
            &["/d", "/d/e", "/d/e/g 1.0"],
        ),
        (
            "an old driver's leftover",
            &[&[("a", FILE)], &[(".wh..wh.plnk/x", FILE), (".wh..wh.orph", FILE)]],
            &["/.wh..wh.plnk", "/.wh..wh.plnk/x 1.0", "/a 0.0"],
        ),
        (
            "a name of what an upper layer replaces",
            &[&[("a", FILE), ("b", link("a"))], &[("a", FILE)]],
            &["/a 1.0", "/b 0.0"],
        ),
        ("a file in place of a directory", &[&[("d/a", FILE)], &[("d", FILE)]], &["/d 1.0"]),
    ];
    for (name, layers, expected) in rows {
        assert_eq!(paths(&build(layers).unwrap()), expected, "{name}");
    }
}

#[test]
fn what_leads_out_of_the_tree_is_refused() {
    let symlink = |target: &str| Kind::Symlink(target.as_bytes().to_vec());
    let rows: [(&str, Entries<'_>, &str); 12] = [
        ("absolute", &[("/a", FILE)], "absolute"),
        ("climbing", &[("a/../../b", FILE)], "holds \"..\""),
        ("through a link", &[("a", symlink("/etc")), ("a/b", FILE)], "goes through \"a\""),
        ("through a file", &[("a", FILE), ("a/b/c", FILE)], "goes through \"a\""),
        ("the root as a file", &[("./", FILE)], "replaces the root"),
        ("a climbing link", &[("a/b", symlink("../../c"))], "leaves the tree"),
        ("a hard link outside", &[("a", link("../etc/passwd"))], "leaves the tree"),
        ("an absolute hard link", &[("a", link("/etc/passwd"))], "leaves the tree"),
        ("a hard link to nothing", &[("a", link("b"))], "not there"),
        ("a hard link to itself", &[("a", link("a"))], "not there"),
        ("a hard link to a directory", &[("d", DIRECTORY), ("a", link("d"))], "is a directory"),
        ("no such device", &[("a", Kind::Character(1 << 12, 0))], "out of range"),
    ];
    for (name, entries, part) in rows {
        let error = build(&[entries]).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("refused entry"), "{name}: {error}");
    }
    let error = build(&[&[], &[(".wh...", FILE)]]).unwrap_err().to_string();
    assert!(error.contains("whiteout of nothing"), "{error}");
}

#[test]
fn there_is_a_bound_on_entries_and_content() {
    let mut tree = Tree::new(100);
    let sized = |size| Entry { size, ..entry("a", FILE) };
    tree.add(sized(60), 0, 0, false).unwrap();
    assert!(matches!(tree.add(sized(101), 0, 1, false), Err(Error::Entry(_, Why::Size))));
    let mut tree = Tree::new(100);
    tree.add(sized(60), 0, 0, false).unwrap();
    assert!(matches!(tree.add(sized(41), 0, 1, false), Err(Error::Bomb)));
    let mut tree = Tree::new(100);
    for index in 0..ENTRIES_MAX {
        tree.add(entry("a", DIRECTORY), 0, index, false).unwrap();
    }
    assert!(matches!(tree.add(entry("a", DIRECTORY), 0, 0, false), Err(Error::Entries)));
}
