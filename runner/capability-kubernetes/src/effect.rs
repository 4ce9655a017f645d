//! What a stage can ask of the cluster, as data.
//!
//! Watches and logs are numbers, which count from 1 within an attempt, so that a stage that is run again on its record gives the same ones.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use admission::{Kind, Refusal, Request, Rules, Scene, Target, Verb, Write};
use capability::output::OutputError;
pub use capability::output::{Captured, Output};
use capability::{Class, Effect, Nothing};
use kubernetes::ClusterError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// Why something did not happen, though it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    /// Somebody wrote it since it was looked at: to be judged again.
    #[error("{0}")]
    Outrun(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Cluster(String),
    #[error("{0}")]
    Limit(String),
}

impl From<ClusterError> for Fault {
    fn from(error: ClusterError) -> Self {
        let text = error.to_string();
        match &error {
            _ if error.is_missing() => Fault::NotFound(text),
            _ if error.is_conflict() => Fault::Conflict(text),
            _ if error.is_forbidden() => Fault::Forbidden(text),
            _ if error.is_invalid() => Fault::Invalid(text),
            ClusterError::TooMany { .. } => Fault::Limit(text),
            ClusterError::Said { .. } | ClusterError::Unexpected { .. } => Fault::Cluster(text),
            _ => Fault::Unreachable(text),
        }
    }
}

impl From<OutputError> for Fault {
    fn from(error: OutputError) -> Self {
        Fault::Limit(error.to_string())
    }
}

pub type Answer<T> = Result<T, Fault>;

/// Something that changes nothing in the cluster.
pub trait Reading: std::fmt::Debug + Serialize + Send + Sync + 'static {
    const NAME: &'static str;
    type Reply: std::fmt::Debug + Serialize + DeserializeOwned + Send;

    fn target(&self) -> &Target;

    /// # Errors
    /// If no rule lets it.
    fn admitted(&self, rules: &Rules) -> Result<(), Refusal>;
}

#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Read<O>(pub O);

impl<O: Reading> Effect for Read<O> {
    const NAME: &'static str = O::NAME;
    type Question = Nothing;
    type Seen = ();
    type Reply = Answer<O::Reply>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(self.0.target().to_string())
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

macro_rules! reading {
    ($what:ty, $name:literal, $reply:ty, |$own:ident, $rules:ident| $admitted:expr) => {
        impl Reading for $what {
            const NAME: &'static str = $name;
            type Reply = $reply;

            fn target(&self) -> &Target {
                &self.target
            }

            fn admitted(&self, $rules: &Rules) -> Result<(), Refusal> {
                let $own = self;
                $admitted
            }
        }
    };
}

#[derive(Debug, Clone, Serialize)]
pub struct Get {
    pub target: Place,
}

/// Which of a kind's objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selection {
    pub labels: String,
    pub fields: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct List {
    pub target: Place,
    pub selection: Selection,
    pub limit: u32,
    pub next: String,
}

/// Objects as JSON, as everywhere: text is the same when it is read from the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    pub items: Vec<String>,
    pub resource_version: String,
    pub next: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Watch {
    pub number: u32,
    pub target: Place,
    pub selection: Selection,
}

#[derive(Debug, Clone, Serialize)]
pub struct Events {
    pub target: Place,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Occurrence {
    pub severity: String,
    pub reason: String,
    pub message: String,
    pub count: u32,
    pub first: u64,
    pub last: u64,
    pub source: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Progressing,
    Complete,
    Stalled,
    Paused,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    pub observed: bool,
    pub desired: u32,
    pub updated: u32,
    pub ready: u32,
    pub available: u32,
    pub old: u32,
    pub message: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub target: Place,
}

/// Waiting for the end of a rollout; how it ends is a delivery.
#[derive(Debug, Clone, Serialize)]
pub struct Wait {
    pub target: Place,
}

#[derive(Debug, Clone, Serialize)]
pub struct History {
    pub target: Place,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revision {
    pub number: u64,
    pub cause: String,
    pub images: Vec<String>,
    pub created: u64,
    pub current: bool,
    pub template: String,
}

/// What would bring an earlier revision back.
#[derive(Debug, Clone, Serialize)]
pub struct WayBack {
    pub target: Place,
    pub revision: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Back {
    pub revision: u64,
    /// A JSON patch.
    pub patch: serde_json::Value,
}

#[derive(Debug, Clone, Serialize)]
pub struct Logs {
    pub number: u32,
    pub target: Place,
    pub container: Option<String>,
    pub follow: bool,
    pub previous: bool,
    pub tail: Option<u32>,
    pub since: Duration,
    pub timestamps: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Forward {
    pub target: Place,
    pub port: u16,
    pub name: String,
}

reading!(Get, "kubernetes.get", String, |own, rules| rules.read(Verb::Get, &own.target));
reading!(List, "kubernetes.list", Page, |own, rules| rules.read(Verb::List, &own.target));
reading!(Watch, "kubernetes.watch", (), |own, rules| rules.read(Verb::Watch, &own.target));
reading!(Status, "kubernetes.status", Progress, |own, rules| rules.read(Verb::Get, &own.target));
reading!(Wait, "kubernetes.wait", (), |own, rules| rules.read(Verb::Watch, &own.target));
reading!(History, "kubernetes.history", Vec<Revision>, |own, rules| rules.read(Verb::Get, &own.target));
reading!(WayBack, "kubernetes.way-back", Back, |own, rules| rules.read(Verb::Get, &own.target));
reading!(Logs, "kubernetes.logs", (), |own, rules| rules.enter(&own.target));
reading!(Forward, "kubernetes.forward", (), |own, rules| rules.enter(&own.target));
reading!(Events, "kubernetes.events", Vec<Occurrence>, |own, rules| {
    let events = Kind::new("", "v1", "events").and_then(|kind| Target::all(kind, own.target.namespace().or(Some("default"))));
    match events {
        Ok(events) => rules.events(&own.target, &events),
        Err(_) => rules.read(Verb::Get, &own.target),
    }
});

/// A program in a container that runs: `kubernetes.exec`.
#[derive(Debug, Clone, Serialize)]
pub struct Exec {
    /// Its output's.
    pub number: u32,
    pub target: Place,
    pub container: Option<String>,
    pub arguments: Vec<String>,
    #[serde(serialize_with = "digest")]
    pub stdin: Vec<u8>,
    pub stdout: Output,
    pub stderr: Output,
    pub timeout: Option<Duration>,
}

/// Input is recorded as its length and its BLAKE3.
fn digest<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    (bytes.len(), blake3::hash(bytes).to_hex().as_str()).serialize(to)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    pub timed_out: bool,
    pub duration: Duration,
    pub stdout: Option<Captured>,
    pub stderr: Option<Captured>,
}

impl Effect for Exec {
    const NAME: &'static str = "kubernetes.exec";
    type Question = Nothing;
    type Seen = ();
    type Reply = Answer<Exit>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(format!("{}: {}", *self.target, self.arguments.join(" ")))
    }

    fn class(&self) -> Class {
        Class::Once
    }
}

/// In whose name something is written: what the ledger calls it.
pub trait Manner: std::fmt::Debug + Send + Sync + 'static {
    const NAME: &'static str;
}

macro_rules! manners {
    ($($manner:ident $name:literal),*) => {
        $(
            #[derive(Debug, Clone)]
            pub struct $manner;

            impl Manner for $manner {
                const NAME: &'static str = $name;
            }
        )*
    };
}

manners!(
    Create "kubernetes.create", Apply "kubernetes.apply", Patch "kubernetes.patch", Scale "kubernetes.scale", Delete "kubernetes.delete",
    Undo "kubernetes.undo", Restart "kubernetes.restart", Pause "kubernetes.pause"
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// A write to one object.
#[derive(Debug, Clone, Serialize)]
pub struct Change<M> {
    pub target: Place,
    pub write: Write,
    /// Of a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    #[serde(skip)]
    pub manner: PhantomData<M>,
}

impl<M> Change<M> {
    /// As `admission` is asked.
    pub fn request(&self) -> Request {
        Request { target: Target::clone(&self.target), write: self.write.clone() }
    }
}

/// What was seen before it was written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sight {
    /// The objects themselves, for the decision. They are looked at again after a crash, and a record need not hold what is in them.
    #[serde(skip)]
    pub scene: Option<Scene>,
    /// Why they can't be seen, or why the cluster would not take the write: then there is none.
    pub fault: Option<Fault>,
    pub stood: Stood,
    /// The decision depends on the object as it stood, so it is to be written, or deleted, as that and no other.
    pub held: bool,
}

/// What is remembered of an object that is written, so that it can be told later whether it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// None: there was no such object.
    pub uid: Option<String>,
    pub version: Option<String>,
    /// Digests of what it said, and of what a dry run made of that.
    pub before: Option<String>,
    pub after: Option<String>,
    /// `spec.replicas`
    pub replicas: Option<u32>,
}

/// What a decision about a write needs to see.
#[derive(Debug, Serialize)]
pub struct Looking {
    pub request: Request,
    pub look: admission::Look,
    /// It was asked for to decide, and not only to know later what became of the write.
    pub held: bool,
}

/// What was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// As JSON; empty for what was deleted.
    pub object: String,
    /// `spec.replicas` before.
    pub replicas: Option<u32>,
}

impl<M: Manner> Effect for Change<M> {
    const NAME: &'static str = M::NAME;
    type Question = Looking;
    type Seen = Sight;
    type Reply = Answer<Written>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(Target::to_string(&self.target))
    }

    fn class(&self) -> Class {
        Class::Once
    }
}
