//! Container images: layers over layers.

use tar::EntryType;
use tests::archive::{Tar, sha256};
use tests::scratch::{Scratch, assert_same};
use tests::suite::{Need, Test};

use crate::{IMAGE, build, build_twice, listing, tool};

/// How the container images of these tests want to be run.
pub const CONFIG: &str = r#"{"Entrypoint":["/bin/sh"],"Env":["A=ü"],"Image":"dropped"}"#;

pub fn tests() -> Vec<Test> {
    let squashfs = [Need::Tool("unsquashfs")];
    let tools = [Need::Tool("unsquashfs"), Need::Tool("gzip"), Need::Tool("tar")];
    vec![
        Test::new("containers::whiteouts", &squashfs, whiteouts),
        Test::new("containers::every_form_makes_the_same_image", &tools, forms),
        Test::new("containers::plain", &squashfs, plain),
    ]
}

/// Three layers that put things over one another and take them away.
pub fn layers() -> [Vec<u8>; 3] {
    let bottom = Tar::default()
        .directory("etc")
        .file("etc/kept", b"bottom")
        .file("etc/gone", b"secret")
        .file("opaque/below", b"secret")
        .file("cleared/below/deep", b"secret")
        .file("shared", b"bottom")
        .link(EntryType::Link, "other-name", "shared");
    let middle = Tar::default()
        .file("etc/.wh.gone", b"")
        .directory("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/above", b"middle")
        .file(".wh.cleared", b"")
        .file("shared", b"middle");
    let top = Tar::default().file("etc/gone", b"back").directory("cleared");
    [bottom.bytes(), middle.bytes(), top.bytes()]
}

/// The configuration of an image with these layers.
pub fn config(layers: &[Vec<u8>]) -> String {
    let ids: Vec<String> =
        layers.iter().map(|layer| format!("\"sha256:{}\"", sha256(layer))).collect();
    let ids = ids.join(",");
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{CONFIG},
            "rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
    )
}

/// What `docker save` writes of these layers.
pub fn saved(layers: &[Vec<u8>], config: &str) -> Tar {
    let names: Vec<String> = (0..layers.len()).map(|n| format!("\"{n}/layer.tar\"")).collect();
    let mut tar = Tar::default();
    for (number, layer) in layers.iter().enumerate() {
        tar = tar.file(&format!("{number}/layer.tar"), layer);
    }
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":null,"Layers":[{}]}}]"#, names.join(","));
    tar.file("config.json", config.as_bytes()).file("manifest.json", manifest.as_bytes())
}

/// An OCI image layout of these layers, which are packed or not, as files with their content.
pub fn layout(layers: &[Vec<u8>], config: &str) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", sha256(bytes)), bytes.to_vec());
    let described = |kind: &str, bytes: &[u8]| {
        let (digest, size) = (sha256(bytes), bytes.len());
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}"#)
    };
    let names: Vec<String> = layers
        .iter()
        .map(|layer| described("application/vnd.oci.image.layer.v1.tar+gzip", layer))
        .collect();
    let config_at = described("application/vnd.oci.image.config.v1+json", config.as_bytes());
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{config_at},"layers":[{}]}}"#, names.join(","));
    let manifest_at = described("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifest_at}]}}"#);
    let mut files: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
    files.extend([blob(config.as_bytes()), blob(manifest.as_bytes())]);
    files.push(("index.json".to_owned(), index.into_bytes()));
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files
}

fn whiteouts() {
    let dir = Scratch::new();
    let layers = layers();
    dir.write("source", saved(&layers, &config(&layers)).bytes());
    let image = build_twice(&dir, "source");
    let names: Vec<String> =
        listing(&dir).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    let expected = [
        "/",
        "/cleared",
        "/etc",
        "/etc/gone",
        "/etc/kept",
        "/opaque",
        "/opaque/above",
        "/other-name",
        "/shared",
    ];
    assert_eq!(names, expected);
    let read = |name| tool(&dir, "unsquashfs", &["-cat", IMAGE, name]);
    assert_eq!(read("etc/gone"), "back");
    assert_eq!(read("shared"), "middle");
    assert_eq!(read("other-name"), "bottom");
    assert!(!image.windows(6).any(|bytes| bytes == b"secret"), "what was taken away is there");
}

fn forms() {
    let dir = Scratch::new();
    let layers = layers();
    let config = config(&layers);
    let archive = saved(&layers, &config);
    dir.write("docker.tar", archive.bytes());
    tool(&dir, "gzip", &["-k", "docker.tar"]);
    let packed: Vec<Vec<u8>> = layers
        .iter()
        .map(|layer| {
            dir.write("layer", layer);
            tool(&dir, "gzip", &["-f", "layer"]);
            dir.read("layer.gz")
        })
        .collect();
    let mut tar = Tar::default();
    for (name, bytes) in layout(&packed, &config) {
        // A name in a header has room for a hundred bytes.
        tar = tar.file(&name, &bytes);
        let path = dir.path("layout").join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir.write("oci.tar", tar.bytes());
    let expected = build_twice(&dir, "docker.tar");
    for source in ["docker.tar.gz", "oci.tar", "layout"] {
        assert_same(&build_twice(&dir, source), &expected, source);
    }
}

/// A container image taken for what it consists of.
fn plain() {
    let dir = Scratch::new();
    let layers = layers();
    dir.write("source", saved(&layers, &config(&layers)).bytes());
    build(&dir, "source", &["--plain"]).exits(0).is_silent();
    let names = listing(&dir).join("\n");
    assert!(names.contains("/0/layer.tar") && names.contains("/manifest.json"), "{names}");
}
