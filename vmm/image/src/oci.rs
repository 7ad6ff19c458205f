//! Container images: which layers there are, in which order, and how they want to be run.
//!
//! `docker save` has a manifest.json of its own; an OCI image layout has index.json, manifests and
//! blobs by digest. Every digest is checked: of manifests and the configuration when they are read,
//! and of each layer, unpacked, by the configuration's list.

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Name};
use crate::execution::Execution;
use crate::outer::{Names, Outer};

/// The most layers: what Docker has room for.
const LAYERS_MAX: usize = 128;
/// An index may name another, which may name another.
const DEPTH_MAX: usize = 3;
/// What of an image's configuration says how it is to be run.
const KEPT: [&str; 8] =
    ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "StopSignal", "User", "WorkingDir"];

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in the archive.
    pub name: String,
    /// SHA-256 of what it unpacks to.
    pub digest: [u8; 32],
}

/// A container image.
#[derive(Debug)]
pub struct Container {
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// How it wants to be run.
    pub config: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    os: Option<String>,
    rootfs: RootFs,
    config: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// True when an archive with these names is a container image.
pub fn is_container(names: &Names) -> bool {
    names.has("manifest.json") || is_layout(names)
}

fn is_layout(names: &Names) -> bool {
    names.has("oci-layout") && names.has("index.json")
}

/// Reads what describes the container image in `outer`.
pub fn read(outer: &Outer) -> Result<Container, Error> {
    let (config, layers) = if is_layout(outer.names()) { layout(outer)? } else { saved(outer)? };
    let config: Config = parse("the configuration", &config)?;
    let [os, architecture] =
        [&config.os, &config.architecture].map(|name| name.as_deref().unwrap_or_default());
    if !matches!((os, architecture), ("" | "linux", "" | "amd64")) {
        let name = Name::new(format!("{os}/{architecture}").as_bytes());
        return Err(Error::Container(format!("it is for {name}, and has to be for linux/amd64")));
    }
    if layers.len() != config.rootfs.diff_ids.len() || layers.len() > LAYERS_MAX {
        let count = layers.len();
        let text =
            format!("it has {count} layers, and not as many digests, or more than {LAYERS_MAX}");
        return Err(Error::Container(text));
    }
    let layers = layers.into_iter().zip(&config.rootfs.diff_ids);
    let layers = layers
        .map(|(name, id)| Ok(Layer { name, digest: digest(id)?.1 }))
        .collect::<Result<_, Error>>()?;
    let mut kept = config.config.unwrap_or_default();
    kept.retain(|key, value| KEPT.contains(&key.as_str()) && !value.is_null());
    // What could not be run is not built.
    Execution::of(&kept)?;
    Ok(Container { layers, config: kept })
}

/// The configuration and the layers' names of what `docker save` wrote.
fn saved(outer: &Outer) -> Result<(Vec<u8>, Vec<String>), Error> {
    let images: Vec<Saved> = parse("manifest.json", &outer.text("manifest.json")?)?;
    let count = images.len();
    let [image] = <[Saved; 1]>::try_from(images)
        .map_err(|_| Error::Container(format!("it holds {count} images, and has to hold one")))?;
    Ok((outer.text(&image.config)?, image.layers))
}

/// The same of an OCI image layout.
fn layout(outer: &Outer) -> Result<(Vec<u8>, Vec<String>), Error> {
    let mut text = outer.text("index.json")?;
    for _ in 0..DEPTH_MAX {
        let index: Index = parse("an index", &text)?;
        let next = the_one(index.manifests)?;
        text = blob(outer, &next.digest)?;
        if !next.media_type.contains("index") && !next.media_type.contains("manifest.list") {
            let manifest: Manifest = parse("a manifest", &text)?;
            let layers = manifest.layers.iter().map(|layer| Ok(digest(&layer.digest)?.0));
            let layers = layers.collect::<Result<_, Error>>()?;
            return Ok((blob(outer, &manifest.config.digest)?, layers));
        }
    }
    Err(Error::Container("its indices lead nowhere".to_owned()))
}

/// The only image there is, or the only one for this platform.
fn the_one(mut all: Vec<Descriptor>) -> Result<Descriptor, Error> {
    if all.len() > 1 {
        all.retain(|one| {
            one.platform
                .as_ref()
                .is_some_and(|platform| platform.os == "linux" && platform.architecture == "amd64")
        });
    }
    let count = all.len();
    let [one] = <[Descriptor; 1]>::try_from(all).map_err(|_| {
        Error::Container(format!("it holds {count} images for linux/amd64, and has to hold one"))
    })?;
    Ok(one)
}

/// The text with this digest.
fn blob(outer: &Outer, of: &str) -> Result<Vec<u8>, Error> {
    let (name, expected) = digest(of)?;
    let text = outer.text(&name)?;
    let found: [u8; 32] = Sha256::digest(&text).into();
    if found == expected { Ok(text) } else { Err(Error::Digest(Name::new(name.as_bytes()))) }
}

/// The name of the blob with a digest, and the digest itself.
fn digest(text: &str) -> Result<(String, [u8; 32]), Error> {
    let unknown =
        || Error::Container(format!("digest {} is not known", Name::new(text.as_bytes())));
    let hex = text.strip_prefix("sha256:").ok_or_else(unknown)?;
    let pairs = hex.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs.0) {
        let pair = std::str::from_utf8(pair).map_err(|_| unknown())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| unknown())?;
    }
    Ok((format!("blobs/sha256/{hex}"), bytes))
}

fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(text)
        .map_err(|_| Error::Container(format!("{what} is not as the standard has it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_name_blobs() {
        let hex = "ab".repeat(32);
        assert_eq!(
            digest(&format!("sha256:{hex}")).unwrap(),
            (format!("blobs/sha256/{hex}"), [0xab; 32])
        );
        let short = &hex[1..];
        for text in [
            "",
            &hex,
            &format!("sha256:{short}"),
            &format!("sha256:{short}/"),
            &format!("sha512:{hex}"),
        ] {
            assert!(digest(text).is_err(), "{text}");
        }
    }
}
