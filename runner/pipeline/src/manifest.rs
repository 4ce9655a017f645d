//! What a plugin says of itself, and the port through which the plan finds plugins.
//!
//! A manifest is `plugin.toml`, embedded in the component; reading it runs none of the plugin's code. Deliberately absent: files,
//! digests and WebAssembly. `host` looks into components and hands in [`PluginInfo`].

use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Spanned, TableReader, Value};
use crate::raw;

/// What this version reads of `manifest = …`.
pub const FORMAT: i64 = 1;

/// A plugin's `plugin.toml`.
///
/// ```toml
/// manifest = 1
/// name = "lint"
/// version = "0.1.0"
/// summary = "Runs linters and formatter checks and reports what they find"
///
/// [request.files]
/// required = true
/// reason = "reads configuration and baseline files"
///
/// [settings]
/// schema = '{ "type": "object", "additionalProperties": false }'
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// In the order of the file.
    pub requests: Vec<Request>,
    /// JSON Schema (draft 2020-12) of `with`. Without `[settings]`: an object with no keys.
    pub schema: serde_json::Value,
}

/// A capability that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name of the grant: `files`.
    pub capability: String,
    /// Without the grant the plan is refused; an optional request is a denial when the stage runs.
    pub required: bool,
    /// Why, in the plugin author's words.
    pub reason: String,
}

/// Where a plugin came from, and so how far it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provenance {
    /// Built into the runner.
    Bundled,
    /// A file of this machine.
    Local(PathBuf),
}

impl Provenance {
    /// May be given what a stranger's may not: `in = "host"`, `workspace = "shared"`.
    pub fn trusted(&self) -> bool {
        match self {
            Provenance::Bundled | Provenance::Local(_) => true,
        }
    }
}

/// A plugin that was found, before anything of it was compiled or run.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginInfo {
    /// As the pipeline file names it.
    pub uses: String,
    pub provenance: Provenance,
    /// BLAKE3 of the component file, hex.
    pub digest: String,
    pub manifest: Manifest,
    /// The component's imports with their versions: `runner:http/client@0.1.0`.
    pub imports: Vec<String>,
}

/// Finds plugins by what `uses` says.
pub trait Plugins {
    /// `uses` is a bundled name, or a path that starts with `./`, `../` or `/` and is relative to the pipeline file's folder.
    ///
    /// # Errors
    /// Says why there is none: no such name or file, no component, a manifest that can't be read.
    fn find(&self, uses: &str) -> Result<Arc<PluginInfo>, PluginError>;

    /// The bundled names, for "did you mean".
    fn names(&self) -> Vec<String>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// One sentence with no full stop.
    pub message: String,
    pub hint: Option<String>,
}

impl Manifest {
    /// Reads `plugin.toml`.
    ///
    /// # Errors
    /// Every mistake, with its place in `text`.
    pub fn parse(text: &str) -> Result<Manifest, Vec<Diagnostic>> {
        let root = raw::tree(text).map_err(|(_, diagnostics)| diagnostics)?;
        let mut diagnostics = Vec::new();
        let manifest = Self::read(&root, &mut diagnostics);
        match manifest {
            Some(manifest) if diagnostics.is_empty() => Ok(manifest),
            _ => Err(diagnostics),
        }
    }

    fn read(root: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Manifest> {
        let mut reader = TableReader::new(root, "plugin.toml", diagnostics)?;
        match reader.integer("manifest", 1..=i64::MAX).map(|v| (v.value, v.span)) {
            Some((FORMAT, _)) => {}
            Some((newer, span)) => {
                let message = format!("manifest format {newer} needs a newer runner");
                reader.diagnostics.push(Diagnostic::error("newer-format", span, message).hint("install a newer version of runner"));
                return None;
            }
            None if reader.take("manifest").is_none() => {
                let message = "plugin.toml does not say which format it is written in";
                reader
                    .diagnostics
                    .push(Diagnostic::error("format", None, message).hint(format!("begin the file with `manifest = {FORMAT}`")));
            }
            None => {}
        }
        let name = required_text(&mut reader, "name");
        let version = required_text(&mut reader, "version");
        let summary = required_text(&mut reader, "summary");
        let requests = reader.take("request").map(|node| requests(node, reader.diagnostics)).unwrap_or_default();
        let schema = match reader.take("settings") {
            Some(node) => schema(node, reader.diagnostics),
            None => Some(no_settings()),
        };
        reader.finish();
        Some(Manifest { name: name?, version: version?, summary: summary?, requests, schema: schema? })
    }

    pub fn request(&self, capability: &str) -> Option<&Request> {
        self.requests.iter().find(|r| r.capability == capability)
    }
}

fn required_text(reader: &mut TableReader<'_>, key: &'static str) -> Option<String> {
    reader.require(key)?;
    let text = reader.string(key)?;
    if text.value.trim().is_empty() {
        reader.diagnostics.push(Diagnostic::error("bad-value", text.span, format!("`{key}` is empty")));
        return None;
    }
    Some(text.value)
}

fn requests(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Vec<Request> {
    let Value::Table(table) = &node.value else {
        diagnostics.push(crate::node::wrong_type(&node.span, "`request`", "a table of tables", &node.value));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, node) in &table.entries {
        let Some(mut reader) = TableReader::new(node, format!("[request.{}]", key.name), diagnostics) else { continue };
        let required = reader.boolean("required").is_some_and(|flag| flag.value);
        let reason = required_text(&mut reader, "reason").unwrap_or_default();
        reader.finish();
        found.push(Request { capability: key.name.clone(), required, reason });
    }
    found
}

fn schema(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<serde_json::Value> {
    let mut reader = TableReader::new(node, "[settings]", diagnostics)?;
    reader.require("schema");
    let text = reader.string("schema");
    let found = text.and_then(|text| parse_schema(&text, reader.diagnostics));
    reader.finish();
    found
}

fn parse_schema(text: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<serde_json::Value> {
    let schema: serde_json::Value = match serde_json::from_str(&text.value) {
        Ok(schema) => schema,
        Err(error) => {
            let message = format!("the schema of the settings is not JSON: {error}");
            diagnostics.push(Diagnostic::error("bad-schema", text.span.clone(), message));
            return None;
        }
    };
    if let Err(error) = compile(&schema) {
        let message = format!("the schema of the settings is not a JSON Schema (draft 2020-12): {error}");
        diagnostics.push(Diagnostic::error("bad-schema", text.span.clone(), message));
        return None;
    }
    Some(schema)
}

/// No reference leaves the schema: nothing is fetched.
pub(crate) fn compile(schema: &serde_json::Value) -> Result<jsonschema::Validator, String> {
    jsonschema::draft202012::options().build(schema).map_err(|error| error.to_string())
}

fn no_settings() -> serde_json::Value {
    serde_json::json!({ "type": "object", "properties": {}, "additionalProperties": false })
}
