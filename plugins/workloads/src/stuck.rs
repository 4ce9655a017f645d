//! Why a Deployment does not get ready: what its Pods, their events and the last lines of their logs say.
//!
//! What can't be looked at, because no rule allows it, is said to be so; it keeps nobody from telling the rest.

use runner_sdk::kubernetes::pods::{LogOptions, Pod};
use runner_sdk::kubernetes::{Error, ResourceType, Selection, Target};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::workload::{selector, stalled, text};

/// So many Pods are told of; the others have the same to say, more often than not.
const PODS: usize = 2;
/// So many lines of a log.
const LINES: u32 = 10;
/// So many events.
const EVENTS: usize = 3;

/// Lines for people, the cause first. Empty if nothing looks wrong.
pub fn why_stuck(cluster: &mut dyn Cluster, target: &Target) -> Vec<String> {
    let object = match cluster.get(target) {
        Ok(object) => object,
        Err(error) => return vec![format!("{target} can't be looked at: {error}")],
    };
    let mut lines: Vec<String> = stalled(&object, None).map(|why| format!("{target}: {why}")).into_iter().collect();
    let mut selection = Selection::of(ResourceType::core("pods")).labels(selector(&object));
    if let Some(namespace) = &target.namespace {
        selection = selection.namespace(namespace);
    }
    match cluster.list(&selection) {
        Ok(pods) => {
            let unready: Vec<&Value> =
                pods.iter().filter(|pod| !is_ready(pod) && pod.pointer("/metadata/deletionTimestamp").is_none()).collect();
            for pod in unready.iter().take(PODS) {
                about_pod(cluster, target, pod, &mut lines);
            }
            if unready.len() > PODS {
                lines.push(format!("{} more Pods are not ready", unready.len() - PODS));
            }
        }
        Err(error) => lines.push(format!("its Pods can't be looked at: {error}")),
    }
    lines
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|one| text(one, "/status") == "True")
}

fn condition<'v>(pod: &'v Value, kind: &str) -> Option<&'v Value> {
    pod.pointer("/status/conditions")?.as_array()?.iter().find(|one| text(one, "/type") == kind)
}

fn about_pod(cluster: &mut dyn Cluster, owner: &Target, pod: &Value, lines: &mut Vec<String>) {
    let name = text(pod, "/metadata/name");
    if let Some(one) = condition(pod, "PodScheduled").filter(|one| text(one, "/status") == "False") {
        lines.push(format!("{name}: no node takes it ({}): {}", text(one, "/reason"), text(one, "/message")));
    }
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    for status in lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten() {
        about_container(cluster, owner, name, status, lines);
    }
    let mut target = Target::pod(name);
    target.namespace.clone_from(&owner.namespace);
    match cluster.events(&target) {
        Ok(events) => {
            let warnings: Vec<_> = events.iter().filter(|event| event.severity == "Warning").collect();
            for event in &warnings[warnings.len().saturating_sub(EVENTS)..] {
                let often = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
                lines.push(format!("{name}: {}{often}: {}", event.reason, event.message.trim()));
            }
        }
        Err(error) => lines.push(format!("{name}: its events can't be looked at: {error}")),
    }
}

fn about_container(cluster: &mut dyn Cluster, owner: &Target, pod: &str, status: &Value, lines: &mut Vec<String>) {
    let name = text(status, "/name");
    let ended = status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"));
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    if let Some(waiting) = status.pointer("/state/waiting") {
        let reason = text(waiting, "/reason");
        if !matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            lines.push(format!("{pod}/{name}: {reason}: {}", text(waiting, "/message")));
        }
    }
    if let Some(ended) = ended {
        let (code, reason) = (ended["exitCode"].as_i64().unwrap_or_default(), text(ended, "/reason"));
        lines.push(format!("{pod}/{name}: ended with exit code {code} ({reason}), {restarts} restarts"));
    }
    let runs = status.pointer("/state/running").is_some();
    let unready = status["ready"].as_bool() == Some(false);
    if runs && unready {
        lines.push(format!("{pod}/{name}: runs, and its readiness probe does not succeed"));
    }
    if ended.is_some() || (runs && unready) {
        // what it printed before it ended is in the log before the last restart, unless it has not been restarted
        let previous = status.pointer("/state/terminated").is_none() && ended.is_some();
        let mut place = Pod::new(pod).container(name);
        if let Some(namespace) = &owner.namespace {
            place = place.namespace(namespace);
        }
        match cluster.log(&place, LogOptions { previous, tail: Some(LINES), ..LogOptions::default() }) {
            Ok(log) => lines.extend(log.lines().map(|line| format!("{pod}/{name} | {line}"))),
            Err(Error::NotFound(_)) => {}
            Err(error) => lines.push(format!("{pod}/{name}: its log can't be read: {error}")),
        }
    }
}
