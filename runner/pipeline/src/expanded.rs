//! The pipeline as it stands once everything is included and every template is put under its stages, with the origin of each line.

use std::fmt::Write as _;

use crate::node::{Node, Table, Value};
use crate::source::Sources;

/// A line of the pipeline file that a person could have written instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// `ci/common.toml:12`; none for lines that only give shape.
    pub origin: Option<String>,
}

/// The whole tree as TOML. References stand as they are written.
pub(crate) fn lines(root: &Node, sources: &Sources) -> Vec<Line> {
    let mut writer = Writer { sources, lines: Vec::new() };
    if let Value::Table(table) = &root.value {
        writer.table(&mut Vec::new(), table, None);
    }
    writer.lines
}

struct Writer<'a> {
    sources: &'a Sources,
    lines: Vec<Line>,
}

impl Writer<'_> {
    fn origin(&self, offset: usize) -> Option<String> {
        let place = self.sources.place(offset);
        Some(format!("{}:{}", place.file.display(), place.line))
    }

    /// First what is no table, then the tables, each under its header.
    fn table(&mut self, path: &mut Vec<String>, table: &Table, origin: Option<String>) {
        let (tables, values): (Vec<_>, Vec<_>) = table.entries.iter().partition(|(_, node)| matches!(node.value, Value::Table(_)));
        if !path.is_empty() && (!values.is_empty() || tables.is_empty()) {
            if !self.lines.is_empty() {
                self.lines.push(Line { text: String::new(), origin: None });
            }
            self.lines.push(Line { text: format!("[{}]", path.join(".")), origin });
        }
        for (key, node) in values {
            let mut text = format!("{} = ", key_text(&key.name));
            inline(&node.value, &mut text);
            self.lines.push(Line { text, origin: self.origin(key.span.start) });
        }
        for (key, node) in tables {
            let Value::Table(inner) = &node.value else { continue };
            path.push(key_text(&key.name));
            let origin = self.origin(key.span.start);
            self.table(path, inner, origin);
            path.pop();
        }
    }
}

fn key_text(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}

fn inline(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(&toml::Value::String(text.clone()).to_string()),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => out.push_str(&toml::Value::Float(*number).to_string()),
        Value::Boolean(flag) => {
            let _ = write!(out, "{flag}");
        }
        Value::Datetime(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                inline(&item.value, out);
            }
            out.push(']');
        }
        Value::Table(table) => {
            out.push_str("{ ");
            for (index, (key, item)) in table.entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                let _ = write!(out, "{} = ", key_text(&key.name));
                inline(&item.value, out);
            }
            out.push_str(" }");
        }
    }
}
