//! The pipeline file as it is meant: every key known, every value of its type, every name well-formed.
//!
//! What a table means on its own is decided here; what it means together with others (needs, plugins, grants, references) is the
//! plan's. A mistake costs only what it stands in: a stage with a bad `timeout` still exists for those that need it.

mod environment;
mod input;
mod matrix;
mod stage;
mod tuning;

use std::time::Duration;

pub use environment::Environment;
pub use input::{Input, InputKind};
pub use matrix::Matrix;
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
    pub inputs: Vec<Input>,
    pub secrets: Vec<(Key, Secret)>,
    pub environments: Vec<Environment>,
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
        if let Some(node) = reader.take("input") {
            each(node, "input", reader.diagnostics, |key, node, diagnostics| pipeline.inputs.extend(Input::read(key, node, diagnostics)));
        }
        if let Some(node) = reader.take("secret") {
            each(node, "secret", reader.diagnostics, |key, node, diagnostics| pipeline.secrets.extend(secret(key, node, diagnostics)));
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

/// `[a-z][a-z0-9-]*`, for everything but stages `_` too; at most [`MAX_NAME`] bytes.
fn check_name(key: &Key, kind: &str, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let underscore = kind != "stage";
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

fn secret(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<(Key, Secret)> {
    let mut reader = TableReader::new(node, format!("[secret.{}]", shown(&key.name)), diagnostics)?;
    reader.require("from");
    let from = reader.string("from");
    let to = reader.strings("to").unwrap_or_default();
    if let Some(from) = &from {
        check_source(from, reader.diagnostics);
    }
    for place in &to {
        if place.value.trim().is_empty() {
            reader.diagnostics.push(Diagnostic::error("bad-value", place.span.clone(), "an empty place can't take a secret"));
        }
    }
    reader.finish();
    let secret =
        Secret { name: key.name.clone(), from: from.map_or_else(String::new, |f| f.value), to: to.into_iter().map(|t| t.value).collect() };
    Some((key.clone(), secret))
}

fn check_source(from: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) {
    let (good, hint) = match from.value.split_once(':') {
        Some(("env", name)) => (is_env_name(name), "write the variable's name: \"env:REGISTRY_TOKEN\""),
        Some(("file", path)) => (!path.is_empty() && !path.contains('\0'), "write a path: \"file:/run/secrets/token\""),
        Some(("cmd", line)) => (!line.trim().is_empty() && !line.contains('\0'), "write a command: \"cmd:pass show token\""),
        _ => (false, "write \"env:NAME\", \"file:/path\" or \"cmd:program argument\""),
    };
    if !good {
        let message = "a secret can't come from there";
        diagnostics.push(Diagnostic::error("bad-secret", from.span.clone(), message).hint(hint));
    }
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
