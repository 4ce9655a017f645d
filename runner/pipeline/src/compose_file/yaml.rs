//! YAML as a tree that knows where it stands. Scalars stay the text that is written there: what it means is known where it is read.
//!
//! Anchors, aliases and merge keys are resolved, within bounds: a small file can stand for a tree without end.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::Key;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Yaml {
    pub value: Value,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    /// `plain`: without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
}

impl Value {
    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl Yaml {
    fn size(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Yaml::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, value)| value.size()).sum::<usize>(),
        }
    }
}

const MAX_DEPTH: usize = 64;
/// Values, those that aliases bring among them.
const MAX_SIZE: usize = 100_000;

/// The one document of a text. Spans count from `start`.
///
/// # Errors
/// The first thing that is no YAML, or that is not read here.
#[expect(clippy::result_large_err, reason = "asked once for a file")]
pub(super) fn read(text: &str, start: usize) -> Result<Yaml, Diagnostic> {
    Reading { places: Places::new(text, start), open: Vec::new(), anchors: HashMap::new(), size: 0, document: None }.read(text)
}

/// From the parser's characters to bytes of the sources.
struct Places<'a> {
    text: &'a str,
    start: usize,
    /// Of each character; none where characters are bytes.
    bytes: Option<Vec<usize>>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str, start: usize) -> Self {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Places { text, start, bytes }
    }

    fn at(&self, marker: &Marker) -> usize {
        let index = marker.index();
        let byte = self.bytes.as_ref().map_or(index, |bytes| bytes.get(index).copied().unwrap_or(self.text.len()));
        self.start + byte.min(self.text.len())
    }

    /// Without the white space that follows.
    fn span(&self, span: &saphyr_parser::Span) -> Span {
        let (start, end) = (self.at(&span.start), self.at(&span.end));
        let written = self.text.get(start - self.start..end.max(start) - self.start).unwrap_or_default();
        start..start + written.trim_end().len()
    }
}

/// A collection that is being read; in a mapping, `key` waits for its value.
struct Open {
    node: Yaml,
    anchor: usize,
    key: Option<Key>,
    merged: Vec<Yaml>,
}

struct Reading<'a> {
    places: Places<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Yaml>,
    size: usize,
    document: Option<Yaml>,
}

#[expect(clippy::result_large_err, reason = "asked once for a file")]
impl Reading<'_> {
    fn read(mut self, text: &str) -> Result<Yaml, Diagnostic> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|invalid| {
                let at = self.places.at(invalid.marker());
                Diagnostic::error("syntax", at..at, format!("this is not YAML: {}", invalid.info()))
            })?;
            let span = self.places.span(&span);
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let text_tag = standard(tag.as_deref(), &span)?;
                    let plain = style == ScalarStyle::Plain && !text_tag;
                    let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                    let value = if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } };
                    self.done(Yaml { value, span }, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => self.begin(Value::List(Vec::new()), span, anchor, tag.as_deref())?,
                Event::MappingStart(anchor, tag) => self.begin(Value::Map(Vec::new()), span, anchor, tag.as_deref())?,
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(Open { mut node, anchor, merged, .. }) = self.open.pop() else { continue };
                    // a block ends where the next thing begins, which is no part of it
                    if !span.is_empty() {
                        node.span.end = node.span.end.max(span.end);
                    }
                    if let Value::Map(entries) = &mut node.value {
                        // what is written wins over what is merged, and of that the earlier
                        for (key, value) in merged.into_iter().filter_map(entries_of).flatten() {
                            if !entries.iter().any(|(known, _)| known.name == key.name) {
                                entries.push((key, value));
                            }
                        }
                    }
                    self.done(node, anchor)?;
                }
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor).cloned() else {
                        return Err(Diagnostic::error("syntax", span, "an alias of what it stands in"));
                    };
                    self.size += node.size();
                    self.done(node, 0)?;
                }
                Event::DocumentStart(_) if self.document.is_some() => {
                    return Err(
                        Diagnostic::error("syntax", span, "a compose file is one document").hint("put the others into files of their own")
                    );
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            }
        }
        let start = self.places.start;
        Ok(self.document.unwrap_or(Yaml { value: Value::Null, span: start..start }))
    }

    fn begin(&mut self, value: Value, span: Span, anchor: usize, tag: Option<&Tag>) -> Result<(), Diagnostic> {
        standard(tag, &span)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Diagnostic::error("too-deep", span, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.open.push(Open { node: Yaml { value, span }, anchor, key: None, merged: Vec::new() });
        Ok(())
    }

    /// Puts a whole value where it belongs.
    fn done(&mut self, node: Yaml, anchor: usize) -> Result<(), Diagnostic> {
        self.size += 1;
        if self.size > MAX_SIZE {
            return Err(Diagnostic::error("too-large", node.span, format!("the file stands for more than {MAX_SIZE} values"))
                .hint("use fewer aliases"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(around) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        around.node.span.end = around.node.span.end.max(node.span.end);
        match (&mut around.node.value, around.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some(key)) if key.name == "<<" => merge(node, &mut around.merged)?,
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::Map(entries), None) => {
                let Value::Scalar { text, .. } = node.value else {
                    return Err(Diagnostic::error("syntax", node.span, "a key is a text"));
                };
                if let Some((first, _)) = entries.iter().find(|(known, _)| known.name == text) {
                    let message = format!("`{}` stands twice in one mapping", shown(&text));
                    let related = (first.span.clone(), "first here");
                    return Err(Diagnostic::error("duplicate", node.span, message)
                        .related(related.0, related.1)
                        .hint("remove one of them"));
                }
                around.key = Some(Key { name: text, span: node.span });
            }
            (Value::Null | Value::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

fn entries_of(node: Yaml) -> Option<Vec<(Key, Yaml)>> {
    if let Value::Map(entries) = node.value { Some(entries) } else { None }
}

/// `<<: *defaults`, or a list of such.
#[expect(clippy::result_large_err, reason = "asked once for a file")]
fn merge(node: Yaml, merged: &mut Vec<Yaml>) -> Result<(), Diagnostic> {
    let wrong =
        |span: &Span| Diagnostic::error("wrong-type", span.clone(), "`<<` merges mappings").hint("write `<<: *name`, of an anchor `&name`");
    match node.value {
        Value::Map(_) => merged.push(node),
        Value::List(items) => {
            for item in items {
                if !matches!(item.value, Value::Map(_)) {
                    return Err(wrong(&item.span));
                }
                merged.push(item);
            }
        }
        _ => return Err(wrong(&node.span)),
    }
    Ok(())
}

/// Whether a tag says that this is text. Tags of YAML itself change nothing else; any other does what only compose knows.
#[expect(clippy::result_large_err, reason = "asked once for a file")]
fn standard(tag: Option<&Tag>, span: &Span) -> Result<bool, Diagnostic> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(tag) => {
            let message = format!("the tag `{}` is not read here", shown(&tag.to_string()));
            Err(Diagnostic::error("compose-unsupported", span.clone(), message).hint("remove it; one file stands for itself"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(yaml: &Yaml) -> String {
        match &yaml.value {
            Value::Null => "null".to_owned(),
            Value::Scalar { text, plain: true } => text.clone(),
            Value::Scalar { text, plain: false } => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(text_of).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{}: {}", key.name, text_of(value))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    fn text_of(yaml: &Yaml) -> String {
        text(yaml)
    }

    #[test]
    fn trees_are_read() {
        for (source, tree) in [
            ("", "null"),
            ("a: 1\nb: [x, 'y', ~]\nc:\n", "{a: 1, b: [x, \"y\", null], c: null}"),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", "{a: \"x\\ny\\n\", b: \"x y\"}"),
            ("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n  z: *a\n", "{a: {x: 1, y: 2}, b: {y: 3, z: {x: 1, y: 2}, x: 1}}"),
            ("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n", "{a: {x: 1}, b: {x: 2, y: 2}, c: {x: 1, y: 2}}"),
            ("a: !!str 5\n", "{a: \"5\"}"),
        ] {
            assert_eq!(text(&read(source, 0).unwrap()), tree, "{source}");
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let source = "ä: über  # x\nb:\n  - 'ß y'\n  - z\n";
        let Value::Map(entries) = read(source, 100).unwrap().value else { panic!() };
        let written = |span: &Span| &source[span.start - 100..span.end - 100];
        assert_eq!((written(&entries[0].0.span), written(&entries[0].1.span)), ("ä", "über"));
        let Value::List(items) = &entries[1].1.value else { panic!() };
        assert_eq!((written(&items[0].span), written(&items[1].span)), ("'ß y'", "z"));
        assert!(written(&entries[1].1.span).ends_with('z'));
    }

    #[test]
    fn what_is_not_read_is_told_of() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"]) {
            let aliases = format!("*{of}, ").repeat(10);
            bomb.push_str(&format!("{name}: &{name} [{aliases}]\n"));
        }
        for (source, code) in [
            ("a: 1\na: 2\n", "duplicate"),
            ("a: [\n", "syntax"),
            ("a: 1\n---\nb: 2\n", "syntax"),
            ("a: &a [*a]\n", "syntax"),
            ("a: !reset null\n", "compose-unsupported"),
            ("a: {<<: 3}\n", "wrong-type"),
            ("[a, b]: 3\n", "syntax"),
            (&"[".repeat(100), "too-deep"),
            (&bomb, "too-large"),
        ] {
            assert_eq!(read(source, 0).unwrap_err().code, code, "{source:.60}");
        }
    }
}
