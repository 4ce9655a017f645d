//! Images between an engine, registries and files.

use bollard::auth::DockerCredentials;
use bollard::models::ProgressDetail;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder, PushImageOptionsBuilder};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};

use crate::container::words;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::{Image, checked, refused, split};

/// Who a registry takes the runner for. Borrowed for the time of one transfer: the engine keeps none. Deliberately without `Debug`.
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

/// How far a part of an image has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A layer's short digest; empty where it is about the whole.
    pub part: String,
    /// The engine's words: `Downloading`, `Pull complete`, …
    pub status: String,
    /// Bytes, and of how many.
    pub done: Option<u64>,
    pub total: Option<u64>,
}

/// Where a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest: `sha256:…`.
    pub digest: String,
    /// Of the manifest, in bytes.
    pub size: u64,
}

pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl Engine {
    /// Brings one image, whatever other tags its repository has. `platform`: `linux/arm64`, if not the engine's own.
    ///
    /// # Errors
    /// What the registry said ([`EngineError::Registry`]), or what the engine did.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        login: Option<&Login<'_>>,
        progress: OnProgress<'_>,
    ) -> Result<Image, EngineError> {
        let (repository, tag) = split(checked(reference)?);
        let mut options = CreateImageOptionsBuilder::new().from_image(repository).tag(tag);
        if let Some(platform) = platform {
            options = options.platform(platform);
        }
        let doing = || format!("pulling {reference}");
        let mut told = self.patient().create_image(Some(options.build()), None, login.map(|login| credentials(reference, login)));
        while let Some(told) = told.next().await {
            let told = told.map_err(|error| self.registry(doing(), error))?;
            progress(step(told.id, told.status, told.progress_detail));
        }
        self.image(reference).await?.ok_or_else(|| EngineError::Said {
            doing: doing(),
            status: 404,
            words: "the image is not there, though nothing went wrong: another program may have removed it".to_owned(),
        })
    }

    /// # Errors
    /// What the registry said ([`EngineError::Registry`]), or what the engine did. Nothing is tried twice here.
    pub async fn push(&self, reference: &str, login: Option<&Login<'_>>, progress: OnProgress<'_>) -> Result<Pushed, EngineError> {
        let (repository, tag) = split(checked(reference)?);
        if tag.starts_with("sha256:") {
            return Err(EngineError::Reference(reference.to_owned()));
        }
        let doing = || format!("pushing {reference}");
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let mut told = Box::pin(self.patient().push_image(repository, Some(options), login.map(|login| credentials(reference, login))));
        let mut pushed = None;
        while let Some(told) = told.next().await {
            let told = told.map_err(|error| self.registry(doing(), error))?;
            let status = told.status.unwrap_or_default();
            pushed = pushed.or_else(|| digest_in(&status));
            progress(step(None, Some(status), told.progress_detail));
        }
        pushed.ok_or_else(|| EngineError::Registry {
            doing: doing(),
            words: "the engine did not say which digest the registry knows the image by".to_owned(),
            refused: false,
        })
    }

    /// Images with all their names, as `docker save` writes them.
    ///
    /// # Errors
    /// If a reference is none.
    pub fn save(&self, references: &[&str]) -> Result<impl Stream<Item = Result<Bytes, EngineError>> + Send + use<>, EngineError> {
        for reference in references {
            checked(reference)?;
        }
        let (engine, doing) = (self.clone(), format!("saving {}", references.join(", ")));
        let saved = self.patient().export_images(references);
        Ok(saved.map(move |piece| piece.map_err(|error| engine.failed(doing.clone(), error))))
    }

    /// Takes in what `docker save` wrote.
    ///
    /// # Errors
    /// If it is no such archive.
    pub async fn load(&self, archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Result<(), EngineError> {
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let told = self.patient().import_image_stream(options, archive, None);
        told.try_for_each(|_| async { Ok(()) }).await.map_err(|error| self.failed("loading an image", error))
    }

    /// What went wrong while a registry was asked through the engine.
    fn registry(&self, doing: String, error: bollard::errors::Error) -> EngineError {
        use bollard::errors::Error;
        match &error {
            // 404 and 500 are what the engine answers with when a registry has no such image, wants a login, or does not answer
            Error::DockerStreamError { .. } | Error::DockerResponseServerError { status_code: 401 | 403 | 404 | 500.., .. } => {
                EngineError::Registry { doing, words: words(&error), refused: refused(&error) }
            }
            _ => self.failed(doing, error),
        }
    }
}

fn credentials(reference: &str, login: &Login<'_>) -> DockerCredentials {
    login.credentials(registry_of(reference))
}

impl Login<'_> {
    pub(crate) fn credentials(&self, registry: &str) -> DockerCredentials {
        DockerCredentials {
            username: Some(self.user.to_owned()),
            password: Some(self.password.to_owned()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }
    }
}

/// As Docker tells a registry from a first part of a name.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

fn step(part: Option<String>, status: Option<String>, detail: Option<ProgressDetail>) -> Progress {
    let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let (done, total) = detail.map_or((None, None), |detail| (bytes(detail.current), bytes(detail.total)));
    Progress { part: part.unwrap_or_default(), status: status.unwrap_or_default(), done, total }
}

/// Of the last line: `latest: digest: sha256:… size: 528`.
fn digest_in(status: &str) -> Option<Pushed> {
    let (_, rest) = status.split_once("digest: ")?;
    let (digest, size) = rest.split_once(" size: ")?;
    digest.starts_with("sha256:").then_some(Pushed { digest: digest.to_owned(), size: size.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_push_tells_the_digest() {
        let pushed = digest_in("1.2: digest: sha256:abc size: 528");
        assert_eq!(pushed, Some(Pushed { digest: "sha256:abc".into(), size: 528 }));
        assert_eq!(digest_in("Pushed"), None);
    }

    #[test]
    fn a_registry_is_told_from_a_name() {
        for (reference, registry) in [
            ("node", "docker.io"),
            ("acme/node:20", "docker.io"),
            ("ghcr.io/acme/node", "ghcr.io"),
            ("localhost/x", "localhost"),
            ("reg:5000/x", "reg:5000"),
        ] {
            assert_eq!(registry_of(reference), registry);
        }
    }
}
