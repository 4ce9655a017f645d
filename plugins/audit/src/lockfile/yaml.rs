//! YAML as lockfiles use it: mappings with text in them, and the line of each.
//!
//! Scalars stay the text that stands there, because a version such as `5.10` is no number. Deliberately absent: anchors and
//! aliases, which no lockfile has and which can make a small file grow without end.

use saphyr_parser::{Event, Parser};

use super::{Format, LockfileError};

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// 1-based.
    pub line: u32,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// What a mapping holds; anything else holds nothing.
    pub fn entries(&self) -> &[(String, Self)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The text under a key; empty if there is none.
    pub fn text_of(&self, key: &str) -> &str {
        self.get(key).and_then(Self::text).unwrap_or_default()
    }
}

/// A collection that is being read; in a mapping, `key` waits for its value.
struct Open {
    node: Node,
    key: Option<(String, u32)>,
}

/// Reads all documents of a file.
pub(super) fn read(path: &str, text: &str, format: Format) -> Result<Vec<Node>, LockfileError> {
    let error = |line, what: &str| format.error(path, line, format!("it cannot be read: {what}"));
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|invalid| error(number(invalid.marker().line()), invalid.info()))?;
        let line = number(span.start.line());
        let done = match event {
            Event::Scalar(text, ..) => Node { line, value: Value::Text(text.into_owned()) },
            Event::SequenceStart(..) => {
                open.push(Open { node: Node { line, value: Value::List(Vec::new()) }, key: None });
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open { node: Node { line, value: Value::Map(Vec::new()) }, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => closed.node,
                None => continue,
            },
            Event::Alias(_) => return Err(error(line, "aliases are not used in lockfiles")),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => continue,
        };
        let Some(around) = open.last_mut() else {
            documents.push(done);
            continue;
        };
        match (&mut around.node.value, around.key.take(), done.value) {
            (Value::List(list), _, value) => list.push(Node { line: done.line, value }),
            // An entry stands where its key does.
            (Value::Map(entries), Some((key, line)), value) => entries.push((key, Node { line, value })),
            (Value::Map(_), None, Value::Text(key)) => around.key = Some((key, done.line)),
            (Value::Map(_), None, _) => return Err(error(done.line, "a key is no text")),
            (Value::Text(_), ..) => {}
        }
    }
    Ok(documents)
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
