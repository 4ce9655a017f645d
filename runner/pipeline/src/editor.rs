//! The JSON Schema of a pipeline file, for editors: completion and a first check while somebody types.
//!
//! It says less than `check`, which knows what tables mean together, and nothing that `check` does not say. The format's own part is
//! `core.schema.json`; grants come from the capabilities and settings from the plugins' manifests, so that neither is written twice.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::grant::GrantSchema;
use crate::manifest::PluginInfo;

const CORE: &str = include_str!("core.schema.json");

/// JSON Schema, 2020-12, with these capabilities and plugins.
///
/// # Panics
/// If the part that is compiled in is no JSON, which a test would have told.
pub fn schema(capabilities: &[Arc<dyn GrantSchema>], plugins: &[Arc<PluginInfo>]) -> Value {
    let mut schema: Value = serde_json::from_str(CORE).expect("the part that is compiled in is JSON");
    let stage = &mut schema["$defs"]["stage"];
    let mut grants = Map::new();
    for capability in capabilities {
        let mut grant = capability.json_schema();
        if let Value::Object(grant) = &mut grant {
            grant.insert("description".into(), capability.summary().into());
        }
        grants.insert(capability.name().into(), grant);
    }
    stage["properties"]["grants"]["properties"] = Value::Object(grants);
    stage["properties"]["grants"]["additionalProperties"] = false.into();
    let settings = plugins.iter().map(|plugin| {
        let mut with = plugin.manifest.schema.clone();
        if let Value::Object(with) = &mut with {
            // references within it start at it
            with.insert("$id".into(), format!("urn:runner:plugin:{}", plugin.manifest.name).into());
            with.remove("$schema");
        }
        json!({
            "if": { "properties": { "uses": { "const": plugin.uses } }, "required": ["uses"] },
            "then": { "properties": { "with": with } },
        })
    });
    // an empty list is no schema
    if !plugins.is_empty() {
        stage["allOf"] = settings.collect();
    }
    schema
}
