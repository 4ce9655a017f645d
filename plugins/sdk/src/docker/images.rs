//! Images of the engine, and of registries through it. Logins are the host's: a stage never has one.

use super::Error;
use crate::bindings::runner::docker::images as wit;
use crate::bindings::runner::docker::types as wit_types;

/// An image as the engine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:` and 64 hex digits.
    pub id: String,
    /// `repository:tag`
    pub tags: Vec<String>,
    /// `repository@sha256:…`
    pub digests: Vec<String>,
    /// In bytes.
    pub size: u64,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// Ports that it declares, such as `5432/tcp`.
    pub exposed: Vec<String>,
    /// The digests of its layers, lowest first.
    pub layers: Vec<String>,
}

/// Where a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// Of the manifest, in bytes.
    pub size: u64,
}

/// What the engine knows of an image.
pub fn inspect(reference: impl AsRef<str>) -> Result<Image, Error> {
    crate::inside("docker");
    Ok(wit::inspect(reference.as_ref())?.into())
}

/// The images that the grant allows to inspect.
pub fn list() -> Result<Vec<Image>, Error> {
    crate::inside("docker");
    Ok(wit::list()?.into_iter().map(Image::from).collect())
}

/// Brings an image from its registry.
pub fn pull(reference: impl AsRef<str>) -> Result<Image, Error> {
    crate::inside("docker");
    Ok(wit::pull(reference.as_ref())?.into())
}

/// Brings an image to its registry.
pub fn push(reference: impl AsRef<str>) -> Result<Pushed, Error> {
    crate::inside("docker");
    let wit::Pushed { digest, size } = wit::push(reference.as_ref())?;
    Ok(Pushed { digest, size })
}

/// Gives an image one more name.
pub fn tag(source: impl AsRef<str>, target: impl AsRef<str>) -> Result<(), Error> {
    crate::inside("docker");
    Ok(wit::tag(source.as_ref(), target.as_ref())?)
}

/// Writes images, as `docker save` does, into a new file below `/workspace` or `/scratch`. Answers with its size.
pub fn save<S: Into<String>>(references: impl IntoIterator<Item = S>, path: impl AsRef<str>) -> Result<u64, Error> {
    crate::inside("docker");
    let references: Vec<String> = references.into_iter().map(Into::into).collect();
    Ok(wit::save(&references, path.as_ref())?)
}

/// Takes away a name, and the image if it was the last one.
pub fn remove(reference: impl AsRef<str>) -> Result<(), Error> {
    crate::inside("docker");
    Ok(wit::remove(reference.as_ref())?)
}

impl From<wit_types::Image> for Image {
    fn from(image: wit_types::Image) -> Image {
        let wit_types::Image { id, tags, digests, size, architecture, labels, exposed, layers } = image;
        Image { id, tags, digests, size, architecture, labels, exposed, layers }
    }
}
