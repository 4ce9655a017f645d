//! Images that an engine has.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder};

use crate::container::words;
use crate::engine::Engine;
use crate::error::EngineError;

/// An image as the engine knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// `sha256:` and 64 hex digits.
    pub id: String,
    /// `repository:tag`
    pub tags: Vec<String>,
    /// `repository@sha256:…`
    pub digests: Vec<String>,
    pub size: u64,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    pub os: String,
    pub labels: BTreeMap<String, String>,
    /// `5432/tcp`
    pub exposed: Vec<String>,
    /// Paths for which every container gets an anonymous volume.
    pub volumes: Vec<String>,
    /// The digests of its layers, lowest first.
    pub layers: Vec<String>,
    /// Empty: root.
    pub user: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// Instructions that a build which starts from it carries out.
    pub on_build: Vec<String>,
    pub workdir: String,
}

impl Image {
    /// The numbers of [`Image::exposed`] that are spoken TCP to.
    pub fn tcp_ports(&self) -> Vec<u16> {
        let port = |exposed: &String| match exposed.split_once('/') {
            None => exposed.parse().ok(),
            Some((port, "tcp")) => port.parse().ok(),
            Some(_) => None,
        };
        self.exposed.iter().filter_map(port).collect()
    }
}

impl Engine {
    /// By its reference or id. None if the engine does not have it.
    ///
    /// # Errors
    /// If the reference is none, or the engine does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        match self.docker.inspect_image(checked(reference)?).await {
            Ok(found) => Ok(Some(image(found))),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(format!("inspecting image {reference}"), error)),
        }
    }

    /// All that have a name.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn images(&self) -> Result<Vec<Image>, EngineError> {
        let listed = self.docker.list_images(Some(ListImagesOptionsBuilder::new().build())).await;
        let listed = listed.map_err(|error| self.failed("listing images", error))?;
        let mut images = Vec::with_capacity(listed.len());
        for summary in listed {
            if summary.repo_tags.iter().all(|tag| tag == "<none>:<none>") && summary.repo_digests.is_empty() {
                continue;
            }
            // one that is removed meanwhile is no longer there to be listed
            images.extend(self.image(&summary.id).await?);
        }
        Ok(images)
    }

    /// One more name for an image.
    ///
    /// # Errors
    /// If there is no such image, or the target is no `repository:tag`.
    pub async fn tag(&self, source: &str, target: &str) -> Result<(), EngineError> {
        let (repository, tag) = split(checked(target)?);
        if tag.starts_with("sha256:") {
            return Err(EngineError::Reference(target.to_owned()));
        }
        let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        let tagged = self.docker.tag_image(checked(source)?, Some(options)).await;
        tagged.map_err(|error| self.failed(format!("naming {source} {target}"), error))
    }

    /// Takes away a name, and the image if it was the last one.
    ///
    /// # Errors
    /// If there is no such image, or a container uses it.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
        match self.docker.remove_image(checked(reference)?, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(format!("removing image {reference}"), error)),
        }
    }
}

/// References become parts of paths in requests: nothing that means more there gets through.
pub(crate) fn checked(reference: &str) -> Result<&str, EngineError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@[]".contains(&byte);
    let parts_fit = reference.split('/').all(|part| !part.is_empty() && part.bytes().any(|byte| byte.is_ascii_alphanumeric()));
    if !reference.is_empty() && reference.len() <= 4096 && reference.bytes().all(fits) && parts_fit {
        Ok(reference)
    } else {
        Err(EngineError::Reference(reference.to_owned()))
    }
}

/// Repository, and tag or digest: `latest` where there is neither, as Docker reads it.
pub(crate) fn split(reference: &str) -> (&str, &str) {
    if let Some((repository, digest)) = reference.split_once('@') {
        return (repository, digest);
    }
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

fn image(found: ImageInspect) -> Image {
    let config = found.config.unwrap_or_default();
    Image {
        id: found.id.unwrap_or_default(),
        tags: found.repo_tags.unwrap_or_default(),
        digests: found.repo_digests.unwrap_or_default(),
        size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        architecture: found.architecture.unwrap_or_default(),
        os: found.os.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        exposed: config.exposed_ports.unwrap_or_default(),
        volumes: config.volumes.unwrap_or_default(),
        layers: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        on_build: config.on_build.unwrap_or_default(),
        workdir: config.working_dir.unwrap_or_default(),
    }
}

/// Whether a registry's words mean that the login is missing, wrong, or not enough.
pub(crate) fn refused(error: &bollard::errors::Error) -> bool {
    let words = words(error).to_lowercase();
    ["unauthorized", "authentication required", "no basic auth credentials", "denied", "forbidden"].iter().any(|word| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        for (reference, repository, tag) in [
            ("node", "node", "latest"),
            ("node:20", "node", "20"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app", "latest"),
            ("127.0.0.1:5000/app:1.2", "127.0.0.1:5000/app", "1.2"),
            ("app@sha256:00", "app", "sha256:00"),
        ] {
            assert_eq!(split(checked(reference).unwrap()), (repository, tag));
        }
    }

    #[test]
    fn what_would_mean_more_in_a_path_is_no_reference() {
        for reference in ["", "../x", "a/../b", "a/./b", "a//b", "/a", "a/", "a?b", "a#b", "a%2fb", "a b", "a\nb", "ü"] {
            assert!(checked(reference).is_err(), "{reference:?}");
        }
    }

    #[test]
    fn exposed_ports_are_numbers_where_they_are_tcp() {
        let image = Image { exposed: vec!["5432/tcp".into(), "53/udp".into(), "80".into()], ..Image::default() };
        assert_eq!(image.tcp_ports(), [5432, 80]);
    }
}
