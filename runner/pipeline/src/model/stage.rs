//! `[stage.<name>]`: what stands in its table. What `with`, `grants` and `when` mean is found out when the plan is made.

use std::time::Duration;

use globset::Glob;

use crate::diagnostic::{Diagnostic, Span};
use crate::model::{Concurrency, Matrix, check_name, entries, is_env_name, positive_duration, service, shown, tuning, unique};
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{Limits, Retries, RunOn};

#[derive(Debug, Clone)]
pub struct Stage {
    pub name: String,
    /// Of the name.
    pub span: Span,
    /// `None` if it is missing or no string, which was reported.
    pub uses: Option<Spanned<String>>,
    /// Without `"*"`.
    pub needs: Vec<Spanned<String>>,
    /// Where `"*"` stands in `needs`.
    pub needs_all: Option<Span>,
    pub needs_any: Vec<Spanned<String>>,
    pub matrix: Matrix,
    /// CEL.
    pub when: Option<Spanned<String>>,
    pub run_on: RunOn,
    pub soft_fail: bool,
    pub environment: Option<Spanned<String>>,
    pub timeout: Option<Duration>,
    pub retries: Retries,
    /// Names checked; values are scalars.
    pub env: Vec<(Key, Node)>,
    /// A table.
    pub with: Option<Node>,
    /// Where the key `grants` stands.
    pub grants_span: Option<Span>,
    pub grants: Vec<(Key, Node)>,
    pub artifacts: Vec<Artifact>,
    pub consumes: Vec<ConsumeRef>,
    /// Where `workspace = "shared"` stands.
    pub shared: Option<Span>,
    pub limits: Limits,
    /// Globs; empty: whatever changed.
    pub if_changed: Vec<String>,
    pub services: Vec<Spanned<String>>,
    pub caches: Vec<Spanned<String>>,
    pub concurrency: Option<Concurrency>,
}

#[derive(Debug, Clone)]
pub struct Artifact {
    pub name: Key,
    /// Strings, not yet interpolated.
    pub paths: Vec<Node>,
    pub on: RunOn,
    pub keep: Option<Duration>,
}

/// `"build.dist"` in `consumes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeRef {
    pub stage: String,
    pub artifact: String,
    pub span: Span,
}

const RUN_ON: [(&str, RunOn); 3] = [("success", RunOn::Success), ("failure", RunOn::Failure), ("always", RunOn::Always)];

impl Stage {
    /// A stage of that name with nothing in it.
    fn empty(key: &Key) -> Stage {
        Stage {
            name: key.name.clone(),
            span: key.span.clone(),
            uses: None,
            needs: Vec::new(),
            needs_all: None,
            needs_any: Vec::new(),
            matrix: Matrix::single(),
            when: None,
            run_on: RunOn::Success,
            soft_fail: false,
            environment: None,
            timeout: None,
            retries: Retries::default(),
            env: Vec::new(),
            with: None,
            grants_span: None,
            grants: Vec::new(),
            artifacts: Vec::new(),
            consumes: Vec::new(),
            shared: None,
            limits: Limits::default(),
            if_changed: Vec::new(),
            services: Vec::new(),
            caches: Vec::new(),
            concurrency: None,
        }
    }

    pub(crate) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Stage {
        let mut stage = Stage::empty(key);
        let name = shown(&key.name);
        let Some(mut reader) = TableReader::new(node, format!("[stage.{name}]"), diagnostics) else { return stage };
        match reader.take("uses") {
            Some(_) => stage.uses = reader.string("uses").filter(|uses| check_uses(uses, reader.diagnostics)),
            None => reader.diagnostics.push(
                Diagnostic::error("missing-key", key.span.clone(), format!("[stage.{name}] has no `uses`"))
                    .hint("name the plugin: a bundled one such as `uses = \"command\"`, or a file such as `uses = \"./my.wasm\"`"),
            ),
        }
        let needs = unique(reader.strings("needs").unwrap_or_default(), "`needs`", reader.diagnostics);
        stage.needs_all = needs.iter().find(|n| n.value == "*").map(|n| n.span.clone());
        stage.needs = needs.into_iter().filter(|n| n.value != "*").collect();
        stage.needs_any = unique(reader.strings("needs-any").unwrap_or_default(), "`needs-any`", reader.diagnostics);
        if let Some(node) = reader.take("matrix") {
            stage.matrix = Matrix::read(node, reader.diagnostics);
        }
        stage.when = reader.string("when");
        if let Some(word) = reader.word("run-on", &RUN_ON) {
            stage.run_on = word.value;
        }
        stage.soft_fail = reader.boolean("soft-fail").is_some_and(|flag| flag.value);
        stage.environment = reader.string("environment").filter(|name| check_environment(name, reader.diagnostics));
        stage.timeout = positive_duration(&mut reader, "timeout");
        if let Some(node) = reader.take("retries") {
            stage.retries = tuning::retries(node, &name, reader.diagnostics);
        }
        stage.env = env(&mut reader, is_env_name);
        stage.with = match reader.take("with") {
            Some(node) if !matches!(node.value, Value::Table(_)) => {
                reader.diagnostics.push(wrong_type(&node.span, "`with`", "a table", &node.value));
                None
            }
            other => other.cloned(),
        };
        stage.grants_span = reader.key("grants");
        stage.grants = entries(&mut reader, "grants").to_vec();
        for (key, node) in entries(&mut reader, "artifacts") {
            stage.artifacts.extend(artifact(&name, key, node, reader.diagnostics));
        }
        let consumes = unique(reader.strings("consumes").unwrap_or_default(), "`consumes`", reader.diagnostics);
        stage.consumes = consumes.into_iter().filter_map(|text| consume(text, reader.diagnostics)).collect();
        if let Some(word) = reader.word("workspace", &[("private", false), ("shared", true)]) {
            stage.shared = word.value.then_some(word.span);
        }
        if let Some(node) = reader.take("limits") {
            stage.limits = tuning::limits(node, &name, reader.diagnostics);
        }
        stage.if_changed = if_changed(&mut reader);
        stage.services = service::names(&mut reader, "services");
        stage.caches = service::names(&mut reader, "caches");
        stage.concurrency = reader.take("concurrency").and_then(|node| Concurrency::read(node, reader.diagnostics));
        // gone where a template was found: it is in the table
        reader.take("extends");
        reader.finish();
        stage
    }
}

fn check_uses(uses: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let problem = if uses.value.contains("${") {
        ("reference-here", "`uses` is fixed text: no reference is replaced in it", "write the plugin's name or path")
    } else if uses.value.trim().is_empty() || uses.value.chars().any(char::is_control) {
        ("bad-value", "`uses` names no plugin", "write a bundled name such as \"command\", or a path such as \"./my.wasm\"")
    } else {
        return true;
    };
    let (code, message, hint) = problem;
    diagnostics.push(Diagnostic::error(code, uses.span.clone(), message).hint(hint));
    false
}

/// What a stage may do follows from its environment, so nothing from outside chooses it.
fn check_environment(name: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let fixed = !name.value.contains("${");
    if !fixed {
        let message = "`environment` is fixed text: no reference is replaced in it";
        diagnostics.push(
            Diagnostic::error("reference-here", name.span.clone(), message)
                .hint("write an environment's name, and a stage for each environment"),
        );
    }
    fixed
}

/// Globs of the repository's files, as `changed([...])` takes them.
fn if_changed(reader: &mut TableReader<'_>) -> Vec<String> {
    let mut globs = Vec::new();
    for glob in reader.strings("if-changed").unwrap_or_default() {
        let problem = if glob.value.is_empty() || glob.value.starts_with(['/', '~']) || glob.value.contains("${") {
            Some("write a glob relative to the pipeline file, such as \"frontend/**\"".to_owned())
        } else {
            Glob::new(&glob.value).err().map(|error| format!("this is no glob: {}", error.kind()))
        };
        match problem {
            Some(problem) => {
                let message = format!("`{}` names no files", shown(&glob.value));
                reader.diagnostics.push(Diagnostic::error("bad-path", glob.span, message).hint(problem));
            }
            None => globs.push(glob.value),
        }
    }
    globs
}

/// Variables: names checked, values scalars. `fits`: whether a variable may have such a name.
pub(super) fn env(reader: &mut TableReader<'_>, fits: fn(&str) -> bool) -> Vec<(Key, Node)> {
    let mut found = Vec::new();
    for (key, node) in entries(reader, "env") {
        if !fits(&key.name) {
            reader.diagnostics.push(
                Diagnostic::error("bad-name", key.span.clone(), format!("`{}` can't be the name of a variable", shown(&key.name)))
                    .hint("letters, digits and `_`, not beginning with a digit"),
            );
        }
        match &node.value {
            Value::String(text) if text.contains('\0') => {
                let message = "a variable's value can't hold a NUL character";
                reader.diagnostics.push(Diagnostic::error("bad-value", node.span.clone(), message));
            }
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => found.push((key.clone(), node.clone())),
            other => {
                let what = format!("`env.{}`", shown(&key.name));
                reader.diagnostics.push(wrong_type(&node.span, &what, "a string, a number or a boolean", other));
            }
        }
    }
    found
}

fn artifact(stage: &str, key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Artifact> {
    check_name(key, "artifact", diagnostics);
    let mut reader = TableReader::new(node, format!("[stage.{stage}.artifacts.{}]", shown(&key.name)), diagnostics)?;
    let paths = reader.require("paths").cloned();
    let on = reader.word("on", &RUN_ON).map_or(RunOn::Success, |word| word.value);
    let keep = tuning::keep(&mut reader);
    let paths = match paths {
        None => Vec::new(),
        Some(Node { value: Value::Array(items), span }) => {
            if items.is_empty() {
                reader.diagnostics.push(Diagnostic::error("bad-value", span, "an artifact needs at least one path"));
            }
            items
                .into_iter()
                .filter(|item| reader.expect_string(item, "paths").is_some_and(|path| check_glob(&path, reader.diagnostics)))
                .collect()
        }
        Some(node) => {
            reader.diagnostics.push(wrong_type(&node.span, "`paths`", "an array of strings", &node.value));
            Vec::new()
        }
    };
    reader.finish();
    Some(Artifact { name: key.clone(), paths, on, keep })
}

/// A glob inside the workspace. References in it are looked at when they have values.
fn check_glob(path: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let (message, hint) = if path.value.is_empty() || path.value.contains(['\0', '\\']) {
        ("this is no path of the workspace".to_owned(), "write a path with `/`, such as \"target/report/**\"")
    } else if path.value.starts_with('/') || path.value.starts_with('~') {
        ("an artifact's path is relative to the workspace".to_owned(), "remove what is before the first folder of the workspace")
    } else if path.value.split('/').any(|part| part == "..") {
        ("an artifact's path can't leave the workspace".to_owned(), "remove `..`")
    } else if !path.value.contains("${")
        && let Err(error) = Glob::new(&path.value)
    {
        (format!("this is no glob: {}", error.kind()), "`*` is any name, `**` any folders, `[ab]` one of these, `{a,b}` either")
    } else {
        return true;
    };
    diagnostics.push(Diagnostic::error("bad-path", path.span.clone(), message).hint(hint));
    false
}

fn consume(text: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<ConsumeRef> {
    match text.value.split_once('.') {
        Some((stage, artifact)) if !stage.is_empty() && !artifact.is_empty() && !artifact.contains('.') => {
            Some(ConsumeRef { stage: stage.to_owned(), artifact: artifact.to_owned(), span: text.span })
        }
        _ => {
            let message = format!("`{}` names no artifact", shown(&text.value));
            diagnostics.push(Diagnostic::error("bad-value", text.span, message).hint("write the stage and the artifact: \"build.dist\""));
            None
        }
    }
}
