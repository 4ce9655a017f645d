//! What lies under the files: an image of a registry, or of an OCI layout (a folder, or a tar of one) in the workspace.
//!
//! Both are a graph of documents that name each other by digest, so they are walked by one function over a trait. A layout's blobs are checked
//! against their digests before they are used. Deliberately absent: archives of engines that write no OCI layout (Docker before 25).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use runner_sdk::{Failure, files};
use serde_json::Value;

use crate::blob::{Blob, Descriptor, ForPlatform, Place, copy, media};
use crate::reference::Reference;
use crate::registry::Client;
use crate::settings::Platform;

/// A document larger than this is none.
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// An index may hold indexes, but not for ever.
const DEEPEST: u32 = 4;

/// An image to build upon.
#[derive(Debug, Clone)]
pub struct BaseImage {
    pub config: Value,
    pub layers: Vec<Blob>,
    /// Of its manifest.
    pub digest: String,
    /// The reference that it came from.
    pub name: Option<String>,
}

/// Where the documents and blobs of an image are.
pub trait Source {
    /// How messages call it.
    fn name(&self) -> String;
    /// Where to begin.
    fn roots(&mut self) -> Result<Vec<Descriptor>, Failure>;
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure>;
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Blob, Failure>;
}

/// The image of a platform.
///
/// # Errors
/// If there is none, or it is no image.
pub fn find(source: &mut dyn Source, platform: &Platform) -> Result<BaseImage, Failure> {
    let name = source.name();
    let no_image = |why: String| Failure::misconfigured(format_args!("base: {name} is no OCI image: {why}"));
    let mut search = Search { platform, candidates: Vec::new(), seen: Vec::new() };
    let roots = source.roots()?;
    search.collect(source, roots, DEEPEST)?;
    let Search { candidates, mut seen, .. } = search;
    for (descriptor, manifest) in candidates {
        let part = |name: &str| serde_json::from_value::<Descriptor>(manifest.get(name).cloned().unwrap_or_default());
        let config = part("config").map_err(|error| no_image(format!("the manifest {} has no `config`: {error}", descriptor.digest)))?;
        // what is attached to an image stands in indexes too, and is none
        if !config.media_type.ends_with("image.config.v1+json") && !config.media_type.ends_with("container.image.v1+json") {
            continue;
        }
        let config: Value = serde_json::from_slice(&source.document(&config)?)
            .map_err(|error| no_image(format!("the configuration {} is no JSON: {error}", config.digest)))?;
        let stated = |field: &str| config.get(field).and_then(Value::as_str).map(str::to_owned);
        let Some((os, architecture)) = stated("os").zip(stated("architecture")) else {
            return Err(no_image("its configuration does not say for which platform it is".into()));
        };
        let is = Platform { os, architecture, variant: stated("variant") };
        if !fits(&is, platform) {
            seen.push(is.to_string());
            continue;
        }
        let layers: Vec<Descriptor> = serde_json::from_value(manifest.get("layers").cloned().unwrap_or_default())
            .map_err(|error| no_image(format!("the manifest {} has no `layers`: {error}", descriptor.digest)))?;
        let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array).map_or(0, Vec::len);
        if ids != layers.len() {
            return Err(no_image(format!("{} layers, and the configuration knows {ids}", layers.len())));
        }
        let mut blobs = Vec::with_capacity(layers.len());
        for mut layer in layers {
            let mut blob = source.blob(&layer)?;
            if layer.media_type == media::DOCKER_LAYER {
                layer.media_type = media::LAYER.into();
            }
            blob.descriptor = layer;
            blobs.push(blob);
        }
        return Ok(BaseImage { config, layers: blobs, digest: descriptor.digest, name: None });
    }
    match seen.is_empty() {
        true => Err(no_image("there is no manifest of an image in it".into())),
        false => Err(Failure::misconfigured(format_args!("base: {name} is not for {platform}; it is for {}", seen.join(", ")))),
    }
}

/// An image that says no variant is for all of them.
fn fits(is: &Platform, wanted: &Platform) -> bool {
    let variants = wanted.variant.is_none() || is.variant.is_none() || wanted.variant == is.variant;
    is.os == wanted.os && is.architecture == wanted.architecture && variants
}

struct Search<'a> {
    platform: &'a Platform,
    /// Manifests that may be it, in their order.
    candidates: Vec<(Descriptor, Value)>,
    /// The platforms of those that are not.
    seen: Vec<String>,
}

impl Search<'_> {
    /// All manifests below some descriptors, but for those that an index says to be for another platform.
    fn collect(&mut self, source: &mut dyn Source, from: Vec<Descriptor>, deepest: u32) -> Result<(), Failure> {
        let no_image = |name: &str, why: String| Failure::misconfigured(format_args!("base: {name} is no OCI image: {why}"));
        for descriptor in from {
            if let Some(stated) = descriptor.platform.as_ref().map(Platform::from).filter(|stated| !fits(stated, self.platform)) {
                self.seen.push(stated.to_string());
                continue;
            }
            let known = media::is_index(&descriptor.media_type) || media::is_manifest(&descriptor.media_type);
            if !known || !descriptor.is_sound() {
                let why = format!("`{}` ({}) is neither a manifest nor an index", descriptor.digest, descriptor.media_type);
                return Err(no_image(&source.name(), why));
            }
            let document: Value = serde_json::from_slice(&source.document(&descriptor)?)
                .map_err(|error| no_image(&source.name(), format!("{} is no JSON: {error}", descriptor.digest)))?;
            if media::is_manifest(&descriptor.media_type) {
                self.candidates.push((descriptor, document));
            } else if deepest > 0 {
                let inner = serde_json::from_value(document.get("manifests").cloned().unwrap_or_default())
                    .map_err(|error| no_image(&source.name(), format!("{} is no index: {error}", descriptor.digest)))?;
                self.collect(source, inner, deepest - 1)?;
            }
        }
        Ok(())
    }
}

/// An OCI layout of the workspace.
pub struct Layout {
    shown: String,
    root: PathBuf,
    /// Of a tar: where each file's bytes begin, and how many they are.
    entries: Option<BTreeMap<String, (u64, u64)>>,
}

impl Layout {
    /// # Errors
    /// If there is nothing at the path, or nothing that could be a layout.
    pub fn open(path: &str) -> Result<Layout, Failure> {
        let root = files::resolve(path);
        let mut layout = Layout { shown: path.to_owned(), root, entries: None };
        if layout.root.is_dir() {
            return Ok(layout);
        }
        let file = match files::open(&layout.root) {
            Ok(file) => file,
            Err(error) if error.denial().is_none() && error.source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::misconfigured(format_args!("base: there is no {path} in the workspace")));
            }
            Err(error) => return Err(error.into()),
        };
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(file);
        let no_tar = |error: std::io::Error| Failure::misconfigured(format_args!("base: {path} is neither a folder nor a tar: {error}"));
        for entry in archive.entries_with_seek().map_err(no_tar)? {
            let entry = entry.map_err(no_tar)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            entries.insert(name, (entry.raw_file_position(), entry.size()));
        }
        if entries.contains_key("manifest.json") && !entries.contains_key("index.json") {
            return Err(Failure::misconfigured(format_args!(
                "base: {path} is an archive of an engine that writes no OCI layout (Docker before 25); convert it: `skopeo copy docker-archive:… oci-archive:…`"
            )));
        }
        layout.entries = Some(entries);
        Ok(layout)
    }

    /// Where a file's bytes are.
    fn place(&self, name: &str) -> Result<(PathBuf, u64, u64), Failure> {
        let missing = || Failure::misconfigured(format_args!("base: {} is no OCI image: there is no {name} in it", self.shown));
        match &self.entries {
            Some(entries) => entries.get(name).map(|(at, size)| (self.root.clone(), *at, *size)).ok_or_else(missing),
            None => {
                let path = self.root.join(name);
                let size = std::fs::metadata(&path).map_err(|_| missing())?.len();
                Ok((path, 0, size))
            }
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let (path, at, size) = self.place(name)?;
        if size > LARGEST_DOCUMENT {
            return Err(Failure::misconfigured(format_args!("base: {} is no OCI image: {name} has {size} bytes", self.shown)));
        }
        let failed = |source| Failure::from(files::Error { operation: "read", path: path.clone(), source });
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(size).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl Source for Layout {
    fn name(&self) -> String {
        self.shown.clone()
    }

    fn roots(&mut self) -> Result<Vec<Descriptor>, Failure> {
        let index: Value = serde_json::from_slice(&self.read("index.json")?).unwrap_or_default();
        serde_json::from_value(index.get("manifests").cloned().unwrap_or_default())
            .map_err(|error| Failure::misconfigured(format_args!("base: {} is no OCI image: index.json: {error}", self.shown)))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let Place::File(..) = self.blob(descriptor)?.place else { unreachable!("a layout is files") };
        self.read(&name_of(descriptor))
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Blob, Failure> {
        let broken = |why: String| Failure::misconfigured(format_args!("base: {} is no OCI image: {why}", self.shown));
        if !descriptor.is_sound() {
            return Err(broken(format!("`{}` is no `sha256:` digest", descriptor.digest)));
        }
        let (path, at, size) = self.place(&name_of(descriptor))?;
        let blob = Blob { descriptor: Descriptor { size, ..descriptor.clone() }, place: Place::File(path, at) };
        let unread = |error| broken(format!("{} can't be read: {error}", descriptor.digest));
        let mut bytes = blob.open(0).map_err(unread)?.ok_or_else(|| broken("a layout is files".into()))?;
        let (found, size) = copy(&mut *bytes, std::io::sink()).map_err(unread)?;
        if found != descriptor.digest || size != descriptor.size {
            return Err(broken(format!("the blob {} has {size} bytes and the digest {found}", descriptor.digest)));
        }
        Ok(blob)
    }
}

fn name_of(descriptor: &Descriptor) -> String {
    format!("blobs/{}", descriptor.digest.replace(':', "/"))
}

/// An image of a registry.
pub struct Remote<'a, 'w> {
    pub client: &'a mut Client<'w>,
    pub reference: Reference,
}

impl Source for Remote<'_, '_> {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn roots(&mut self) -> Result<Vec<Descriptor>, Failure> {
        let found = self.client.manifest(&self.reference.repository, self.reference.wanted())?;
        let found = found.ok_or_else(|| Failure::misconfigured(format_args!("base: there is no image {}", self.reference)))?;
        Ok(vec![found.descriptor])
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let repository = self.reference.repository.clone();
        if media::is_manifest(&descriptor.media_type) || media::is_index(&descriptor.media_type) {
            let found = self.client.manifest(&repository, &descriptor.digest)?;
            return found.map(|found| found.bytes).ok_or_else(|| {
                Failure::errored(format_args!("base: {} names {}, which its registry does not have", self.reference, descriptor.digest))
            });
        }
        if descriptor.size > LARGEST_DOCUMENT || !descriptor.is_sound() {
            return Err(Failure::misconfigured(format_args!(
                "base: {} is no OCI image: {} is no document",
                self.reference, descriptor.digest
            )));
        }
        let blob = self.client.fetch(&repository, descriptor)?;
        let mut bytes = Vec::new();
        let unread = |error| Failure::errored(format_args!("{}: {error}", descriptor.digest));
        if let Some(mut open) = blob.open(0).map_err(unread)? {
            open.read_to_end(&mut bytes).map_err(unread)?;
        }
        Ok(bytes)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Blob, Failure> {
        if !descriptor.is_sound() {
            return Err(Failure::misconfigured(format_args!(
                "base: {} is no OCI image: `{}` is no digest",
                self.reference, descriptor.digest
            )));
        }
        Ok(Blob { descriptor: descriptor.clone(), place: Place::Registry(self.reference.repository.clone()) })
    }
}

/// What an index says of a manifest's platform.
impl From<&ForPlatform> for Platform {
    fn from(stated: &ForPlatform) -> Platform {
        Platform { os: stated.os.clone(), architecture: stated.architecture.clone(), variant: stated.variant.clone() }
    }
}

#[cfg(test)]
mod tests;
