//! How Deployments, StatefulSets and DaemonSets come from one template to the next.

use std::time::Duration;

use serde_json::Value;

use super::{Error, Target, limit, read};
use crate::bindings::runner::kubernetes::rollouts as wit;

/// How far a rollout came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// On its way.
    Progressing,
    /// At its end.
    Complete,
    /// Its progress deadline has passed, or its controller says that it can't go on.
    Stalled,
    /// It takes no step.
    Paused,
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In one word.
    pub state: State,
    /// Whether the controller has seen the last change.
    pub observed: bool,
    /// Pods that there are to be.
    pub desired: u32,
    /// Pods of the newest template.
    pub updated: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that have been ready for long enough.
    pub available: u32,
    /// Pods of older templates that are still there.
    pub old: u32,
    /// One sentence, in the controller's words where it has some.
    pub message: String,
}

/// A template that there was.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Counts up.
    pub number: u64,
    /// `kubernetes.io/change-cause`; empty if nobody said.
    pub cause: String,
    /// Of its containers, in their order.
    pub images: Vec<String>,
    /// Since 1970-01-01T00:00:00Z.
    pub created: Duration,
    /// Whether it is the one that there is.
    pub current: bool,
    /// The Pod template.
    pub template: Value,
}

/// How it stands. Verb `get`.
pub fn status(target: &Target) -> Result<Progress, Error> {
    crate::inside("kubernetes");
    Ok(wit::status(&target.into())?.into())
}

/// Waits until it is complete or stalled, or until `timeout` (none: for ever) has passed, and answers with how it stands then. Verb `watch`.
pub fn wait(target: &Target, timeout: Option<Duration>) -> Result<Progress, Error> {
    crate::inside("kubernetes");
    Ok(wit::wait(&target.into(), limit(timeout))?.into())
}

/// Its revisions, oldest first. Verb `get`.
pub fn history(target: &Target) -> Result<Vec<Revision>, Error> {
    crate::inside("kubernetes");
    let revision = |wit: wit::Revision| {
        let (created, template) = (Duration::from_nanos(wit.created), read(&wit.template)?);
        Ok(Revision { number: wit.number, cause: wit.cause, images: wit.images, created, current: wit.current, template })
    };
    wit::history(&target.into())?.into_iter().map(revision).collect()
}

/// Gives it the Pod template of an earlier revision (none: of the one before the current), and answers with that revision's number. It is judged as a
/// patch of `spec.template`: what the template differs in, the grant's `fields` must name.
pub fn undo(target: &Target, revision: Option<u64>) -> Result<u64, Error> {
    crate::inside("kubernetes");
    Ok(wit::undo(&target.into(), revision.unwrap_or_default())?)
}

/// Starts its Pods anew.
pub fn restart(target: &Target) -> Result<(), Error> {
    crate::inside("kubernetes");
    Ok(wit::restart(&target.into())?)
}

/// Says whether it takes steps: a patch of `spec.paused`.
pub fn pause(target: &Target, paused: bool) -> Result<(), Error> {
    crate::inside("kubernetes");
    Ok(wit::pause(&target.into(), paused)?)
}

impl From<wit::Progress> for Progress {
    fn from(wit: wit::Progress) -> Progress {
        let state = match wit.state {
            wit::State::Progressing => State::Progressing,
            wit::State::Complete => State::Complete,
            wit::State::Stalled => State::Stalled,
            wit::State::Paused => State::Paused,
        };
        let wit::Progress { observed, desired, updated, ready, available, old, message, .. } = wit;
        Progress { state, observed, desired, updated, ready, available, old, message }
    }
}
