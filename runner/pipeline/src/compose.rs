//! From the trees of several files to one: `include` brings further files in, `extends` puts templates under stages.
//!
//! Nothing is read here that the port does not give, and what comes of it is an ordinary tree whose nodes still say where they were
//! written. Tables merge by key, anything else replaces; what is named later wins, and the stage itself comes last.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::graph::list;
use crate::model::shown;
use crate::node::{Key, Node, Table, TableReader, Value, wrong_type};
use crate::raw;
use crate::source::Sources;

/// Reads what a pipeline includes: files of the same repository.
pub trait Files {
    /// The text of a file, by its path relative to the folder of the pipeline file, with `/`.
    ///
    /// # Errors
    /// Why it can't be read, for people.
    fn read(&self, path: &str) -> Result<String, String>;
}

/// For a pipeline that may include nothing.
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("nothing can be included here".to_owned())
    }
}

/// More are taken for a mistake.
const MAX_FILES: usize = 64;

/// Tables that an included file may hold. Everything else is the pipeline file's own.
const SHARED: [&str; 7] = ["input", "secret", "environment", "service", "cache", "template", "stage"];

/// The one tree of a pipeline file and all that it includes. The included come first, each after what it includes itself.
///
/// # Errors
/// The mistakes of a file that can't be taken apart; what it would have brought in would be missed everywhere.
pub(crate) fn include(
    root: Node,
    sources: &mut Sources,
    files: &dyn Files,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Node, Vec<Diagnostic>> {
    let mut reading = Reading { sources, files, seen: HashSet::new(), diagnostics, merged: Vec::new(), fatal: Vec::new() };
    let folder = PathBuf::new();
    let root = reading.take_includes(root, &folder);
    let Reading { merged, fatal, .. } = reading;
    if !fatal.is_empty() {
        return Err(fatal);
    }
    let Value::Table(table) = root.value else { return Ok(root) };
    let mut whole = merged;
    for (key, node) in table.entries {
        put(&mut whole, key, node, diagnostics);
    }
    Ok(Node { value: Value::Table(Table { entries: whole }), span: root.span })
}

struct Reading<'a> {
    sources: &'a mut Sources,
    files: &'a dyn Files,
    seen: HashSet<String>,
    diagnostics: &'a mut Vec<Diagnostic>,
    merged: Vec<(Key, Node)>,
    fatal: Vec<Diagnostic>,
}

impl Reading<'_> {
    /// Reads what a file includes; answers the file's tree without `include`.
    fn take_includes(&mut self, mut root: Node, folder: &Path) -> Node {
        let Value::Table(table) = &mut root.value else { return root };
        let Some(at) = table.entries.iter().position(|(key, _)| key.name == "include") else { return root };
        let (_, node) = table.entries.remove(at);
        let Value::Array(items) = &node.value else {
            self.diagnostics
                .push(wrong_type(&node.span, "`include`", "an array of paths", &node.value).hint("write `include = [\"ci/common.toml\"]`"));
            return root;
        };
        for item in items {
            match &item.value {
                Value::String(path) => self.file(path, &item.span, folder),
                other => self.diagnostics.push(wrong_type(&item.span, "`include`", "an array of paths", other)),
            }
        }
        root
    }

    fn file(&mut self, path: &str, span: &Span, folder: &Path) {
        let refuse = |message: String, hint: &str| Diagnostic::error("bad-include", span.clone(), message).hint(hint);
        let Some(normal) = normal(folder, path) else {
            let message = format!("`{}` is no file of this repository", shown(path));
            self.fatal.push(refuse(message, "write the path of a file of the same repository, relative to this file: \"ci/common.toml\""));
            return;
        };
        if !self.seen.insert(normal.clone()) {
            // twice brings in nothing more, and a circle ends here
            return;
        }
        if self.seen.len() > MAX_FILES {
            self.fatal.push(refuse(format!("more than {MAX_FILES} files are included"), "put some of them together"));
            return;
        }
        let text = match self.files.read(&normal) {
            Ok(text) => text,
            Err(message) => {
                self.fatal.push(refuse(format!("`{}` can't be included: {message}", shown(&normal)), "name another file, or remove it"));
                return;
            }
        };
        let shown_as = self.sources.main().parent().unwrap_or(Path::new("")).join(&normal);
        let start = self.sources.add(&shown_as, &text);
        let moved = |mut diagnostic: Diagnostic| {
            // a mistake of the whole file stands at its beginning
            diagnostic.span = Some(diagnostic.span.map_or(start..start, |span| span.start + start..span.end + start));
            diagnostic.related.iter_mut().for_each(|(span, _)| *span = span.start + start..span.end + start);
            diagnostic
        };
        let tree = match raw::read(&text) {
            Ok((tree, warnings)) => {
                self.diagnostics.extend(warnings.into_iter().map(moved));
                tree
            }
            Err(mistakes) => {
                self.fatal.extend(mistakes.into_iter().map(moved));
                return;
            }
        };
        let tree = self.take_includes(shift(tree, start), Path::new(&normal).parent().unwrap_or(Path::new("")));
        let Value::Table(table) = tree.value else { return };
        for (key, node) in table.entries {
            if key.name == "format" {
                continue;
            }
            if SHARED.contains(&key.name.as_str()) {
                put(&mut self.merged, key, node, self.diagnostics);
            } else {
                let message = format!("an included file has no key `{}`", shown(&key.name));
                let mut diagnostic = Diagnostic::error("unknown-key", key.span, message);
                diagnostic.hint = Some(match did_you_mean(&key.name, SHARED) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it may hold {}; everything else stands in the pipeline file itself", list(SHARED.into_iter())),
                });
                self.diagnostics.push(diagnostic);
            }
        }
    }
}

/// Adds a top-level key to those of other files. Tables of tables are put together; a name that two files give is a mistake.
fn put(whole: &mut Vec<(Key, Node)>, key: Key, node: Node, diagnostics: &mut Vec<Diagnostic>) {
    let Some((_, known)) = whole.iter_mut().find(|(known, _)| known.name == key.name) else {
        whole.push((key, node));
        return;
    };
    match (&mut known.value, node.value) {
        (Value::Table(known), Value::Table(new)) => {
            for (name, node) in new.entries {
                match known.key(&name.name) {
                    None => known.entries.push((name, node)),
                    Some(first) => {
                        let message = format!("`{}.{}` stands in two files", key.name, shown(&name.name));
                        diagnostics.push(
                            Diagnostic::error("duplicate", name.span, message)
                                .related(first.span.clone(), "first here")
                                .hint("give one of them another name, or make it a template that stages extend"),
                        );
                    }
                }
            }
        }
        // whatever is no table is told of when it is read; the last one is
        (known, other) => *known = other,
    }
}

/// The path of an included file from the pipeline file's folder; none if it is none, or leads nowhere below the root.
pub(crate) fn normal(folder: &Path, path: &str) -> Option<String> {
    if path.is_empty() || path.contains(['\\', '\0']) || path.contains("://") || path.contains("${") {
        return None;
    }
    let mut parts: Vec<String> = Vec::new();
    for part in folder.join(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?.to_owned()),
            Component::CurDir => {}
            Component::ParentDir if parts.last().is_some_and(|last| last != "..") => drop(parts.pop()),
            Component::ParentDir => parts.push("..".to_owned()),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/")).filter(|path| !path.is_empty())
}

/// The same tree, further on in the text.
fn shift(mut node: Node, by: usize) -> Node {
    let moved = |span: Span| span.start + by..span.end + by;
    node.span = moved(node.span);
    node.value = match node.value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| shift(item, by)).collect()),
        Value::Table(table) => Value::Table(Table {
            entries: table
                .entries
                .into_iter()
                .map(|(key, item)| (Key { name: key.name, span: moved(key.span) }, shift(item, by)))
                .collect(),
        }),
        other => other,
    };
    node
}

/// What templates made of a tree.
pub(crate) struct Extended {
    /// With the templates gone and every stage whole.
    pub root: Node,
    /// Templates that nothing extends, whole, for whoever checks what they say.
    pub unused: Vec<(Key, Node)>,
    /// Where templates say something: a mistake there is one, however many stages extend it.
    pub spans: HashSet<(usize, usize)>,
}

/// Puts templates under the stages that extend them.
pub(crate) fn extend(mut root: Node, diagnostics: &mut Vec<Diagnostic>) -> Extended {
    let mut extended =
        Extended { root: Node { value: Value::Table(Table::default()), span: 0..0 }, unused: Vec::new(), spans: HashSet::new() };
    let Value::Table(table) = &mut root.value else {
        extended.root = root;
        return extended;
    };
    let templates = match table.entries.iter().position(|(key, _)| key.name == "template") {
        None => Vec::new(),
        Some(at) => match table.entries.remove(at).1 {
            Node { value: Value::Table(templates), .. } => templates.entries,
            node => {
                let hint = "write [template.<name>] tables";
                diagnostics.push(wrong_type(&node.span, "`template`", "a table of tables", &node.value).hint(hint));
                Vec::new()
            }
        },
    };
    for (key, node) in &templates {
        crate::model::check_name(key, "template", diagnostics);
        collect(node, &mut extended.spans);
    }
    let mut resolver = Resolver { templates: &templates, done: HashMap::new(), used: HashSet::new(), diagnostics };
    if let Some((_, Node { value: Value::Table(stages), .. })) = table.entries.iter_mut().find(|(key, _)| key.name == "stage") {
        for (key, stage) in &mut stages.entries {
            let open = std::mem::replace(stage, Node { value: Value::Boolean(false), span: 0..0 });
            *stage = resolver.whole(&format!("[stage.{}]", shown(&key.name)), open, &mut Vec::new());
        }
    }
    for (key, node) in &templates {
        if !resolver.used.contains(key.name.as_str()) {
            let whole = resolver.whole(&format!("[template.{}]", shown(&key.name)), node.clone(), &mut vec![key.name.clone()]);
            extended.unused.push((key.clone(), whole));
        }
    }
    extended.root = root;
    extended
}

struct Resolver<'a> {
    templates: &'a [(Key, Node)],
    done: HashMap<String, Node>,
    used: HashSet<String>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    /// A table with what it extends under it. `open`: the templates on the way here.
    fn whole(&mut self, what: &str, mut node: Node, open: &mut Vec<String>) -> Node {
        let Value::Table(table) = &mut node.value else { return node };
        let Some(at) = table.entries.iter().position(|(key, _)| key.name == "extends") else { return node };
        let (key, names) = table.entries.remove(at);
        let holder = Node { value: Value::Table(Table { entries: vec![(key, names)] }), span: node.span.clone() };
        let Some(mut reader) = TableReader::new(&holder, what, self.diagnostics) else { return node };
        let names = reader.strings("extends").unwrap_or_default();
        let mut base = Node { value: Value::Table(Table::default()), span: node.span.clone() };
        for name in names {
            if open.contains(&name.value) {
                let way = open.iter().chain([&name.value]).map(String::as_str).collect::<Vec<_>>().join(" → ");
                self.diagnostics.push(
                    Diagnostic::error("cycle", name.span, format!("templates extend each other in a circle: {way}"))
                        .hint("remove one `extends` of them"),
                );
                continue;
            }
            match self.template(&name.value, open) {
                Some(template) => base = merge(base, template),
                None => {
                    let known = self.templates.iter().map(|(key, _)| key.name.as_str());
                    let hint = match did_you_mean(&name.value, known.clone()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if self.templates.is_empty() => format!("declare it:\n\n[template.{}]", shown(&name.value)),
                        None => format!("templates: {}", list(known)),
                    };
                    let message = format!("there is no template `{}`", shown(&name.value));
                    self.diagnostics.push(Diagnostic::error("unknown-template", name.span, message).hint(hint));
                }
            }
        }
        merge(base, node)
    }

    fn template(&mut self, name: &str, open: &mut Vec<String>) -> Option<Node> {
        let (key, node) = self.templates.iter().find(|(key, _)| key.name == name)?;
        self.used.insert(name.to_owned());
        if let Some(done) = self.done.get(name) {
            return Some(done.clone());
        }
        open.push(name.to_owned());
        let whole = self.whole(&format!("[template.{}]", shown(&key.name)), node.clone(), open);
        open.pop();
        self.done.insert(name.to_owned(), whole.clone());
        Some(whole)
    }
}

/// Tables merge by key, anything else replaces.
fn merge(under: Node, over: Node) -> Node {
    match (under.value, over.value) {
        (Value::Table(mut under), Value::Table(over_table)) => {
            for (key, node) in over_table.entries {
                match under.entries.iter().position(|(known, _)| known.name == key.name) {
                    Some(at) => {
                        let (_, below) = under.entries.remove(at);
                        under.entries.insert(at, (key, merge(below, node)));
                    }
                    None => under.entries.push((key, node)),
                }
            }
            Node { value: Value::Table(under), span: over.span }
        }
        (_, value) => Node { value, span: over.span },
    }
}

fn collect(node: &Node, spans: &mut HashSet<(usize, usize)>) {
    spans.insert((node.span.start, node.span.end));
    match &node.value {
        Value::Table(table) => table.entries.iter().for_each(|(key, node)| {
            spans.insert((key.span.start, key.span.end));
            collect(node, spans);
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, spans)),
        _ => {}
    }
}
