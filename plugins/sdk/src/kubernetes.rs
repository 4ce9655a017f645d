//! Objects of a Kubernetes cluster, and the Pods behind them, as far as `[stage.<name>.grants.kubernetes]` allows.
//!
//! A stage never has the cluster's credentials, and does not choose the cluster. Each operation is decided by itself, and a write by what it would
//! change. Objects are JSON as the API has them: [`Value`]s, not types, since a stage may meet a cluster that is newer than it is.
//!
//! ```no_run
//! # use runner_sdk::{Failure, kubernetes::{self, Patch, Target}};
//! # fn main() -> Result<(), Failure> {
//! let api = Target::deployment("api");
//! let replicas = kubernetes::get(&api)?["spec"]["replicas"].as_u64();
//! kubernetes::patch(&api, &Patch::Merge(serde_json::json!({ "spec": { "replicas": 3 } })))?;
//! let progress = kubernetes::rollouts::wait(&api, None)?;
//! # Ok(()) }
//! ```

use std::fmt::{self, Display};
use std::time::Duration;

use serde_json::Value;

use crate::bindings::runner::kubernetes::objects as wit;
use crate::bindings::runner::kubernetes::types as wit_types;
use crate::{Denial, Failure};

pub mod forward;
pub mod pods;
pub mod rollouts;

/// A kind of objects as the API's paths name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType {
    /// `apps`, `networking.istio.io`; empty for the core group.
    pub group: String,
    /// `v1`, `v1beta1`. Objects are read and written in this version.
    pub version: String,
    /// In the plural: `deployments`.
    pub plural: String,
}

impl ResourceType {
    /// `ResourceType::new("apps", "v1", "deployments")`; the core group is `""`.
    pub fn new(group: impl Into<String>, version: impl Into<String>, plural: impl Into<String>) -> ResourceType {
        ResourceType { group: group.into(), version: version.into(), plural: plural.into() }
    }

    /// Of the core group, in version `v1`: `pods`, `services`.
    pub fn core(plural: impl Into<String>) -> ResourceType {
        ResourceType::new("", "v1", plural)
    }
}

/// `deployments.apps`, `pods`.
impl Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// What it is.
    pub kind: ResourceType,
    /// None: the grant's namespace. Ignored for what is in no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Target {
    /// In the grant's namespace.
    pub fn new(kind: ResourceType, name: impl Into<String>) -> Target {
        Target { kind, namespace: None, name: name.into() }
    }

    /// A Deployment (`apps/v1`).
    pub fn deployment(name: impl Into<String>) -> Target {
        Target::new(ResourceType::new("apps", "v1", "deployments"), name)
    }

    /// A Service (`v1`).
    pub fn service(name: impl Into<String>) -> Target {
        Target::new(ResourceType::core("services"), name)
    }

    /// A Pod (`v1`).
    pub fn pod(name: impl Into<String>) -> Target {
        Target::new(ResourceType::core("pods"), name)
    }

    /// In another namespace than the grant's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Target {
        self.namespace = Some(namespace.into());
        self
    }
}

/// `deployments.apps/api`, with the namespace before it where it is not the grant's: `shop/pods/api-1`.
impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.namespace.iter().try_for_each(|namespace| write!(f, "{namespace}/"))?;
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Which objects to list or watch: all of a kind in the grant's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    kind: ResourceType,
    namespace: Option<String>,
    labels: String,
    fields: String,
}

impl Selection {
    /// All of a kind, in the grant's namespace.
    pub fn of(kind: ResourceType) -> Selection {
        Selection { kind, namespace: None, labels: String::new(), fields: String::new() }
    }

    /// This object alone.
    pub fn one(target: &Target) -> Selection {
        let fields = format!("metadata.name={}", target.name);
        Selection { kind: target.kind.clone(), namespace: target.namespace.clone(), labels: String::new(), fields }
    }

    /// In another namespace than the grant's; `*` for all, which the grant must allow.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Selection {
        self.namespace = Some(namespace.into());
        self
    }

    /// A label selector, such as `app=api,tier!=test`.
    pub fn labels(mut self, selector: impl Into<String>) -> Selection {
        self.labels = selector.into();
        self
    }

    /// A field selector, such as `metadata.name=api`.
    pub fn fields(mut self, selector: impl Into<String>) -> Selection {
        self.fields = selector.into();
        self
    }

    /// What it selects.
    pub fn kind(&self) -> &ResourceType {
        &self.kind
    }

    /// The label selector; empty for all.
    pub fn label_selector(&self) -> &str {
        &self.labels
    }

    /// The field selector; empty for all.
    pub fn field_selector(&self) -> &str {
        &self.fields
    }
}

/// What a watch tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is there: from the beginning, or since now.
    Added,
    /// It is another one than before.
    Modified,
    /// It is gone.
    Deleted,
    /// All that was there at the beginning has been told. Has no object.
    Synced,
}

/// Something that a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// Of the object.
    pub namespace: String,
    /// Of the object.
    pub name: String,
    /// The object; of one that was deleted, its last state that was seen. Null for [`Change::Synced`].
    pub object: Value,
}

/// Objects as they change: first what is there, then [`Change::Synced`], then what happens. No change is lost, though several may be told as one.
#[derive(Debug)]
pub struct Watch {
    handle: wit::Watch,
}

impl Watch {
    /// The next event; none if `timeout` (none: for ever) has passed without one. After [`Error::Unreachable`] it may be asked again.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let Some(event) = self.handle.next(limit(timeout))? else { return Ok(None) };
        let change = match event.change {
            wit::Change::Added => Change::Added,
            wit::Change::Modified => Change::Modified,
            wit::Change::Deleted => Change::Deleted,
            wit::Change::Synced => Change::Synced,
        };
        let object = if change == Change::Synced { Value::Null } else { read(&event.object)? };
        Ok(Some(Event { change, namespace: event.namespace, name: event.name, object }))
    }
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, for built-in kinds: lists are merged by their keys.
    Strategic(Value),
    /// RFC 6902. `test`, `copy` and `move` read the object, and need `get`.
    Json(Value),
}

/// What becomes of an object's dependents when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Propagation {
    /// They go later.
    #[default]
    Background,
    /// They go first, then the object.
    Foreground,
    /// They stay.
    Orphan,
}

/// Something that happened to an object, as the cluster tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// `Normal` or `Warning`.
    pub severity: String,
    /// `BackOff`, `FailedScheduling`, …
    pub reason: String,
    /// The cluster's words.
    pub message: String,
    /// How often.
    pub count: u32,
    /// Since 1970-01-01T00:00:00Z.
    pub first: Duration,
    /// Since 1970-01-01T00:00:00Z.
    pub last: Duration,
    /// Who says so: `kubelet`, `default-scheduler`.
    pub source: String,
}

/// An object as it stands. Verb `get`.
pub fn get(target: &Target) -> Result<Value, Error> {
    crate::inside("kubernetes");
    read(&wit::get(&target.into())?)
}

/// All objects that are selected, page by page. Verb `list`. What the grant's `names` don't cover is left out.
pub fn list(selection: &Selection) -> Result<Vec<Value>, Error> {
    crate::inside("kubernetes");
    let (selection, mut objects, mut next) = (wit::Selection::from(selection), Vec::new(), String::new());
    loop {
        let page = wit::list(&selection, 0, &next)?;
        for item in &page.items {
            objects.push(read(item)?);
        }
        if page.continue_.is_empty() {
            return Ok(objects);
        }
        next = page.continue_;
    }
}

/// Watches what is selected. Verb `watch`.
pub fn watch(selection: &Selection) -> Result<Watch, Error> {
    crate::inside("kubernetes");
    Ok(Watch { handle: wit::watch_all(&selection.into())? })
}

/// Waits until one of several watches has an event, or until `timeout` has passed (none: for ever).
///
/// Answers with the lowest index among those that have one, or none on time-out. An empty list is answered with none at once.
pub fn wait_any(watches: &[&Watch], timeout: Option<Duration>) -> Option<usize> {
    crate::inside("kubernetes");
    let handles: Vec<&wit::Watch> = watches.iter().map(|watch| &watch.handle).collect();
    wit::wait_any(&handles, limit(timeout)).map(|index| index as usize)
}

/// Makes an object, which says its name itself, and answers with it as it was made. Verb `create`.
pub fn create(target: &Target, object: &Value) -> Result<Value, Error> {
    crate::inside("kubernetes");
    read(&wit::create(&target.into(), &object.to_string())?)
}

/// Server-side apply, with a field manager of the stage's own. Verb `patch`, and `create` if there is no such object. `force` takes fields from
/// other managers; without it that is [`Error::Conflict`].
pub fn apply(target: &Target, object: &Value, force: bool) -> Result<Value, Error> {
    crate::inside("kubernetes");
    read(&wit::apply(&target.into(), &object.to_string(), wit::ApplyOptions { force })?)
}

/// Changes an object, and answers with what it is then. Verb `patch`.
pub fn patch(target: &Target, patch: &Patch) -> Result<Value, Error> {
    crate::inside("kubernetes");
    let (kind, patch) = match patch {
        Patch::Merge(patch) => (wit::PatchKind::Merge, patch),
        Patch::Strategic(patch) => (wit::PatchKind::Strategic, patch),
        Patch::Json(patch) => (wit::PatchKind::Json, patch),
    };
    read(&wit::patch(&target.into(), kind, &patch.to_string())?)
}

/// Sets `spec.replicas`, and answers with the number that was set before. Verb `patch`, on the object or its `scale`.
pub fn scale(target: &Target, replicas: u32) -> Result<u32, Error> {
    crate::inside("kubernetes");
    Ok(wit::scale(&target.into(), replicas)?)
}

/// Deletes an object, and does not wait until it is gone. One that is not there is [`Error::NotFound`]. Verb `delete`.
pub fn delete(target: &Target, propagation: Propagation) -> Result<(), Error> {
    crate::inside("kubernetes");
    let propagation = match propagation {
        Propagation::Background => wit::Propagation::Background,
        Propagation::Foreground => wit::Propagation::Foreground,
        Propagation::Orphan => wit::Propagation::Orphan,
    };
    Ok(wit::delete(&target.into(), propagation)?)
}

/// What happened to an object, oldest first, 100 at most.
pub fn events(target: &Target) -> Result<Vec<Occurrence>, Error> {
    crate::inside("kubernetes");
    Ok(wit::events(&target.into())?.into_iter().map(Occurrence::from).collect())
}

/// Why something of Kubernetes' did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The grants do not allow it.
    Denied(Denial),
    /// No such object, resource or container. Says which.
    NotFound(String),
    /// The request cannot be meant, or the cluster does not accept the object.
    Invalid(String),
    /// It exists already, somebody else wrote it again and again, or another field manager has what an apply would take.
    Conflict(String),
    /// The cluster's own rules (RBAC, admission, a quota) do not let the runner's user do it.
    Forbidden(String),
    /// The cluster can't be reached, and could not for as long as it was waited for.
    Unreachable(String),
    /// The cluster failed: its words and status.
    Cluster(String),
    /// The operation's `timeout` has passed.
    Timeout,
    /// A limit of the stage was reached.
    Limit(String),
}

impl Error {
    /// Whether it may be better the next time: the cluster was away, failed, or somebody else wrote meanwhile.
    pub fn passes(&self) -> bool {
        matches!(self, Error::Unreachable(_) | Error::Cluster(_) | Error::Timeout | Error::Conflict(_))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(denial) => denial.fmt(f),
            Error::Timeout => f.write_str("the cluster did not answer in time"),
            Error::NotFound(text)
            | Error::Invalid(text)
            | Error::Conflict(text)
            | Error::Forbidden(text)
            | Error::Unreachable(text)
            | Error::Cluster(text)
            | Error::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Denied(denial) => Failure::Denied(denial),
            Error::Invalid(text) => Failure::Misconfigured(text),
            other => Failure::errored(other),
        }
    }
}

impl From<wit_types::Error> for Error {
    fn from(error: wit_types::Error) -> Error {
        match error {
            wit_types::Error::Denied(denial) => Error::Denied(denial.into()),
            wit_types::Error::NotFound(text) => Error::NotFound(text),
            wit_types::Error::Invalid(text) => Error::Invalid(text),
            wit_types::Error::Conflict(text) => Error::Conflict(text),
            wit_types::Error::Forbidden(text) => Error::Forbidden(text),
            wit_types::Error::Unreachable(text) => Error::Unreachable(text),
            wit_types::Error::Cluster(text) => Error::Cluster(text),
            wit_types::Error::Timeout => Error::Timeout,
            wit_types::Error::Limit(text) => Error::Limit(text),
        }
    }
}

impl From<&Target> for wit_types::Target {
    fn from(target: &Target) -> wit_types::Target {
        let kind = (&target.kind).into();
        wit_types::Target { kind, namespace: target.namespace.clone(), name: target.name.clone() }
    }
}

impl From<&ResourceType> for wit_types::ResourceType {
    fn from(kind: &ResourceType) -> wit_types::ResourceType {
        wit_types::ResourceType { group: kind.group.clone(), version: kind.version.clone(), plural: kind.plural.clone() }
    }
}

impl From<&Selection> for wit::Selection {
    fn from(selection: &Selection) -> wit::Selection {
        let Selection { kind, namespace, labels, fields } = selection;
        wit::Selection { kind: kind.into(), namespace: namespace.clone(), labels: labels.clone(), fields: fields.clone() }
    }
}

impl From<wit::Occurrence> for Occurrence {
    fn from(wit: wit::Occurrence) -> Occurrence {
        let (first, last) = (Duration::from_nanos(wit.first), Duration::from_nanos(wit.last));
        Occurrence { severity: wit.severity, reason: wit.reason, message: wit.message, count: wit.count, first, last, source: wit.source }
    }
}

/// The host's objects are JSON; that one is none would be the cluster's fault.
fn read(json: &str) -> Result<Value, Error> {
    serde_json::from_str(json).map_err(|error| Error::Cluster(format!("the cluster answered with no JSON: {error}")))
}

/// 0 means "for ever" to the host; a limit of nothing is the shortest one.
fn limit(timeout: Option<Duration>) -> u64 {
    timeout.map_or(0, |limit| nanoseconds(limit).max(1))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_called_as_people_call_them() {
        assert_eq!(Target::deployment("api").to_string(), "deployments.apps/api");
        assert_eq!(Target::pod("api-1").namespace("shop").to_string(), "shop/pods/api-1");
        let one = Selection::one(&Target::service("api").namespace("shop"));
        assert_eq!((one.fields.as_str(), one.namespace.as_deref()), ("metadata.name=api", Some("shop")));
    }

    #[test]
    fn no_limit_and_no_time_are_told_apart() {
        assert_eq!((limit(None), limit(Some(Duration::ZERO)), limit(Some(Duration::from_secs(1)))), (0, 1, 1_000_000_000));
    }

    #[test]
    fn each_error_fails_the_stage_in_its_own_way() {
        let denial = Denial {
            effect: "kubernetes.patch".into(),
            subject: "deployments.apps shop/api".into(),
            code: "bound".into(),
            reason: "spec.replicas would be 11, and 10 is the most".into(),
            remedy: None,
        };
        assert_eq!(Failure::from(Error::Denied(denial.clone())), Failure::Denied(denial.clone()));
        assert!(matches!(Failure::from(Error::Invalid("spec.replicas: -1".into())), Failure::Misconfigured(_)));
        assert!(matches!(Failure::from(Error::Forbidden("exceeded quota".into())), Failure::Errored(text) if text == "exceeded quota"));
        assert!(Error::Unreachable("refused".into()).passes() && Error::Timeout.passes() && !Error::Denied(denial).passes());
    }

    #[test]
    #[should_panic(expected = "was called outside a stage")]
    fn outside_a_stage_it_says_so() {
        let _ = get(&Target::deployment("api"));
    }
}
