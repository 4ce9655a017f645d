//! The pipeline file as it is meant: every key known, every value of its type, every name well-formed.
//!
//! What a table means on its own is decided here; what it means together with others (needs, plugins, grants, references) is the
//! plan's. A mistake costs only what it stands in: a stage with a bad `timeout` still exists for those that need it.

mod cache;
mod concurrency;
mod environment;
mod input;
mod matrix;
pub(crate) mod on;
mod secret;
mod service;
mod stage;
mod tuning;

use std::time::Duration;

pub use cache::{Cache, Part};
pub use concurrency::Concurrency;
pub use environment::Environment;
pub use input::{Input, InputKind};
pub use matrix::Matrix;
pub use on::On;
pub use service::Service;
use stage::env;
pub use stage::{Artifact, ConsumeRef, Stage};

use crate::diagnostic::{Diagnostic, Span};
use crate::node::{Key, Node, Spanned, Table, TableReader, Value, wrong_type};
use crate::plan::Secret;

/// Names of stages, environments, inputs, secrets, artifacts and matrix keys.
pub const MAX_NAME: usize = 64;

#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// Empty if it is missing, which was reported.
    pub name: String,
    pub timeout: Option<Duration>,
    pub on: Option<On>,
    pub concurrency: Option<Concurrency>,
    pub inputs: Vec<Input>,
    pub secrets: Vec<(Key, Secret)>,
    pub environments: Vec<Environment>,
    pub services: Vec<Service>,
    pub caches: Vec<Cache>,
    /// In the order of the file.
    pub stages: Vec<Stage>,
}

impl Pipeline {
    /// Reads the tree of a file; what is wrong is pushed, what is right is in the pipeline.
    pub fn read(root: &Node, diagnostics: &mut Vec<Diagnostic>) -> Pipeline {
        let mut pipeline = Pipeline::default();
        let Some(mut reader) = TableReader::new(root, "the pipeline", diagnostics) else { return pipeline };
        // `raw` has looked at it.
        reader.take("format");
        pipeline.name = name(&mut reader).unwrap_or_default();
        pipeline.timeout = positive_duration(&mut reader, "timeout");
        pipeline.on = reader.take("on").and_then(|node| On::read(node, reader.diagnostics));
        pipeline.concurrency = reader.take("concurrency").and_then(|node| Concurrency::read(node, reader.diagnostics));
        // gone where there were any: what is included and extended is in the tree
        for composed in ["include", "template"] {
            reader.take(composed);
        }
        if let Some(node) = reader.take("input") {
            each(node, "input", reader.diagnostics, |key, node, diagnostics| pipeline.inputs.extend(Input::read(key, node, diagnostics)));
        }
        if let Some(node) = reader.take("secret") {
            each(node, "secret", reader.diagnostics, |key, node, diagnostics| {
                pipeline.secrets.extend(secret::read(key, node, format!("[secret.{}]", shown(&key.name)), diagnostics));
            });
        }
        if let Some(node) = reader.take("service") {
            each(node, "service", reader.diagnostics, |key, node, diagnostics| {
                pipeline.services.extend(Service::read(key, node, diagnostics))
            });
        }
        if let Some(node) = reader.take("cache") {
            each(node, "cache", reader.diagnostics, |key, node, diagnostics| pipeline.caches.extend(Cache::read(key, node, diagnostics)));
        }
        if let Some(node) = reader.take("environment") {
            each(node, "environment", reader.diagnostics, |key, node, diagnostics| {
                pipeline.environments.extend(Environment::read(key, node, diagnostics));
            });
        }
        match reader.take("stage") {
            Some(node) => each(node, "stage", reader.diagnostics, |key, node, diagnostics| {
                pipeline.stages.push(Stage::read(key, node, diagnostics));
            }),
            None => reader.diagnostics.push(
                Diagnostic::error("no-stages", None, "the pipeline has no stages")
                    .hint("add one:\n\n[stage.hello]\nuses = \"command\"\nwith = { run = [\"echo\", \"hello\"] }"),
            ),
        }
        reader.finish();
        pipeline
    }

    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|i| i.name == name)
    }
}

fn name(reader: &mut TableReader<'_>) -> Option<String> {
    reader.require("name")?;
    let text = reader.string("name")?;
    let length = text.value.chars().count();
    if text.value.trim().is_empty() || length > MAX_NAME || text.value.chars().any(char::is_control) {
        reader.diagnostics.push(
            Diagnostic::error("bad-name", text.span, "this can't be the name of a pipeline")
                .hint(format!("1 to {MAX_NAME} characters on one line")),
        );
    }
    Some(text.value)
}

/// Goes through `[kind.<name>]`, names checked.
fn each(node: &Node, kind: &str, diagnostics: &mut Vec<Diagnostic>, mut read: impl FnMut(&Key, &Node, &mut Vec<Diagnostic>)) {
    let Value::Table(table) = &node.value else {
        let message = format!("write [{kind}.<name>] tables");
        diagnostics.push(wrong_type(&node.span, &format!("`{kind}`"), "a table of tables", &node.value).hint(message));
        return;
    };
    for (key, node) in &table.entries {
        check_name(key, kind, diagnostics);
        read(key, node, diagnostics);
    }
}

/// `[a-z][a-z0-9-]*`, for everything but stages and services `_` too; at most [`MAX_NAME`] bytes.
pub(crate) fn check_name(key: &Key, kind: &str, diagnostics: &mut Vec<Diagnostic>) -> bool {
    // names of stages and services are names of hosts too
    let underscore = kind != "stage" && kind != "service";
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (c == '_' && underscore);
    let good = key.name.starts_with(|c: char| c.is_ascii_lowercase()) && key.name.chars().all(fits) && key.name.len() <= MAX_NAME;
    if !good {
        let also = if underscore { ", `-` and `_`" } else { " and `-`" };
        let rule = format!("names begin with a lower-case letter and hold lower-case letters, digits{also}; at most {MAX_NAME} of them");
        let mut mended: String = key.name.to_lowercase().chars().map(|c| if fits(c) { c } else { '-' }).collect();
        mended = mended.trim_matches(|c: char| !c.is_ascii_alphanumeric()).trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
        let hint = if mended.is_empty() || mended.len() > MAX_NAME { rule } else { format!("{rule}: `{mended}`") };
        diagnostics.push(
            Diagnostic::error("bad-name", key.span.clone(), format!("`{}` can't be the name of {}", shown(&key.name), article(kind)))
                .hint(hint),
        );
    }
    good
}

fn article(kind: &str) -> String {
    if kind.starts_with(['a', 'e', 'i']) { format!("an {kind}") } else { format!("a {kind}") }
}

/// A name from the file in a message: short, and with no control characters.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().count() > 80 {
        text.push('…');
    }
    text.replace("\\'", "'").replace("\\\"", "\"")
}

/// The variables of a table that are no program's: `env` of a service that names a compose file.
pub(crate) fn variables(reader: &mut TableReader<'_>) -> Vec<(Key, Node)> {
    env(reader, is_env_name)
}

pub(crate) fn is_env_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A duration above zero: a time-out of zero would mean that nothing can ever run.
fn positive_duration(reader: &mut TableReader<'_>, key: &'static str) -> Option<Duration> {
    let found = reader.duration(key)?;
    if found.value.is_zero() {
        reader.diagnostics.push(Diagnostic::error("out-of-range", found.span, format!("`{key}` must be more than zero")));
        return None;
    }
    Some(found.value)
}

/// The entries of a table-valued key. A diagnostic and none if it is something else.
fn entries<'a>(reader: &mut TableReader<'a>, key: &'static str) -> &'a [(Key, Node)] {
    match reader.take(key) {
        None => &[],
        Some(Node { value: Value::Table(Table { entries }), .. }) => entries,
        Some(node) => {
            reader.diagnostics.push(wrong_type(&node.span, &format!("`{key}`"), "a table", &node.value));
            &[]
        }
    }
}

/// Reports names that stand twice in a list; answers the list without them.
fn unique(names: Vec<Spanned<String>>, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned<String>> {
    let mut seen: std::collections::HashMap<String, Span> = std::collections::HashMap::new();
    let mut kept = Vec::with_capacity(names.len());
    for name in names {
        if let Some(first) = seen.get(&name.value) {
            diagnostics.push(
                Diagnostic::error("duplicate", name.span, format!("`{}` stands twice in {what}", shown(&name.value)))
                    .related(first.clone(), "first here")
                    .hint("remove one of them"),
            );
        } else {
            seen.insert(name.value.clone(), name.span.clone());
            kept.push(name);
        }
    }
    kept
}
