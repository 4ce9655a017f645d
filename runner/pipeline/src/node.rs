//! A value of the pipeline file that knows where it stands, and the one way to take a table apart.
//!
//! Own types instead of `toml`'s, because interpolation makes new values that still stand where the template stood, and because
//! capabilities decode their grants from nodes without knowing TOML's crate.

use std::time::Duration;

use crate::diagnostic::{Diagnostic, Span, did_you_mean};

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// As written.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What kind of value it is, for people: `a string`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date-time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// A table in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub entries: Vec<(Key, Node)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: String,
    pub span: Span,
}

impl Table {
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries.iter().find(|(k, _)| k.name == name).map(|(_, v)| v)
    }

    pub fn key(&self, name: &str) -> Option<&Key> {
        self.entries.iter().find(|(k, _)| k.name == name).map(|(k, _)| k)
    }
}

/// A decoded value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// Takes a table apart key by key; what is left at [`TableReader::finish`] is unknown. Every `take_*` pushes a diagnostic where the
/// value is of the wrong type and answers `None`, so the caller goes on and finds further mistakes.
pub struct TableReader<'a> {
    table: &'a Table,
    span: Span,
    /// How the table is called in messages: `[stage.lint.grants.http]`.
    what: String,
    known: Vec<&'static str>,
    /// Told of already.
    refused: Vec<&'static str>,
    pub diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> TableReader<'a> {
    /// `None`, with a diagnostic, if the node is not a table.
    pub fn new(node: &'a Node, what: impl Into<String>, diagnostics: &'a mut Vec<Diagnostic>) -> Option<Self> {
        let what = what.into();
        match &node.value {
            Value::Table(table) => {
                Some(TableReader { table, span: node.span.clone(), what, known: Vec::new(), refused: Vec::new(), diagnostics })
            }
            other => {
                diagnostics.push(wrong_type(&node.span, &what, "a table", other));
                None
            }
        }
    }

    pub fn span(&self) -> Span {
        self.span.clone()
    }

    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// Where a key stands, if it is there.
    pub fn key(&self, key: &str) -> Option<Span> {
        Some(self.table.key(key)?.span.clone())
    }

    /// Where a key stands that is known and not offered: it is neither unknown nor among the known keys of a hint.
    pub fn refused(&mut self, key: &'static str) -> Option<Span> {
        let span = self.key(key)?;
        self.refused.push(key);
        Some(span)
    }

    /// Like `take`, with a diagnostic if the key is missing.
    pub fn require(&mut self, key: &'static str) -> Option<&'a Node> {
        let found = self.take(key);
        if found.is_none() {
            let what = &self.what;
            // The file as a whole stands nowhere.
            let span = (!self.span.is_empty()).then(|| self.span.clone());
            self.diagnostics
                .push(Diagnostic::error("missing-key", span, format!("{what} has no `{key}`")).hint(format!("add `{key} = …`")));
        }
        found
    }

    pub fn string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let node = self.take(key)?;
        self.expect_string(node, key)
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let node = self.take(key)?;
        match &node.value {
            Value::Boolean(b) => Some(Spanned { value: *b, span: node.span.clone() }),
            other => self.mismatch(node, key, "a boolean", other),
        }
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<Spanned<i64>> {
        let node = self.take(key)?;
        match &node.value {
            Value::Integer(n) if range.contains(n) => Some(Spanned { value: *n, span: node.span.clone() }),
            Value::Integer(_) => {
                let (low, high) = (range.start(), range.end());
                let bounds = if *high == i64::MAX { format!("at least {low}") } else { format!("from {low} to {high}") };
                self.diagnostics.push(Diagnostic::error("out-of-range", node.span.clone(), format!("`{key}` must be {bounds}")));
                None
            }
            other => self.mismatch(node, key, "an integer", other),
        }
    }

    /// A duration such as `"90s"`, `"5m"` or `"1h 30m"`.
    pub fn duration(&mut self, key: &'static str) -> Option<Spanned<Duration>> {
        let text = self.string(key)?;
        match humantime::parse_duration(&text.value) {
            Ok(value) => Some(Spanned { value, span: text.span }),
            Err(_) => {
                self.diagnostics.push(
                    Diagnostic::error("bad-duration", text.span, format!("`{key}` is not a duration"))
                        .hint("write a number and a unit: \"500ms\", \"90s\", \"5m\", \"1h 30m\""),
                );
                None
            }
        }
    }

    /// A size such as `"256MiB"`, or a whole number of bytes.
    pub fn size(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let node = self.take(key)?;
        match &node.value {
            Value::Integer(n) if *n >= 0 => Some(Spanned { value: *n as u64, span: node.span.clone() }),
            Value::String(text) => match parse_size(text) {
                Some(value) => Some(Spanned { value, span: node.span.clone() }),
                None => {
                    self.diagnostics.push(
                        Diagnostic::error("bad-size", node.span.clone(), format!("`{key}` is not a size"))
                            .hint("write a number and a unit: \"512KiB\", \"256MiB\", \"1GiB\""),
                    );
                    None
                }
            },
            other => self.mismatch(node, key, "a size such as \"256MiB\"", other),
        }
    }

    /// An array of strings. A single string stands for an array of one where `single` says so.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        let node = self.take(key)?;
        match &node.value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.expect_string(item, key)).collect()),
            other => self.mismatch(node, key, "an array of strings", other),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<Spanned<T>> {
        let text = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text.value) {
            return Some(Spanned { value: *value, span: text.span });
        }
        let list = words.iter().map(|(w, _)| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
        let hint = match did_you_mean(&text.value, words.iter().map(|(w, _)| *w)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of {list}"),
        };
        self.diagnostics.push(Diagnostic::error("unknown-word", text.span, format!("`{key}` can't be \"{}\"", text.value)).hint(hint));
        None
    }

    pub fn expect_string(&mut self, node: &Node, key: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::String(text) => Some(Spanned { value: text.clone(), span: node.span.clone() }),
            other => self.mismatch(node, key, "a string", other),
        }
    }

    fn mismatch<T>(&mut self, node: &Node, key: &str, wanted: &str, found: &Value) -> Option<T> {
        self.diagnostics.push(wrong_type(&node.span, &format!("`{key}`"), wanted, found));
        None
    }

    /// Reports every key that nobody took.
    pub fn finish(self) {
        for (key, _) in &self.table.entries {
            if self.known.iter().chain(&self.refused).any(|known| *known == key.name) {
                continue;
            }
            let mut diagnostic = Diagnostic::error("unknown-key", key.span.clone(), format!("{} has no key `{}`", self.what, key.name));
            diagnostic.hint = Some(match did_you_mean(&key.name, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", self.known.join(", ")),
            });
            self.diagnostics.push(diagnostic);
        }
    }
}

pub fn wrong_type(span: &Span, what: &str, wanted: &str, found: &Value) -> Diagnostic {
    Diagnostic::error("wrong-type", span.clone(), format!("{what} must be {wanted}")).label(format!("this is {}", found.kind()))
}

/// `"256MiB"`, `"10 MB"`, `"512"`: IEC units are powers of 1024, SI units powers of 1000.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}
