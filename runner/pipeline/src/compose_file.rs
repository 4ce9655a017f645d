//! `[service.<name>] compose = "compose.yaml"`: the services of a compose file, as the tables that a person would have written instead.
//!
//! Text in, tree out: the file is read through the port that reads what is included, and what it says becomes `[service.<name>]` tables whose
//! nodes stand where they are written in YAML. So a compose file can say nothing that a pipeline file can't, every later check is the same for
//! both, and `plan --expanded` shows what came of it. A key that has no such meaning is a mistake and is never skipped.
//!
//! Deliberately absent: what compose does to a machine (builds, published ports, networks, restarts), other files (`extends`, `include`,
//! overrides), and the environment of whoever starts the runner.

mod dependency;
mod document;
mod env_file;
mod health;
mod keys;
mod mount;
mod port;
mod reader;
mod service;
mod variables;
mod words;
mod yaml;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::compose::{Files, normal};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::{check_name, shown};
use crate::node::{Key, Node, Spanned, Table, TableReader, Value};
use crate::scalar::Scalar;
use crate::source::Sources;

use variables::Variables;

/// Puts the services of compose files in the place of those that name such a file, and their names in the place of its name.
///
/// # Errors
/// Every mistake so far, if a file can't be taken apart: its services would be missed everywhere.
pub(crate) fn expand(
    mut root: Node,
    sources: &mut Sources,
    files: &dyn Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Node, Vec<Diagnostic>> {
    let Value::Table(table) = &mut root.value else { return Ok(root) };
    let Some(at) = table.entries.iter().position(|(key, node)| key.name == "service" && names_a_file(node)) else { return Ok(root) };
    let services = std::mem::replace(&mut table.entries[at].1.value, Value::Boolean(false));
    let Value::Table(services) = services else { return Ok(root) };
    let mut reading = Reading { sources, files, read: HashMap::new(), diagnostics };
    let mut whole: Vec<(Key, Node)> = Vec::new();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut fatal = Vec::new();
    for (key, node) in services.entries {
        let Value::Table(own) = &node.value else {
            put(&mut whole, key, node, reading.diagnostics);
            continue;
        };
        if own.get("compose").is_none() {
            put(&mut whole, key, node, reading.diagnostics);
            continue;
        }
        match reading.group(&key, &node) {
            Ok(members) => {
                groups.push((key.name, members.wanted));
                members.tables.into_iter().for_each(|(key, node)| put(&mut whole, key, node, reading.diagnostics));
            }
            Err(mistake) => fatal.push(mistake),
        }
    }
    if !fatal.is_empty() {
        let mut all = std::mem::take(diagnostics);
        all.extend(fatal);
        return Err(all);
    }
    for (_, node) in &mut whole {
        rename(node, "needs", &groups);
    }
    table.entries[at].1.value = Value::Table(Table { entries: whole });
    if let Some((_, Node { value: Value::Table(stages), .. })) = table.entries.iter_mut().find(|(key, _)| key.name == "stage") {
        stages.entries.iter_mut().for_each(|(_, stage)| rename(stage, "services", &groups));
    }
    Ok(root)
}

fn names_a_file(services: &Node) -> bool {
    let Value::Table(services) = &services.value else { return false };
    services.entries.iter().any(|(_, node)| matches!(&node.value, Value::Table(own) if own.get("compose").is_some()))
}

fn put(whole: &mut Vec<(Key, Node)>, key: Key, node: Node, diagnostics: &mut Vec<Diagnostic>) {
    match whole.iter().find(|(known, _)| known.name == key.name) {
        None => whole.push((key, node)),
        Some((first, _)) => diagnostics.push(
            Diagnostic::error("duplicate", key.span, format!("there are two services `{}`", shown(&key.name)))
                .related(first.span.clone(), "first here")
                .hint("give one of them another name, or say which of the compose file are wanted: `services = [..]`"),
        ),
    }
}

/// In a list of services, the name of a group stands for its services. One that is named besides stays once.
fn rename(holder: &mut Node, list: &str, groups: &[(String, Vec<String>)]) {
    let Value::Table(table) = &mut holder.value else { return };
    let Some((_, Node { value: Value::Array(items), .. })) = table.entries.iter_mut().find(|(key, _)| key.name == list) else { return };
    let group_of = |item: &Node| match &item.value {
        Value::String(name) => groups.iter().find(|(group, _)| group == name).map(|(_, members)| members),
        _ => None,
    };
    let mut named: HashSet<String> = HashSet::new();
    for item in items.iter().filter(|item| group_of(item).is_none()) {
        if let Value::String(name) = &item.value {
            named.insert(name.clone());
        }
    }
    let mut renamed = Vec::with_capacity(items.len());
    let mut met = HashSet::new();
    for item in items.drain(..) {
        match group_of(&item) {
            Some(members) => {
                let again = !met.insert(members.as_ptr());
                // what is named twice is told of where the list is read
                let new = members.iter().enumerate().filter(|(index, member)| named.insert((*member).clone()) || (again && *index == 0));
                renamed.extend(new.map(|(_, member)| string(member, &item.span)));
            }
            None => renamed.push(item),
        }
    }
    *items = renamed;
}

/// What a compose file gives.
struct Members {
    /// Those that the group's name stands for.
    wanted: Vec<String>,
    /// With what they depend on.
    tables: Vec<(Key, Node)>,
}

/// Reads files, each once.
struct Reading<'a> {
    sources: &'a mut Sources,
    files: &'a dyn Files,
    /// By path: where the text begins.
    read: HashMap<String, (usize, String)>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reading<'_> {
    #[expect(clippy::result_large_err, reason = "asked once for a file")]
    fn group(&mut self, key: &Key, node: &Node) -> Result<Members, Diagnostic> {
        let what = format!("[service.{}]", shown(&key.name));
        check_name(key, "service", self.diagnostics);
        let nothing = || Members { wanted: Vec::new(), tables: Vec::new() };
        let Some(mut reader) = TableReader::new(node, what.clone(), self.diagnostics) else { return Ok(nothing()) };
        for other in ["image", "command"] {
            if let Some(span) = reader.refused(other) {
                let message = format!("{what} is what its compose file says, and has no `{other}` of its own");
                reader.diagnostics.push(Diagnostic::error("contradiction", span, message).hint(format!("remove `{other}` or `compose`")));
            }
        }
        let path = reader.string("compose");
        let wanted = reader.take("services").is_some().then(|| reader.strings("services").unwrap_or_default());
        let values = crate::model::variables(&mut reader);
        reader.finish();
        let Some(path) = path else { return Ok(nothing()) };
        let values = values.iter().filter_map(|(key, node)| Some((key.name.clone(), Scalar::of(node)?.text()))).collect();
        // relative to the file that names it, as what is included is
        let (main, holder) = (self.sources.main().parent(), self.sources.file_of(key.span.start).0);
        let folder = holder.strip_prefix(main.unwrap_or(Path::new(""))).unwrap_or(holder).parent().unwrap_or(Path::new("")).to_owned();
        let (normal, start, text) = self.file(&path, &folder, "compose.yaml")?;
        let tree = yaml::read(&text, start)?;
        let folder = Path::new(&normal).parent().unwrap_or(Path::new("")).to_owned();
        let variables = Variables { values, place: what };
        document::Document { folder, variables, wanted }.members(tree, self)
    }

    /// Where a file is, where its text begins in the sources, and the text.
    #[expect(clippy::result_large_err, reason = "asked once for a file")]
    fn file(&mut self, path: &Spanned<String>, folder: &Path, such: &str) -> Result<(String, usize, String), Diagnostic> {
        let refuse = |message: String, hint: &str| Diagnostic::error("bad-include", path.span.clone(), message).hint(hint);
        let Some(normal) = normal(folder, &path.value) else {
            let message = format!("`{}` is no file of this repository", shown(&path.value));
            return Err(refuse(message, &format!("write the path of a file of the same repository, relative to this file: \"{such}\"")));
        };
        if let Some((start, text)) = self.read.get(&normal) {
            return Ok((normal, *start, text.clone()));
        }
        let text = self
            .files
            .read(&normal)
            .map_err(|why| refuse(format!("`{}` can't be read: {why}", shown(&normal)), "name another file, or remove it"))?;
        let shown_as: PathBuf = self.sources.main().parent().unwrap_or(Path::new("")).join(&normal);
        let start = self.sources.add(&shown_as, &text);
        self.read.insert(normal.clone(), (start, text.clone()));
        Ok((normal, start, text))
    }
}

/// A table that stands for something in YAML.
fn table(entries: Vec<(Key, Node)>, span: &Span) -> Node {
    Node { value: Value::Table(Table { entries }), span: span.clone() }
}

fn string(text: impl Into<String>, span: &Span) -> Node {
    Node { value: Value::String(text.into()), span: span.clone() }
}

fn key(name: &str, span: &Span) -> Key {
    Key { name: name.to_owned(), span: span.clone() }
}
