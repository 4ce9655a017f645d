//! How Deployments, StatefulSets and DaemonSets come from one template to the next. Pure: what the objects say, as `kubectl rollout` reads it.

use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Progressing,
    Complete,
    /// Its progress deadline has passed, or its controller can't go on.
    Stalled,
    Paused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub state: State,
    /// The controller has seen the last change.
    pub observed: bool,
    pub desired: u64,
    pub updated: u64,
    pub ready: u64,
    pub available: u64,
    /// Of older templates, still there.
    pub old: u64,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    pub number: u64,
    pub cause: String,
    pub images: Vec<String>,
    pub created: Option<jiff::Timestamp>,
    pub current: bool,
    /// The Pod template.
    pub template: Value,
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer)?.as_u64()
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// None for a kind that has no rollouts.
pub fn progress(object: &Value) -> Option<Progress> {
    let status = |key: &str| number(object, &format!("/status/{key}")).unwrap_or_default();
    let observed =
        number(object, "/status/observedGeneration").unwrap_or_default() >= number(object, "/metadata/generation").unwrap_or_default();
    let desired = number(object, "/spec/replicas").unwrap_or(1);
    let mut progress = match text(object, "/kind") {
        "Deployment" => {
            let updated = status("updatedReplicas");
            Progress {
                state: State::Progressing,
                observed,
                desired,
                updated,
                ready: status("readyReplicas"),
                available: status("availableReplicas"),
                old: status("replicas").saturating_sub(updated),
                message: String::new(),
            }
        }
        "StatefulSet" => {
            let total = status("replicas");
            // those below the partition keep the old template
            let kept = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default().min(desired);
            let one = text(object, "/status/updateRevision") == text(object, "/status/currentRevision");
            let updated = if one && kept == 0 { total } else { status("updatedReplicas") };
            let ready = status("readyReplicas");
            let available = number(object, "/status/availableReplicas").unwrap_or(ready);
            Progress {
                state: State::Progressing,
                observed,
                desired,
                updated: updated + kept,
                ready,
                available,
                old: total.saturating_sub(updated + kept),
                message: String::new(),
            }
        }
        "DaemonSet" => {
            let (desired, updated) = (status("desiredNumberScheduled"), status("updatedNumberScheduled"));
            Progress {
                state: State::Progressing,
                observed,
                desired,
                updated,
                ready: status("numberReady"),
                available: status("numberAvailable"),
                old: status("currentNumberScheduled").saturating_sub(updated),
                message: String::new(),
            }
        }
        _ => return None,
    };
    let on_delete = text(object, "/spec/updateStrategy/type") == "OnDelete";
    let whole = if on_delete { progress.ready >= progress.desired } else { progress.updated >= progress.desired && progress.old == 0 };
    (progress.state, progress.message) = if !observed {
        (State::Progressing, "the controller has not seen the last change yet".to_owned())
    } else if whole && progress.available >= progress.desired {
        (State::Complete, format!("{} of {} are available", progress.available, progress.desired))
    } else if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        (State::Paused, "it is paused".to_owned())
    } else if let Some(words) = stalled(object) {
        (State::Stalled, words)
    } else if progress.updated < progress.desired && !on_delete {
        (State::Progressing, format!("{} of {} have the new template", progress.updated, progress.desired))
    } else if progress.old > 0 && !on_delete {
        (State::Progressing, format!("{} of the old template are still there", progress.old))
    } else {
        (State::Progressing, format!("{} of {} are available", progress.available, progress.desired))
    };
    Some(progress)
}

/// A condition that says that it does not go on, in the controller's words.
fn stalled(object: &Value) -> Option<String> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let stuck = conditions.iter().find(|one| match text(one, "/type") {
        "Progressing" => text(one, "/reason") == "ProgressDeadlineExceeded",
        "ReplicaFailure" => text(one, "/status") == "True",
        _ => false,
    })?;
    Some(match text(stuck, "/message") {
        "" => text(stuck, "/reason").to_owned(),
        words => words.to_owned(),
    })
}

/// The revisions of `owner` among ReplicaSets or ControllerRevisions, oldest first.
pub fn history(owner: &Value, sets: &[Value]) -> Vec<Revision> {
    let uid = text(owner, "/metadata/uid");
    let mine = |set: &&Value| {
        let owners = set.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owns = |one: &Value| text(one, "/uid") == uid && one.get("controller") == Some(&Value::Bool(true));
        !uid.is_empty() && owners.is_some_and(|owners| owners.iter().any(owns))
    };
    let mut revisions: Vec<Revision> = sets.iter().filter(mine).filter_map(|set| revision(owner, set)).collect();
    revisions.sort_by_key(|revision| revision.number);
    // a Deployment's template is that of its newest; the others say their own
    let newest = revisions.last().map(|revision| revision.number);
    for revision in &mut revisions {
        revision.current = Some(revision.number) == newest;
    }
    revisions
}

fn revision(owner: &Value, set: &Value) -> Option<Revision> {
    const NUMBER: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
    let of_deployment = text(owner, "/kind") == "Deployment";
    let number = if of_deployment { text(set, NUMBER).parse().ok() } else { number(set, "/revision") }?;
    let mut template = set.pointer(if of_deployment { "/spec/template" } else { "/data/spec/template" })?.clone();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    // it makes one ReplicaSet differ from another, and is no part of what the Deployment says
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let images = containers.into_iter().flatten().map(|one| text(one, "/image").to_owned()).collect();
    Some(Revision {
        number,
        cause: text(set, "/metadata/annotations/kubernetes.io~1change-cause").to_owned(),
        images,
        created: text(set, "/metadata/creationTimestamp").parse().ok(),
        current: false,
        template,
    })
}

/// The JSON patch that gives an object the template of an earlier revision (0: of the one before the current), with the number of the revision. It changes
/// only what differs, so that a rule which names an image lets an image go back.
///
/// # Errors
/// Why there is none.
pub fn return_to(owner: &Value, revisions: &[Revision], number: u64) -> Result<(u64, Value), String> {
    let chosen = match number {
        0 => revisions.iter().rev().find(|revision| !revision.current),
        _ => revisions.iter().find(|revision| revision.number == number),
    };
    let Some(chosen) = chosen else {
        let known = revisions.iter().map(|revision| revision.number.to_string()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(match number {
            0 => format!("there is no revision before the current one (known: {known})"),
            _ => format!("there is no revision {number} (known: {known})"),
        });
    };
    let now = owner.pointer("/spec/template").ok_or("it has no Pod template")?;
    let mut operations = Vec::new();
    differ("/spec/template", now, &chosen.template, &mut operations);
    Ok((chosen.number, Value::Array(operations)))
}

fn differ(path: &str, now: &Value, then: &Value, operations: &mut Vec<Value>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for key in now.keys().filter(|key| !then.contains_key(*key)) {
                operations.push(json!({ "op": "remove", "path": format!("{path}/{}", escaped(key)) }));
            }
            for (key, value) in then {
                let path = format!("{path}/{}", escaped(key));
                match now.get(key) {
                    Some(old) => differ(&path, old, value, operations),
                    None => operations.push(json!({ "op": "add", "path": path, "value": value })),
                }
            }
        }
        (Value::Array(now), Value::Array(then)) if now.len() == then.len() => {
            for (place, (old, new)) in now.iter().zip(then).enumerate() {
                differ(&format!("{path}/{place}"), old, new, operations);
            }
        }
        (now, then) if now != then => operations.push(json!({ "op": "replace", "path": path, "value": then })),
        _ => {}
    }
}
