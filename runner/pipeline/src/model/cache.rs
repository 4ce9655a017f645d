//! `[cache.<name>]`: folders that a later run may have again.

use globset::Glob;

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};

/// More parts of a key, or paths, are taken for a mistake.
const MOST: usize = 16;

#[derive(Debug, Clone)]
pub struct Cache {
    pub name: Key,
    /// Normalised: `~/.npm`, or relative to the workspace.
    pub paths: Vec<String>,
    pub key: Vec<Part>,
}

/// Not yet interpolated.
#[derive(Debug, Clone)]
pub enum Part {
    Text(Spanned<String>),
    Files(Vec<Spanned<String>>),
}

impl Cache {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Cache> {
        let mut reader = TableReader::new(node, format!("[cache.{}]", shown(&key.name)), diagnostics)?;
        let mut paths: Vec<String> = Vec::new();
        if reader.require("paths").is_some() {
            for path in reader.strings("paths").unwrap_or_default() {
                match normal(&path.value) {
                    Some(normal) => match paths.iter().find(|other| within(other, &normal) || within(&normal, other)) {
                        Some(other) => {
                            let message = format!("`{}` and `{other}` lie in each other", shown(&path.value));
                            reader.diagnostics.push(Diagnostic::error("duplicate", path.span, message).hint("keep the outer one"));
                        }
                        None => paths.push(normal),
                    },
                    None => reader.diagnostics.push(
                        Diagnostic::error("bad-path", path.span, format!("`{}` is no folder that can be kept", shown(&path.value)))
                            .hint("write a folder below the home folder of the stage's programs (\"~/.npm\") or the workspace (\".venv\")"),
                    ),
                }
            }
            if paths.is_empty() && reader.diagnostics.is_empty() {
                reader.diagnostics.push(Diagnostic::error("bad-value", node.span.clone(), "a cache keeps at least one path"));
            }
        }
        let parts = match reader.require("key") {
            None => Vec::new(),
            Some(Node { value: Value::Array(items), span }) => {
                if items.is_empty() || items.len() > MOST {
                    let message = format!("a cache's key has 1 to {MOST} parts");
                    reader.diagnostics.push(
                        Diagnostic::error("bad-value", span.clone(), message)
                            .hint("key = [\"node20\", { files = [\"package-lock.json\"] }]"),
                    );
                }
                items.iter().filter_map(|item| part(item, reader.diagnostics)).collect()
            }
            Some(other) => {
                reader.diagnostics.push(
                    wrong_type(&other.span, "`key`", "an array", &other.value)
                        .hint("key = [\"node20\", { files = [\"package-lock.json\"] }]"),
                );
                Vec::new()
            }
        };
        reader.finish();
        Some(Cache { name: key.clone(), paths, key: parts })
    }
}

fn part(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Part> {
    match &node.value {
        Value::String(text) => Some(Part::Text(Spanned { value: text.clone(), span: node.span.clone() })),
        Value::Table(_) => {
            let mut reader = TableReader::new(node, "a part of `key`", diagnostics)?;
            reader.require("files");
            let files: Vec<Spanned<String>> = reader.strings("files").unwrap_or_default();
            let files: Vec<Spanned<String>> =
                files.into_iter().filter(|glob| check_glob(&glob.value, &glob.span, reader.diagnostics)).collect();
            reader.finish();
            Some(Part::Files(files))
        }
        other => {
            diagnostics.push(wrong_type(&node.span, "a part of `key`", "a string or `{ files = [...] }`", other));
            None
        }
    }
}

fn check_glob(glob: &str, span: &Span, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let inner =
        !glob.is_empty() && !glob.starts_with(['/', '~']) && !glob.contains(['\\', '\0']) && glob.split('/').all(|part| part != "..");
    let good = inner && (glob.contains("${") || Glob::new(glob).is_ok());
    if !good {
        diagnostics.push(
            Diagnostic::error("bad-path", span.clone(), format!("`{}` is no glob of the workspace", shown(glob)))
                .hint("write a path with `/`, such as \"*/package-lock.json\""),
        );
    }
    good
}

/// `~/a/b` or `a/b`, without `.` and doubled `/`; none for what is no folder below the one or the other.
fn normal(path: &str) -> Option<String> {
    if path.contains(['\0', '\\', '*', '?', '$']) || path.starts_with('/') {
        return None;
    }
    let (home, rest) = match path.strip_prefix("~/") {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty()
        || parts.iter().any(|part| *part == ".." || part.starts_with('~'))
        || (!home && matches!(parts[0], ".git" | ".runner"))
    {
        return None;
    }
    Some(format!("{}{}", if home { "~/" } else { "" }, parts.join("/")))
}

fn within(outer: &str, inner: &str) -> bool {
    inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
