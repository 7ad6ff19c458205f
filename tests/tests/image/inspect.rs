//! What is said of an image.

use serde_json::{Value, json};
use tests::archive::{Tar, sha256};
use tests::run::Run;
use tests::scratch::{Scratch, noise};
use tests::suite::{Need, Test};

use crate::containers::{config, layers, saved};
use crate::{IMAGE, build, tool};

pub fn tests() -> Vec<Test> {
    let tools = [Need::Tool("mksquashfs")];
    vec![
        Test::new("inspect::container", &[], container),
        Test::new("inspect::text", &[], text),
        Test::new("inspect::other_tools_images", &tools, others),
        Test::new("inspect::damaged", &[], damaged),
    ]
}

fn inspect(dir: &Scratch, file: &str) -> Value {
    let end = Run::new(dir, &["image", "inspect", "--json", file]).end();
    end.exits(0).is_silent();
    serde_json::from_slice(&end.stdout).unwrap()
}

fn container() {
    let dir = Scratch::new();
    let layers = layers();
    dir.write("source", saved(&layers, &config(&layers)).bytes());
    build(&dir, "source", &[]).exits(0);
    let found = inspect(&dir, IMAGE);
    assert_eq!(found["sha256"], json!(sha256(&dir.read(IMAGE))));
    assert_eq!(found["size"], json!(dir.read(IMAGE).len()));
    assert_eq!(found["config"], json!({"Entrypoint": ["/bin/sh"], "Env": ["A=ü"]}));
    let contents = json!({
        "inodes": 9, "files": 5, "directories": 4, "symlinks": 0, "devices": 0, "others": 0,
        "hard_links": 0, "content": "back".len() + 4 * "middle".len(),
    });
    assert_eq!(found["contents"], contents);
}

fn text() {
    let dir = Scratch::new();
    dir.write("source", Tar::default().file("a", &noise(1, 1000)).bytes());
    let built = build(&dir, "source", &[]);
    let sum = sha256(&dir.read(IMAGE));
    built.check(built.stdout.starts_with(sum.as_bytes()), "expected the image's SHA-256");
    let end = Run::new(&dir, &["image", "inspect", IMAGE]).end();
    end.exits(0).is_silent();
    let text = String::from_utf8(end.stdout).unwrap();
    for part in [&*sum, "squashfs, zlib", "1, 1000 bytes", IMAGE] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// What mksquashfs makes of a tree that has everything in it but devices.
fn others() {
    let dir = Scratch::new();
    std::fs::create_dir_all(dir.path("tree/d")).unwrap();
    std::fs::write(dir.path("tree/d/big"), noise(2, 1_000_000)).unwrap();
    for number in 0..500 {
        std::fs::write(dir.path(&format!("tree/d/{number}")), "small").unwrap();
    }
    std::fs::hard_link(dir.path("tree/d/big"), dir.path("tree/again")).unwrap();
    std::os::unix::fs::symlink("d", dir.path("tree/link")).unwrap();
    for (compressor, known) in [("gzip", true), ("zstd", true), ("xz", false)] {
        let args = ["tree", "other", "-quiet", "-no-progress", "-noappend", "-comp", compressor];
        tool(&dir, "mksquashfs", &args);
        let found = inspect(&dir, "other");
        assert_eq!(found["inodes"], json!(504), "{compressor}");
        let expected = json!({
            "inodes": 504, "files": 501, "directories": 2, "symlinks": 1, "devices": 0, "others": 0,
            "hard_links": 1, "content": 1_000_000 + 500 * 5,
        });
        assert_eq!(found["contents"], if known { expected } else { Value::Null }, "{compressor}");
        assert_eq!(found["config"], Value::Null);
    }
}

fn damaged() {
    let dir = Scratch::new();
    dir.write("text", "no image");
    let inspect = |file: &str| Run::new(&dir, &["image", "inspect", file]).end();
    inspect("text").exits(125).explains(&["cannot inspect \"text\"", "no squashfs"]);
    inspect("missing").exits(125).explains(&["\"missing\"", "No such file"]);
    inspect(".").exits(125).explains(&["a directory"]);
    dir.write("source", Tar::default().file("a", &noise(1, 1000)).bytes());
    build(&dir, "source", &[]).exits(0);
    let image = dir.read(IMAGE);
    let rows = [(40, 0xff, "super block"), (64, 0xff, "inode table"), (12, 0xff, "super block")];
    for (at, byte, part) in rows {
        let mut bad = image.clone();
        bad[at + 3] ^= byte;
        dir.write("bad", bad);
        inspect("bad").exits(125).explains(&["cannot inspect \"bad\": the image is damaged", part]);
    }
    dir.write("short", &image[..1000]);
    inspect("short").exits(125).explains(&["super block makes no sense"]);
}
