//! Secrets: a rule has to name each of them to let a stage read it, and a write's answer is no way around.

use serde_json::Value;

use crate::target::Target;

pub(crate) fn is_secret(target: &Target) -> bool {
    target.kind().group().is_empty() && target.kind().plural() == "secrets"
}

/// Takes the content out of a Secret that a stage may write and not read: the cluster answers a write with the whole object.
pub fn conceal(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "type" | "immutable"));
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        // it repeats the content
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(crate::rule::LAST_APPLIED);
        }
    }
}
