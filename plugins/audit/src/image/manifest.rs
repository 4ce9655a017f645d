//! Which images a store holds, and which files are their layers.
//!
//! Two descriptions are read: `manifest.json`, which `docker save` writes, and the OCI image layout (`index.json`, image indexes and
//! manifests; <https://github.com/opencontainers/image-spec>). Newer engines write both; then the former is believed, because it names
//! only what is there. Every manifest and configuration is compared with its digest.

use serde::Deserialize;

use super::ImageError;
use super::layer::{Expected, digest_of};
use super::store::Store;
use crate::inventory::Layer;

const LARGEST: u64 = 8 << 20;
/// Indexes may name indexes, but not forever.
const DEEPEST: usize = 4;
const MOST_IMAGES: usize = 50;
/// An engine takes no more than 127.
const MOST_LAYERS: usize = 1000;
const SAVE_AGAIN: &str = "Save the image again";

/// One image of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// A tag, a platform: what tells it from the others; may be empty.
    pub name: String,
    pub layers: Vec<LayerFile>,
}

/// A layer and the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFile {
    pub path: String,
    /// What it must hash to, if anything says.
    pub expected: Option<Expected>,
    pub layer: Layer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: Option<String>,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct OciManifest {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// An index under the media type of a manifest, or under none.
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    rootfs: RootFs,
    #[serde(default)]
    history: Option<Vec<History>>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct History {
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

/// All images of a store.
pub fn images(store: &mut dyn Store) -> Result<Vec<Manifest>, ImageError> {
    if let Some(bytes) = store.read("manifest.json", LARGEST)? {
        let saved: Vec<Saved> = parse("manifest.json", &bytes)?;
        bounded("manifest.json", saved.len(), MOST_IMAGES, "images")?;
        return saved.into_iter().map(|saved| from_saved(store, saved)).collect();
    }
    let Some(bytes) = store.read("index.json", LARGEST)? else {
        let mend = "Name what `docker save -o image.tar IMAGE` wrote, or an OCI layout (a folder, or a tar of it)";
        return Err(ImageError::new("manifest.json", "there is neither this file nor an index.json, so this is no image", mend));
    };
    let index: Index = parse("index.json", &bytes)?;
    let mut found = Vec::new();
    for descriptor in index.manifests {
        add(store, &descriptor, "", DEEPEST, &mut found)?;
    }
    Ok(found)
}

fn from_saved(store: &mut dyn Store, saved: Saved) -> Result<Manifest, ImageError> {
    let bytes = store.read(&saved.config, LARGEST)?.ok_or_else(|| missing(&saved.config, "the configuration"))?;
    // `<digest>.json`, or `blobs/sha256/<digest>`.
    if let Some(digest) = digest_in(saved.config.trim_end_matches(".json")) {
        check(&saved.config, &bytes, &digest)?;
    }
    let config: Config = parse(&saved.config, &bytes)?;
    let diffs = config.rootfs.diff_ids.clone().unwrap_or_default();
    let layers = saved
        .layers
        .into_iter()
        .enumerate()
        .map(|(at, path)| {
            let expected = match (digest_in(&path), diffs.get(at)) {
                (Some(digest), _) => Some(Expected { digest, packed: true }),
                (None, Some(diff)) => Some(Expected { digest: known_algorithm(&saved.config, diff)?.to_owned(), packed: false }),
                (None, None) => None,
            };
            let digest = diffs.get(at).cloned().or_else(|| expected.as_ref().map(|expected| expected.digest.clone()));
            Ok((path, expected, digest.unwrap_or_default()))
        })
        .collect::<Result<Vec<_>, ImageError>>()?;
    let name = saved.repo_tags.unwrap_or_default().join(", ");
    Ok(Manifest { name, layers: with_history(&saved.config, layers, &config)? })
}

/// Adds the image that a descriptor names, or all images of the index that it names.
fn add(store: &mut dyn Store, descriptor: &Descriptor, above: &str, depth: usize, found: &mut Vec<Manifest>) -> Result<(), ImageError> {
    let note = |key: &str| descriptor.annotations.as_ref().and_then(|notes| notes.get(key)?.as_str());
    let attests = note("vnd.docker.reference.type").is_some() || descriptor.artifact_type.is_some();
    if attests || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown") {
        // A signature or a bill of materials that travels with the image.
        return Ok(());
    }
    let path = blob_path("index.json", &descriptor.digest)?;
    let bytes = store.read(&path, LARGEST)?.ok_or_else(|| missing(&path, "the manifest"))?;
    check(&path, &bytes, &descriptor.digest)?;
    let tag = note("io.containerd.image.name").or_else(|| note("org.opencontainers.image.ref.name"));
    let platform = descriptor.platform.as_ref().filter(|platform| !platform.os.is_empty()).map(|platform| {
        let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty());
        let parts = [Some(platform.os.as_str()), Some(platform.architecture.as_str()), variant];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    });
    let names = [Some(above).filter(|above| !above.is_empty()), tag, platform.as_deref()];
    let name = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let manifest: OciManifest = parse(&path, &bytes)?;
    if let Some(manifests) = manifest.manifests {
        if depth == 0 {
            return Err(ImageError::new(path, "its indexes name one another without end", SAVE_AGAIN));
        }
        return manifests.iter().try_for_each(|descriptor| add(store, descriptor, &name, depth - 1, found));
    }
    let Some(config) =
        manifest.config.filter(|config| config.media_type.contains("image.config") || config.media_type.contains("container.image"))
    else {
        return Ok(());
    };
    let config_path = blob_path(&path, &config.digest)?;
    let bytes = store.read(&config_path, LARGEST)?.ok_or_else(|| missing(&config_path, "the configuration"))?;
    check(&config_path, &bytes, &config.digest)?;
    let config: Config = parse(&config_path, &bytes)?;
    let layers = manifest
        .layers
        .into_iter()
        .map(|layer| {
            let expected = Expected { digest: layer.digest.clone(), packed: true };
            Ok((blob_path(&path, &layer.digest)?, Some(expected), layer.digest))
        })
        .collect::<Result<Vec<_>, ImageError>>()?;
    found.push(Manifest { name, layers: with_history(&config_path, layers, &config)? });
    bounded("index.json", found.len(), MOST_IMAGES, "images")
}

type Named = (String, Option<Expected>, String);

/// The instructions that made the layers: those of the history that made one, in their order.
fn with_history(place: &str, layers: Vec<Named>, config: &Config) -> Result<Vec<LayerFile>, ImageError> {
    bounded(place, layers.len(), MOST_LAYERS, "layers")?;
    let history = config.history.as_deref().unwrap_or_default().iter().filter(|step| !step.empty_layer);
    let steps: Vec<&str> = history.map(|step| step.created_by.as_deref().unwrap_or_default()).collect();
    let of = layers.len();
    // A history of another length is about other layers.
    let told = |at: usize| if steps.len() == of { instruction(steps[at]) } else { String::new() };
    let file = |(at, (path, expected, digest)): (usize, Named)| LayerFile {
        path,
        expected,
        layer: Layer { number: at + 1, of, digest, created_by: told(at) },
    };
    Ok(layers.into_iter().enumerate().map(file).collect())
}

/// As it stands in a Dockerfile, in one line of bearable length.
fn instruction(created_by: &str) -> String {
    let text = created_by.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match text.strip_prefix("/bin/sh -c ") {
        Some(rest) => rest.strip_prefix("#(nop) ").map_or_else(|| format!("RUN {rest}"), |nop| nop.trim_start().to_owned()),
        None => text.replacen("RUN /bin/sh -c ", "RUN ", 1),
    };
    let text = text.strip_suffix(" # buildkit").unwrap_or(&text);
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::new(path, format!("it cannot be read: {error}"), SAVE_AGAIN))
}

fn check(path: &str, bytes: &[u8], digest: &str) -> Result<(), ImageError> {
    let found = digest_of(bytes);
    if found == digest {
        return Ok(());
    }
    let what = format!("its content is not what its digest says: it should be {digest} and is {found}");
    Err(ImageError::new(path, what, "It was changed or cut off. Save the image again"))
}

fn bounded(place: &str, count: usize, most: usize, what: &str) -> Result<(), ImageError> {
    if count <= most {
        return Ok(());
    }
    Err(ImageError::new(place, format!("it names {count} {what}, and {most} are the most that is read"), "Save one image alone"))
}

pub(super) fn missing(path: &str, what: &str) -> ImageError {
    let mend = "Save the image again, with all of its layers (and with `--platform` if it has several)";
    ImageError::new(path, format!("{what} is missing: it is named, but there is no such file"), mend)
}

/// Where a layout keeps what has this digest. A digest is never a path.
fn blob_path(place: &str, digest: &str) -> Result<String, ImageError> {
    Ok(format!("blobs/sha256/{}", &known_algorithm(place, digest)?["sha256:".len()..]))
}

fn known_algorithm<'a>(place: &str, digest: &'a str) -> Result<&'a str, ImageError> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if is_hex(hex) => Ok(digest),
        _ => {
            let what = format!("it names `{digest}`, which is no SHA-256 digest");
            Err(ImageError::new(place, what, "Save the image again, with `sha256` digests"))
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The digest that a file is named after.
fn digest_in(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    is_hex(name).then(|| format!("sha256:{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_shown_as_they_were_written() {
        for (created_by, shown) in [
            ("/bin/sh -c #(nop) ADD file:1a in / ", "ADD file:1a in /"),
            ("/bin/sh -c apt-get update &&     apt-get install -y curl", "RUN apt-get update && apt-get install -y curl"),
            ("RUN /bin/sh -c npm ci # buildkit", "RUN npm ci"),
            ("COPY . /app # buildkit", "COPY . /app"),
            ("", ""),
        ] {
            assert_eq!(instruction(created_by), shown);
        }
        assert_eq!(instruction(&"ä".repeat(300)).chars().count(), 101);
    }

    #[test]
    fn digests_are_never_paths() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(blob_path("x", &format!("sha256:{hex}")).unwrap(), format!("blobs/sha256/{hex}"));
        for wrong in ["sha256:../../etc/passwd", "sha512:00", "sha256:", &format!("sha256:{}", hex.to_uppercase())] {
            assert!(blob_path("index.json", wrong).unwrap_err().to_string().starts_with("index.json: it names "), "{wrong}");
        }
    }
}
