//! Rollouts: how they stand, how they came there, and the way back.

use admission::{Kind, Target};
use kubernetes::{Cluster, Selection};
use serde_json::Value;

use crate::attempt::{Attempt, kind};
use crate::effect::{Answer, Back, Fault, Progress, Revision, State};

/// The most revisions that are looked at, of all objects with the same labels.
const REVISIONS: usize = 2_000;

fn nanos(time: Option<jiff::Timestamp>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or_default()
}

pub fn progress(target: &Target, object: &Value) -> Answer<Progress> {
    let none = || Fault::Invalid(format!("{target} has no rollouts: Deployments, StatefulSets and DaemonSets have"));
    let progress = kubernetes::progress(object).ok_or_else(none)?;
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Progress {
        state: match progress.state {
            kubernetes::State::Progressing => State::Progressing,
            kubernetes::State::Complete => State::Complete,
            kubernetes::State::Stalled => State::Stalled,
            kubernetes::State::Paused => State::Paused,
        },
        observed: progress.observed,
        desired: number(progress.desired),
        updated: number(progress.updated),
        ready: number(progress.ready),
        available: number(progress.available),
        old: number(progress.old),
        message: progress.message,
    })
}

pub fn occurrence(occurrence: kubernetes::Occurrence) -> crate::effect::Occurrence {
    let kubernetes::Occurrence { severity, reason, message, count, first, last, source } = occurrence;
    crate::effect::Occurrence { severity, reason, message, count, first: nanos(first), last: nanos(last), source }
}

pub fn revision(revision: kubernetes::Revision) -> Revision {
    Revision {
        number: revision.number,
        cause: revision.cause,
        images: revision.images,
        created: nanos(revision.created),
        current: revision.current,
        template: revision.template.to_string(),
    }
}

impl Attempt {
    pub async fn progress(&self, target: &Target) -> Answer<Progress> {
        progress(target, &self.cluster().await?.get(target).await?)
    }

    /// Waits until it is complete or can't go on.
    pub async fn settled(&self, target: &Target) -> Answer<Progress> {
        let name = target.name().unwrap_or_default();
        let all = Target::all(target.kind().clone(), target.namespace()).map_err(|error| Fault::Invalid(error.to_string()))?;
        let selection = Selection { labels: String::new(), fields: format!("metadata.name={name}") };
        let mut watch = self.cluster().await?.watch(&all, &selection);
        let mut there = false;
        while let Some(event) = watch.next().await {
            let kubernetes::Event { change, object } = event?;
            match change {
                kubernetes::Change::Deleted => there = false,
                kubernetes::Change::Synced => {}
                kubernetes::Change::Added | kubernetes::Change::Modified => {
                    there = true;
                    let progress = progress(target, &object)?;
                    if matches!(progress.state, State::Complete | State::Stalled) {
                        return Ok(progress);
                    }
                }
            }
            if !there && change != kubernetes::Change::Added {
                return Err(Fault::NotFound(format!("there is no {target}, or no longer")));
            }
        }
        Err(Fault::Cluster(format!("the watch of {target} is over")))
    }

    /// The object, and the revisions of it.
    async fn history(&self, target: &Target) -> Answer<(Value, Vec<kubernetes::Revision>)> {
        let sets = match (target.kind().group(), target.kind().plural()) {
            ("apps", "deployments") => kind("apps", "replicasets")?,
            ("apps", "statefulsets" | "daemonsets") => kind("apps", "controllerrevisions")?,
            _ => return Err(Fault::Invalid(format!("{target} has no history: Deployments, StatefulSets and DaemonSets have"))),
        };
        let cluster = self.cluster().await?;
        let owner = cluster.get(target).await?;
        let sets = all(cluster, sets, target.namespace(), &owner).await?;
        let revisions = kubernetes::history(&owner, &sets);
        Ok((owner, revisions))
    }

    pub async fn revisions(&self, target: &Target) -> Answer<Vec<Revision>> {
        Ok(self.history(target).await?.1.into_iter().map(revision).collect())
    }

    pub async fn way_back(&self, target: &Target, revision: u64) -> Answer<Back> {
        let (owner, revisions) = self.history(target).await?;
        let (revision, patch) = kubernetes::return_to(&owner, &revisions, revision).map_err(Fault::NotFound)?;
        Ok(Back { revision, patch })
    }
}

/// What bears the labels that the owner selects.
async fn all(cluster: &Cluster, kind: Kind, namespace: Option<&str>, owner: &Value) -> Answer<Vec<Value>> {
    let labels = owner.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let selection = Selection { labels: pairs.collect::<Vec<_>>().join(","), fields: String::new() };
    let target = Target::all(kind, namespace).map_err(|error| Fault::Invalid(error.to_string()))?;
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let page = cluster.list(&target, &selection, 500, &next).await?;
        items.extend(page.items);
        next = page.next;
        if next.is_empty() {
            return Ok(items);
        }
        if items.len() > REVISIONS {
            return Err(Fault::Limit(format!("there are more than {REVISIONS} {target}")));
        }
    }
}
