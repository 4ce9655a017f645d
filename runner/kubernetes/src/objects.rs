//! Objects: read, list, write, delete.

use admission::{PatchKind, Request, Target, Write};
use http::Method;
use serde_json::{Value, json};

use crate::ask::Call;
use crate::cluster::Cluster;
use crate::error::ClusterError;

/// Which of a kind's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub labels: String,
    pub fields: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Value>,
    pub resource_version: String,
    /// Empty after the last page.
    pub next: String,
}

/// How something is written.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Judged by the cluster and not kept.
    pub dry_run: bool,
    /// The version of the object that was looked at: with another one it is a conflict.
    pub resource_version: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Cluster {
    /// # Errors
    /// If there is no such object, or the cluster does not give it.
    pub async fn get(&self, target: &Target) -> Result<Value, ClusterError> {
        self.json(Call::new(Method::GET, format!("reading {target}"), target.path())).await
    }

    /// A page of a list. Items say their `apiVersion` and `kind`, which lists leave out.
    ///
    /// # Errors
    /// If the cluster does not give it; `is_expired` if the next page is asked for too late.
    pub async fn list(&self, target: &Target, selection: &Selection, limit: u32, next: &str) -> Result<Page, ClusterError> {
        let call = Call::new(Method::GET, format!("listing {target}"), target.path())
            .query("labelSelector", &selection.labels)
            .query("fieldSelector", &selection.fields)
            .query("limit", limit.to_string())
            .query("continue", next);
        let mut answer = self.json(call).await?;
        let text = |answer: &Value, pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text(&answer, "/apiVersion"), text(&answer, "/kind"));
        let kind = kind.strip_suffix("List").unwrap_or_default();
        let items = match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) => Vec::new(),
            _ => return Err(ClusterError::Unexpected { doing: format!("listing {target}"), why: "it is no list".to_owned() }),
        };
        let items = items.into_iter().map(|item| typed(item, &version, kind)).collect();
        Ok(Page { items, resource_version: text(&answer, "/metadata/resourceVersion"), next: text(&answer, "/metadata/continue") })
    }

    /// Everything but deleting. Unknown fields are refused, not dropped. Answers with the object as it is then, or would be.
    ///
    /// # Errors
    /// If the cluster does not take it; [`ClusterError::Lost`] if nobody can tell.
    pub async fn write(&self, request: &Request, writing: Writing<'_>) -> Result<Value, ClusterError> {
        let target = &request.target;
        let judged = if writing.dry_run { " (dry run)" } else { "" };
        let doing = format!("{} {target}{judged}", verb(&request.write));
        let path = target.path();
        let collection = || path.rsplit_once('/').map_or_else(|| path.clone(), |(collection, _)| collection.to_owned());
        let versioned = |object: &Value| with_version(object, writing.resource_version, &doing);
        let patch = |kind, body: &Value| Call::new(Method::PATCH, doing.clone(), path.clone()).body(kind, body);
        let call = match &request.write {
            Write::Create { object } => Call::new(Method::POST, doing.clone(), collection()).body("application/json", object),
            Write::Apply { object, force } => patch("application/apply-patch+yaml", &versioned(object)?).query("force", force.to_string()),
            Write::Patch { kind: PatchKind::Merge, patch: body } => patch("application/merge-patch+json", &versioned(body)?),
            Write::Patch { kind: PatchKind::Strategic, patch: body } => patch("application/strategic-merge-patch+json", &versioned(body)?),
            Write::Patch { kind: PatchKind::Json, patch: body } => {
                patch("application/json-patch+json", &pinned(body, writing.resource_version))
            }
            Write::Scale { replicas } => patch("application/merge-patch+json", &versioned(&json!({ "spec": { "replicas": replicas } }))?),
            Write::Delete => return Err(ClusterError::Unexpected { doing, why: "deleting is no write of an object".to_owned() }),
        };
        let call = call.query("fieldManager", writing.manager).query("fieldValidation", "Strict");
        self.json(if writing.dry_run { call.query("dryRun", "All") } else { call }).await
    }

    /// Does not wait until it is gone.
    ///
    /// # Errors
    /// If there is no such object, or another version of it than the one given.
    pub async fn delete(&self, target: &Target, propagation: Propagation, resource_version: Option<&str>) -> Result<(), ClusterError> {
        if target.name().is_none() {
            return Err(ClusterError::Unexpected { doing: format!("deleting {target}"), why: "objects are deleted one by one".to_owned() });
        }
        let propagation = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation });
        if let Some(version) = resource_version {
            options["preconditions"] = json!({ "resourceVersion": version });
        }
        let call = Call::new(Method::DELETE, format!("deleting {target}"), target.path()).body("application/json", &options);
        self.json(call).await.map(drop)
    }
}

fn verb(write: &Write) -> &'static str {
    match write {
        Write::Create { .. } => "creating",
        Write::Apply { .. } => "applying",
        Write::Patch { .. } => "patching",
        Write::Scale { .. } => "scaling",
        Write::Delete => "deleting",
    }
}

fn typed(mut item: Value, version: &str, kind: &str) -> Value {
    if let Some(map) = item.as_object_mut().filter(|map| !map.contains_key("kind")) {
        map.insert("apiVersion".to_owned(), version.into());
        map.insert("kind".to_owned(), kind.into());
    }
    item
}

/// The object, written for one version of itself.
fn with_version(object: &Value, version: Option<&str>, doing: &str) -> Result<Value, ClusterError> {
    let Some(version) = version else { return Ok(object.clone()) };
    let mut object = object.clone();
    let metadata = object.as_object_mut().map(|map| map.entry("metadata").or_insert_with(|| json!({})));
    let Some(metadata) = metadata.and_then(Value::as_object_mut) else {
        return Err(ClusterError::Unexpected { doing: doing.to_owned(), why: "what is to be sent is no object with metadata".to_owned() });
    };
    match metadata.insert("resourceVersion".to_owned(), version.into()) {
        Some(Value::String(wanted)) if wanted != version => {
            Err(ClusterError::Stale { doing: doing.to_owned(), wanted, known: version.to_owned() })
        }
        _ => Ok(object),
    }
}

/// The cluster compares the version when the object is stored, after the patch has been carried out on it.
fn pinned(patch: &Value, version: Option<&str>) -> Value {
    let mut operations = patch.as_array().cloned().unwrap_or_default();
    operations.extend(version.map(|version| json!({ "op": "add", "path": "/metadata/resourceVersion", "value": version })));
    Value::Array(operations)
}
