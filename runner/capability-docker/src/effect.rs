//! What a stage can ask of the engine, as data.
//!
//! A container is a number, which counts from 1 within an attempt and is given out before anything is decided, so that a stage that is run again on
//! its record gives the same ones. It is also the label by which a container is found again after the runner was killed.

use std::borrow::Cow;
use std::time::Duration;

use capability::output::OutputError;
pub use capability::output::{Captured, Output};
use capability::{Class, Effect, Nothing};
use docker::EngineError;
use pipeline::grant::Used;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::grant::Operation;
use crate::places::Place;
use crate::reference::Reference;

/// How a container reaches others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    None,
    Stage,
    Granted,
}

/// Why something did not happen, though it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Registry(String),
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Limit(String),
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match &error {
            EngineError::Reference(_) => Fault::Invalid(text),
            EngineError::Registry { .. } => Fault::Registry(text),
            _ if error.is_missing() => Fault::NotFound(text),
            _ if error.is_conflict() => Fault::Conflict(text),
            EngineError::Said { status: 400, .. } => Fault::Invalid(text),
            _ => Fault::Engine(text),
        }
    }
}

impl From<OutputError> for Fault {
    fn from(error: OutputError) -> Self {
        let text = error.to_string();
        match error {
            OutputError::Log | OutputError::Disk(_) => Fault::Limit(text),
            OutputError::File { .. } => Fault::Engine(text),
        }
    }
}

pub type Answer<T> = Result<T, Fault>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: String,
    pub target: String,
    pub writable: bool,
}

/// Starting a container: `docker.run`.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub number: u32,
    pub image: String,
    pub entrypoint: Vec<String>,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    pub user: Option<String>,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub read_only_root: bool,
    pub memory: Option<u64>,
    pub cpus: Option<u32>,
    pub pids: Option<u32>,
    #[serde(serialize_with = "digest")]
    pub stdin: Vec<u8>,
    pub stdout: Output,
    pub stderr: Output,
    pub timeout: Option<Duration>,
    pub name: Option<String>,
}

/// Input is recorded as its length and its BLAKE3.
fn digest<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    (bytes.len(), blake3::hash(bytes).to_hex().as_str()).serialize(to)
}

/// What is at the places of an effect, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sights(pub Option<Vec<Sight>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    Folder,
    File,
    /// The last part of the path, or one before it, is a link.
    Link,
    Missing,
    /// A FIFO, a socket, a device.
    Other,
}

/// Looks at places of the stage's files.
#[derive(Debug, Serialize)]
pub struct Look(pub Vec<Place>);

impl Effect for Run {
    const NAME: &'static str = "docker.run";
    type Question = Look;
    type Seen = Sights;
    type Reply = Answer<()>;

    fn subject(&self) -> Cow<'_, str> {
        let words: Vec<&str> = self.entrypoint.iter().chain(&self.arguments).map(String::as_str).collect();
        Cow::Owned([&[self.image.as_str()], &words[..]].concat().join(" "))
    }

    fn class(&self) -> Class {
        Class::Once
    }
}

/// A further program in a container: `docker.exec`.
#[derive(Debug, Clone, Serialize)]
pub struct Exec {
    pub container: u32,
    /// Counts with the containers: its output has a number of its own.
    pub number: u32,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    pub stdout: Output,
    pub stderr: Output,
    pub timeout: Option<Duration>,
}

/// How a container, or a program in it, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    pub out_of_memory: bool,
    pub timed_out: bool,
    pub duration: Duration,
    pub stdout: Option<Captured>,
    pub stderr: Option<Captured>,
}

impl Effect for Exec {
    const NAME: &'static str = "docker.exec";
    type Question = Nothing;
    type Seen = ();
    type Reply = Answer<Exit>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(format!("container {}: {}", self.container, self.arguments.join(" ")))
    }

    fn class(&self) -> Class {
        Class::Once
    }
}

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    In,
    Out,
}

/// Files between a stage and its container: `docker.copy`.
#[derive(Debug, Clone, Serialize)]
pub struct Copy {
    pub container: u32,
    pub way: Way,
    /// Of the stage: `/workspace/…`, `/scratch/…`.
    pub here: String,
    /// Of the container.
    pub there: String,
    /// Where the container has mounts.
    #[serde(skip)]
    pub mounted: Vec<String>,
}

impl Effect for Copy {
    const NAME: &'static str = "docker.copy";
    type Question = Look;
    type Seen = Sights;
    type Reply = Answer<()>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(match self.way {
            Way::In => format!("{} to container {}: {}", self.here, self.container, self.there),
            Way::Out => format!("container {}: {} to {}", self.container, self.there, self.here),
        })
    }

    fn class(&self) -> Class {
        Class::Idempotent
    }
}

/// How a container stands: `docker.state`.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    pub container: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub running: bool,
    pub id: String,
    pub image: String,
    /// Nanoseconds since 1970.
    pub started: Option<u64>,
    pub ended: Option<u64>,
}

impl Effect for State {
    const NAME: &'static str = "docker.state";
    type Question = Nothing;
    type Seen = ();
    type Reply = Answer<Standing>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(format!("container {}", self.container))
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub size: u64,
    pub architecture: String,
    pub labels: Vec<(String, String)>,
    pub exposed: Vec<String>,
    pub layers: Vec<String>,
}

impl From<docker::Image> for Image {
    fn from(image: docker::Image) -> Self {
        let docker::Image { id, tags, digests, size, architecture, labels, exposed, layers, .. } = image;
        Image { id, tags, digests, size, architecture, labels: labels.into_iter().collect(), exposed, layers }
    }
}

/// What an operation on images by their references is.
pub trait ImageOperation: std::fmt::Debug + Serialize + Send + Sync + 'static {
    const NAME: &'static str;
    const CLASS: Class;
    type Reply: std::fmt::Debug + Serialize + DeserializeOwned + Send;

    /// What it is about, and what has to be granted for it: one of these.
    fn demands(&self) -> Vec<(&str, &'static [Operation])>;

    /// A file that it makes.
    fn file(&self) -> Option<&str> {
        None
    }
}

/// An operation on images.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct OnImages<O>(pub O);

impl<O: ImageOperation> Effect for OnImages<O> {
    const NAME: &'static str = O::NAME;
    type Question = Look;
    type Seen = Sights;
    type Reply = Answer<O::Reply>;

    fn subject(&self) -> Cow<'_, str> {
        let demands = self.0.demands();
        match demands.as_slice() {
            [(source, _), (target, _)] if O::NAME == Tag::NAME => Cow::Owned(format!("{source} as {target}")),
            several => Cow::Owned(several.iter().map(|(reference, _)| *reference).collect::<Vec<_>>().join(", ")),
        }
    }

    fn class(&self) -> Class {
        O::CLASS
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $effect:literal $class:ident [$($operation:ident),*] -> $reply:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        pub struct $name {
            pub reference: String,
        }

        impl ImageOperation for $name {
            const NAME: &'static str = $effect;
            const CLASS: Class = Class::$class;
            type Reply = $reply;

            fn demands(&self) -> Vec<(&str, &'static [Operation])> {
                vec![(&self.reference, &[$(Operation::$operation),*])]
            }
        }
    )*};
}

/// Where a push ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    pub digest: String,
    pub size: u64,
}

operations! {
    /// `docker.inspect`; what may be done with an image may be looked at before.
    Inspect "docker.inspect" Read [Inspect, Run, Pull, Build, From, Push, Tag, Save, Remove] -> Image;
    /// `docker.pull`
    Pull "docker.pull" Idempotent [Pull] -> Image;
    /// `docker.pull-base`: what a Dockerfile begins with and the engine does not have.
    PullBase "docker.pull-base" Idempotent [From] -> Image;
    /// `docker.push`; the same image again is the same push.
    Push "docker.push" Idempotent [Push] -> Pushed;
    /// `docker.remove`
    Remove "docker.remove" Idempotent [Remove] -> ();
}

/// `docker.list`: of all images, those that may be looked at.
#[derive(Debug, Clone, Serialize)]
pub struct List;

impl ImageOperation for List {
    const NAME: &'static str = "docker.list";
    const CLASS: Class = Class::Read;
    type Reply = Vec<Image>;

    fn demands(&self) -> Vec<(&str, &'static [Operation])> {
        Vec::new()
    }
}

/// `docker.tag`
#[derive(Debug, Clone, Serialize)]
pub struct Tag {
    pub source: String,
    pub target: String,
}

impl ImageOperation for Tag {
    const NAME: &'static str = "docker.tag";
    const CLASS: Class = Class::Idempotent;
    type Reply = ();

    fn demands(&self) -> Vec<(&str, &'static [Operation])> {
        use Operation::{Build, Inspect, Run, Tag};
        vec![(&self.source, &[Inspect, Run, Build]), (&self.target, &[Tag, Build])]
    }
}

/// `docker.save`
#[derive(Debug, Clone, Serialize)]
pub struct Save {
    pub references: Vec<String>,
    pub path: String,
}

impl ImageOperation for Save {
    const NAME: &'static str = "docker.save";
    const CLASS: Class = Class::Idempotent;
    type Reply = u64;

    fn demands(&self) -> Vec<(&str, &'static [Operation])> {
        self.references.iter().map(|reference| (reference.as_str(), &[Operation::Save][..])).collect()
    }

    fn file(&self) -> Option<&str> {
        Some(&self.path)
    }
}

/// The images of a recorded effect, and what was done with them: to tell which patterns of a grant nobody used.
pub fn images_of(used: Used<'_>) -> Option<(Operation, Vec<Reference>)> {
    #[derive(Deserialize)]
    struct Names {
        image: Option<String>,
        reference: Option<String>,
        target: Option<serde_json::Value>,
        references: Option<Vec<String>>,
        tags: Option<Vec<String>>,
    }
    let operation = match used.effect {
        "docker.run" => Operation::Run,
        "docker.pull" => Operation::Pull,
        "docker.inspect" => Operation::Inspect,
        "docker.push" => Operation::Push,
        "docker.remove" => Operation::Remove,
        "docker.tag" => Operation::Tag,
        "docker.save" => Operation::Save,
        "docker.build" => Operation::Build,
        _ => return None,
    };
    let names: Names = serde_json::from_str(used.request).ok()?;
    let target = names.target.and_then(|target| target.as_str().map(str::to_owned)).filter(|_| operation == Operation::Tag);
    let several = names.references.into_iter().chain(names.tags).flatten();
    let all = names.image.into_iter().chain(names.reference).chain(target).chain(several);
    Some((operation, all.filter_map(|text| Reference::parse(&text).ok()).collect()))
}

/// Building an image: `docker.build`. The same build again gives the same names to what is the same.
#[derive(Debug, Clone, Serialize)]
pub struct Build {
    pub context: String,
    pub dockerfile: String,
    pub tags: Vec<String>,
    pub build_args: Vec<(String, String)>,
    pub target: String,
    pub labels: Vec<(String, String)>,
    pub platform: String,
    pub network: bool,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub timeout: Option<Duration>,
}

/// What was seen of a build before it was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// The Dockerfile, which is what will be built, whatever becomes of the file; or why there is none.
    pub dockerfile: Option<Result<String, String>>,
    pub engine: Option<Result<Bases, Fault>>,
}

/// What the engine knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bases {
    /// Each image that a Dockerfile begins with: its `ONBUILD`, or none if the engine does not have it.
    pub on_build: Vec<Option<Vec<String>>>,
    pub buildkit: bool,
    /// Whether it reads here documents.
    pub documents: bool,
}

/// What policy asks about a build.
#[derive(Debug, Serialize)]
pub enum BuildLook {
    Dockerfile(Place),
    Engine(Vec<Reference>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    pub id: String,
    pub size: u64,
    pub duration: Duration,
    pub cached: u32,
    pub steps: u32,
    pub buildkit: bool,
}

impl Effect for Build {
    const NAME: &'static str = "docker.build";
    type Question = BuildLook;
    type Seen = Scene;
    type Reply = Answer<Built>;

    fn subject(&self) -> Cow<'_, str> {
        let tags = if self.tags.is_empty() { "an image".to_owned() } else { self.tags.join(", ") };
        Cow::Owned(format!("{tags} from {}", self.context))
    }

    fn class(&self) -> Class {
        Class::Idempotent
    }
}

/// What a build begins with and has to be pulled before: `docker.bases`. Decided as the build is.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Missing(pub Build);

impl Effect for Missing {
    const NAME: &'static str = "docker.bases";
    type Question = BuildLook;
    type Seen = Scene;
    type Reply = Answer<Vec<String>>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(format!("of {}", self.0.context))
    }

    fn class(&self) -> Class {
        Class::Read
    }
}
