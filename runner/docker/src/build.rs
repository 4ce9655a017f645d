//! Builds, by BuildKit where the engine has it and by its classic builder otherwise.
//!
//! The archive is the whole context: the engine is not asked to fetch one. A session gives BuildKit no files, secrets or agents of this machine,
//! only the logins that are handed in. Deliberately absent: what a Dockerfile may use (`capability-docker` has read it), and exports other than
//! into the engine.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::transfer::Login;

/// What is to be built.
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    /// Where the Dockerfile is in the archive.
    pub dockerfile: String,
    /// Further names are given with [`Engine::tag`].
    pub tag: Option<String>,
    pub args: Vec<(String, String)>,
    /// A stage of the Dockerfile; empty: the last.
    pub target: String,
    pub labels: HashMap<String, String>,
    /// Empty: the engine's own.
    pub platform: String,
    /// Whether `RUN` steps have the engine's bridge; otherwise they have loopback alone.
    pub network: bool,
    pub cache_from: Vec<String>,
    pub no_cache: bool,
    pub buildkit: bool,
}

/// Something that happened in a build, for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A step began, was taken from the cache, or ended.
    Step(String),
    Printed(Bytes),
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub id: String,
    pub steps: u32,
    pub cached: u32,
}

impl Engine {
    /// Builds from an archive of the context.
    ///
    /// # Errors
    /// With the step that failed and its last words.
    pub async fn build(
        &self,
        spec: &BuildSpec,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        logins: &[(String, Login<'_>)],
        tell: &(dyn Fn(Told) + Send + Sync),
    ) -> Result<Built, EngineError> {
        const DOING: &str = "building an image";
        let credentials: HashMap<String, DockerCredentials> =
            logins.iter().map(|(registry, login)| (registry.clone(), login.credentials(registry))).collect();
        let body = bollard::body_try_stream(archive);
        let docker = self.patient();
        let mut told = Box::pin(docker.build_image(options(spec), Some(credentials), Some(body)));
        let mut progress = Progress::default();
        while let Some(info) = told.next().await {
            let info = info.map_err(|error| progress.failed(self.failed(DOING, error)))?;
            if let Some(why) = info.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                return Err(progress.failed(EngineError::Said { doing: DOING.to_owned(), status: 500, words: why }));
            }
            progress.hear(info, tell);
        }
        let id = match (progress.id.take(), &spec.tag) {
            (Some(id), _) => id,
            (None, Some(tag)) => self.image(tag).await?.map(|image| image.id).unwrap_or_default(),
            (None, None) => String::new(),
        };
        if id.is_empty() {
            return Err(progress.failed(EngineError::Said {
                doing: DOING.to_owned(),
                status: 500,
                words: "it ended without an image".to_owned(),
            }));
        }
        Ok(Built { id, steps: progress.steps, cached: progress.cached })
    }
}

fn options(spec: &BuildSpec) -> BuildImageOptions {
    let args: HashMap<String, String> = spec.args.iter().cloned().collect();
    let mut options = BuildImageOptionsBuilder::new()
        .dockerfile(&spec.dockerfile)
        .buildargs(&args)
        .labels(&spec.labels)
        .networkmode(if spec.network { "bridge" } else { "none" })
        .nocache(spec.no_cache)
        .rm(true)
        .forcerm(true);
    if let Some(tag) = &spec.tag {
        options = options.t(tag);
    }
    if !spec.target.is_empty() {
        options = options.target(&spec.target);
    }
    if !spec.platform.is_empty() {
        options = options.platform(&spec.platform);
    }
    if !spec.cache_from.is_empty() {
        options = options.cachefrom(&spec.cache_from);
    }
    match spec.buildkit {
        true => {
            let session = crate::digest::hex(format!("{:?}{:?}", std::time::SystemTime::now(), std::thread::current().id()).as_bytes());
            options.version(BuilderVersion::BuilderBuildKit).session(&session[..32]).build()
        }
        false => options.version(BuilderVersion::BuilderV1).build(),
    }
}

/// What is known of a build that goes on.
#[derive(Default)]
struct Progress {
    id: Option<String>,
    steps: u32,
    cached: u32,
    /// The step that is being carried out.
    step: String,
    last: Vec<u8>,
    /// BuildKit's steps by their digest: their names, and whether their end was told.
    known: HashMap<String, (String, bool)>,
}

/// How much of what was printed last stands in an error.
const LAST: usize = 2048;

impl Progress {
    fn hear(&mut self, info: BuildInfo, tell: &(dyn Fn(Told) + Send + Sync)) {
        if let Some(text) = info.stream {
            self.classic(&text, tell);
        }
        match info.aux {
            Some(BuildInfoAux::Default(image)) => self.id = image.id.or(self.id.take()),
            Some(BuildInfoAux::BuildKit(status)) => self.buildkit(status, tell),
            None => {}
        }
    }

    fn printed(&mut self, bytes: &[u8], tell: &(dyn Fn(Told) + Send + Sync)) {
        self.last.extend_from_slice(bytes);
        let surplus = self.last.len().saturating_sub(LAST);
        self.last.drain(..surplus);
        tell(Told::Printed(Bytes::copy_from_slice(bytes)));
    }

    fn classic(&mut self, text: &str, tell: &(dyn Fn(Told) + Send + Sync)) {
        let line = text.trim_end();
        if line.starts_with("Step ") {
            self.steps += 1;
            self.step = line.to_owned();
            self.last.clear();
            tell(Told::Step(line.to_owned()));
        } else if line.trim_start() == "---> Using cache" {
            self.cached += 1;
            tell(Told::Step(line.trim_start().to_owned()));
        } else if !line.is_empty() && !line.trim_start().starts_with("---> ") && !line.starts_with("Removing intermediate container ") {
            self.printed(text.as_bytes(), tell);
        }
    }

    fn buildkit(&mut self, status: bollard::moby::buildkit::v1::StatusResponse, tell: &(dyn Fn(Told) + Send + Sync)) {
        for vertex in status.vertexes {
            let (_, over) = self.known.entry(vertex.digest.clone()).or_insert_with(|| (vertex.name.clone(), false));
            let internal = vertex.name.starts_with("[internal]");
            if vertex.started.is_some() && vertex.completed.is_none() && !vertex.cached {
                self.step = vertex.name.clone();
                tell(Told::Step(vertex.name.clone()));
            }
            if (vertex.completed.is_some() || vertex.cached) && !*over {
                *over = true;
                if !internal {
                    self.steps += 1;
                    self.cached += u32::from(vertex.cached);
                }
                if vertex.cached {
                    tell(Told::Step(format!("{} (from the cache)", vertex.name)));
                }
            }
            if !vertex.error.is_empty() {
                self.step = vertex.name;
            }
        }
        for log in status.logs {
            self.printed(&log.msg, tell);
        }
    }

    /// An error with the step, and what was printed last.
    fn failed(&self, error: EngineError) -> EngineError {
        let EngineError::Said { doing, status, words } = error else { return error };
        let doing = if self.step.is_empty() { doing } else { format!("{doing}, at `{}`", self.step) };
        let last = String::from_utf8_lossy(&self.last);
        let last = last.trim();
        let words = if last.is_empty() || words.contains(last) { words } else { format!("{words}\n{last}") };
        EngineError::Said { doing, status, words }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_classic_builder_is_understood() {
        let (told, mut progress) = (Mutex::new(Vec::new()), Progress::default());
        let tell = |one: Told| told.lock().unwrap().push(one);
        for text in ["Step 1/2 : FROM x", "\n", " ---> 0123456789ab\n", "Step 2/2 : RUN make", " ---> Using cache\n", "hello\n"] {
            progress.classic(text, &tell);
        }
        assert_eq!((progress.steps, progress.cached, progress.last.as_slice()), (2, 1, &b"hello\n"[..]));
        let told = told.into_inner().unwrap();
        assert_eq!(told.last(), Some(&Told::Printed(Bytes::from_static(b"hello\n"))));
        let error = EngineError::Said { doing: "building an image".into(), status: 500, words: "returned 1".into() };
        assert_eq!(
            progress.failed(error).to_string(),
            "building an image, at `Step 2/2 : RUN make`: the Docker engine says: returned 1\nhello (status 500)"
        );
    }

    #[test]
    fn steps_have_no_network_unless_it_is_said() {
        let narrow = options(&BuildSpec::default());
        assert_eq!((narrow.networkmode.as_deref(), narrow.remote), (Some("none"), None));
        assert_eq!(options(&BuildSpec { network: true, ..BuildSpec::default() }).networkmode.as_deref(), Some("bridge"));
    }
}
