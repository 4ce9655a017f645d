//! What happened to an object, as the cluster tells it.

use admission::{Kind, Target};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::objects::Selection;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// `Normal` or `Warning`.
    pub severity: String,
    /// `BackOff`, `FailedScheduling`, …
    pub reason: String,
    pub message: String,
    pub count: u32,
    pub first: Option<jiff::Timestamp>,
    pub last: Option<jiff::Timestamp>,
    /// Who says so.
    pub source: String,
}

impl Cluster {
    /// Oldest first, `most` at most, the latest ones. `object` is the one that they are about: events know it by its uid, so that those of an earlier object with
    /// the same name are not among them.
    ///
    /// # Errors
    /// If the cluster does not give them.
    pub async fn events(&self, object: &Value, most: usize) -> Result<Vec<Occurrence>, ClusterError> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        // of what is in no namespace, they are in this one
        let namespace = text("/metadata/namespace").unwrap_or("default");
        let unexpected = |why: String| ClusterError::Unexpected { doing: "reading events".to_owned(), why };
        let uid = text("/metadata/uid").ok_or_else(|| unexpected("the object has no uid".to_owned()))?;
        let target = Kind::new("", "v1", "events").and_then(|kind| Target::all(kind, Some(namespace)));
        let target = target.map_err(|error| unexpected(error.to_string()))?;
        let selection = Selection { labels: String::new(), fields: format!("involvedObject.uid={uid}") };
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.list(&target, &selection, 500, &next).await?;
            items.extend(page.items);
            next = page.next;
            if next.is_empty() || items.len() >= 5_000 {
                break;
            }
        }
        let mut all = occurrences(&items);
        Ok(all.split_off(all.len().saturating_sub(most)))
    }
}

/// Events as older and newer reporters write them, in the order of their last time.
pub fn occurrences(items: &[Value]) -> Vec<Occurrence> {
    let mut all: Vec<Occurrence> = items.iter().map(occurrence).collect();
    all.sort_by(|one, other| (one.last, one.first, &one.reason).cmp(&(other.last, other.first, &other.reason)));
    all
}

fn occurrence(event: &Value) -> Occurrence {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let time = |pointers: &[&str]| pointers.iter().find_map(|pointer| text(pointer)?.parse::<jiff::Timestamp>().ok());
    let count = ["/series/count", "/count"].iter().find_map(|pointer| event.pointer(pointer)?.as_u64()).unwrap_or(1);
    Occurrence {
        severity: text("/type").unwrap_or("Normal").to_owned(),
        reason: text("/reason").unwrap_or_default().to_owned(),
        message: text("/message").unwrap_or_default().to_owned(),
        count: u32::try_from(count).unwrap_or(u32::MAX).max(1),
        first: time(&["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp"]),
        last: time(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]),
        source: text("/reportingComponent").or_else(|| text("/source/component")).unwrap_or_default().to_owned(),
    }
}
