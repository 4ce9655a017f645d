//! `volumes` of a service: named ones, and files of the repository, which are read-only.

use std::path::Path;

use crate::compose::normal;
use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::{Node, Value as Toml};

use super::reader::{Map, items, refuse, scalar};
use super::yaml::{Value, Yaml};
use super::{key, string, table};

/// Whose mounts they are.
pub(super) struct Place<'a> {
    pub service: &'a str,
    /// Of the compose file, from the pipeline file's folder.
    pub folder: &'a Path,
    /// That the file declares.
    pub volumes: &'a [String],
}

/// What a service mounts, as entries of `mounts` and of `tmpfs`.
#[derive(Default)]
pub(super) struct Mounts {
    pub mounts: Vec<Node>,
    pub tmpfs: Vec<Node>,
}

pub(super) fn read(node: &Yaml, what: &str, place: &Place<'_>, diagnostics: &mut Vec<Diagnostic>) -> Mounts {
    let mut found = Mounts::default();
    for (index, item) in items(node, what, diagnostics).iter().enumerate() {
        let volume = match &item.value {
            Value::Map(_) => long(item, what, diagnostics),
            _ => scalar(item, what, diagnostics).and_then(|text| short(&text.value, &item.span, diagnostics)),
        };
        let Some(volume) = volume else { continue };
        let span = &item.span;
        if let Source::Tmpfs = volume.source {
            found.tmpfs.push(string(volume.target, span));
            continue;
        }
        let Some((name, from)) = place.source(&volume, index, span, diagnostics) else { continue };
        let mut entries = vec![(key(name, span), string(from, span)), (key("to", span), string(volume.target, span))];
        if volume.read_only && name == "volume" {
            entries.push((key("read-only", span), Node { value: Toml::Boolean(true), span: span.clone() }));
        }
        found.mounts.push(table(entries, span));
    }
    found
}

/// Folders in memory.
pub(super) fn tmpfs(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Node> {
    let mut found = Vec::new();
    for folder in super::reader::scalars(node, what, diagnostics) {
        if let Some((path, _)) = folder.value.split_once(':') {
            let message = format!("`{what}` has options, and a folder in memory has none here");
            let hint = format!("write \"{}\" alone: it may hold 1 GiB, and everybody in the container may write to it", shown(path));
            diagnostics.push(refuse(&folder.span, message, hint));
            continue;
        }
        found.push(string(folder.value, &folder.span));
    }
    found
}

enum Source {
    /// A volume without a name.
    Anonymous,
    Volume(String),
    Bind(String),
    Tmpfs,
}

struct Volume {
    source: Source,
    target: String,
    read_only: bool,
}

/// `source:target:options`
fn short(text: &str, span: &Span, diagnostics: &mut Vec<Diagnostic>) -> Option<Volume> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (Source::Anonymous, *target, ""),
        [source, target] => (named(source), *target, ""),
        [source, target, options] => (named(source), *target, *options),
        _ => {
            let message = format!("`{}` has too many parts", shown(text));
            diagnostics.push(
                Diagnostic::error("bad-value", span.clone(), message).hint("write `data:/var/lib/mysql` or `./init.sql:/init.sql:ro`"),
            );
            return None;
        }
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // the second are for engines in a virtual machine, and change nothing that can be seen
            "rw" | "cached" | "delegated" | "consistent" => {}
            _ => {
                let message = format!("`{}` is no option of a mount here", shown(option));
                diagnostics.push(refuse(span, message, "remove it; `ro` and `rw` are read"));
                return None;
            }
        }
    }
    Some(Volume { source, target: target.to_owned(), read_only })
}

fn named(source: &str) -> Source {
    let path = source.starts_with(['.', '/', '~', '\\']) || source.contains('/');
    if path { Source::Bind(source.to_owned()) } else { Source::Volume(source.to_owned()) }
}

fn long(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Volume> {
    let mut map = Map::new(node, format!("{what}[]"), diagnostics)?;
    let kind = map.text("type").map(|(_, text)| text);
    let source = map.text("source").map(|(_, text)| text.value);
    let target = map.text("target").map(|(_, text)| text.value);
    let read_only = map.boolean("read_only").is_some_and(|(_, flag)| flag.value);
    let missing = if kind.is_none() { Some("type") } else { target.is_none().then_some("target") };
    if let Some(missing) = missing {
        let message = format!("`{what}[]` has no `{missing}`");
        map.diagnostics.push(Diagnostic::error("missing-key", node.span.clone(), message).hint("a mount has a `type` and a `target`"));
    }
    map.finish();
    let (kind, target) = (kind?, target?);
    let source = match (kind.value.as_str(), source) {
        ("volume", None) => Source::Anonymous,
        ("volume", Some(name)) => Source::Volume(name),
        ("bind", Some(path)) => Source::Bind(path),
        ("tmpfs", None) => Source::Tmpfs,
        _ => {
            let message = format!("there is no such mount of type `{}`", shown(&kind.value));
            diagnostics.push(refuse(&kind.span, message, "a `volume`, a `bind` with its `source`, or a `tmpfs` without one"));
            return None;
        }
    };
    Some(Volume { source, target, read_only })
}

impl Place<'_> {
    /// The key of an entry of `mounts`, and its value.
    fn source(&self, volume: &Volume, index: usize, span: &Span, diagnostics: &mut Vec<Diagnostic>) -> Option<(&'static str, String)> {
        match &volume.source {
            Source::Anonymous => Some(("volume", format!("{}-{}", self.service, index + 1))),
            Source::Tmpfs => None,
            Source::Volume(name) if self.volumes.contains(name) => Some(("volume", name.clone())),
            Source::Volume(name) => {
                let message = format!("the file declares no volume `{}`", shown(name));
                let hint = format!("add it at the top level: `volumes: {{ {}: }}`; a path begins with `./`", shown(name));
                diagnostics.push(Diagnostic::error("missing-key", span.clone(), message).hint(hint));
                None
            }
            Source::Bind(path) => {
                let inside = normal(self.folder, path).filter(|inside| inside.split('/').next() != Some(".."));
                let Some(inside) = inside else {
                    let message = format!("`{}` is no file or folder below the pipeline file's", shown(path));
                    let hint = "a service sees files of the repository alone, and never all of it: `./db/init.sql:/init.sql:ro`";
                    diagnostics.push(refuse(span, message, hint));
                    return None;
                };
                if !volume.read_only {
                    let message =
                        format!("`{}` could be written by the service, and what services write is gone with the attempt", shown(path));
                    diagnostics.push(refuse(span, message, "add `:ro` (`read_only: true`), or use a named volume"));
                    return None;
                }
                Some(("path", inside))
            }
        }
    }
}
