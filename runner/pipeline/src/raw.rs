//! From the file's text to a tree of spanned nodes: TOML's own rules, and nothing of ours but `format`.
//!
//! All syntax errors are reported, not only the first. When there are any, the tree is not handed on: what an unclosed bracket
//! swallowed would come back as mistakes that nobody made.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, line_column};
use crate::model::shown;
use crate::node::{Key, Node, Table, Value};

/// What this version reads.
pub const FORMAT: i64 = 1;

/// Larger files are refused. Half of it is already more than a person would read.
pub const MAX_BYTES: usize = 4 << 20;

/// Tables in tables, arrays in arrays, and the parts of a dotted key.
const MAX_DEPTH: usize = 64;

/// Of a file that is no TOML at all, this many complaints are enough.
const MAX_SYNTAX_ERRORS: usize = 50;

/// Text from the bytes of a file.
///
/// # Errors
/// One diagnostic, with no place in the text, if the file is too large or not UTF-8.
#[expect(clippy::result_large_err, reason = "asked once for a file")]
pub fn decode(bytes: Vec<u8>) -> Result<String, Diagnostic> {
    if bytes.len() > MAX_BYTES {
        return Err(too_large(bytes.len()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let good = std::str::from_utf8(&error.as_bytes()[..valid]).unwrap_or("");
        let (line, column) = line_column(good, valid);
        let byte = error.as_bytes()[valid];
        let message = format!("the file is not UTF-8: byte 0x{byte:02X} at offset {valid} (line {line}, column {column})");
        Diagnostic::error("not-utf8", None, message).hint("save the file as UTF-8; UTF-16 and Latin-1 are not read")
    })
}

/// The tree of a pipeline file whose `format` this version reads.
///
/// # Errors
/// Every syntax error; or only `newer-format`, if the file says that it is meant for a newer version, whatever else it holds.
pub fn read(text: &str) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    let tree = tree(text);
    let root = match &tree {
        Ok(root) => root,
        Err((root, _)) => root,
    };
    let format = match format(root) {
        Format::Newer(diagnostic) => return Err(vec![diagnostic]),
        Format::Read => Vec::new(),
        Format::Mistaken(diagnostic) => vec![diagnostic],
    };
    match tree {
        Ok(root) => Ok((root, format)),
        Err((_, mut syntax)) => {
            syntax.extend(format.into_iter().filter(|d| d.span.is_some()));
            Err(syntax)
        }
    }
}

/// Any TOML text as a tree, for the pipeline file and for plugins' manifests. On an error, what could be read and all mistakes.
pub fn tree(text: &str) -> Result<Node, (Node, Vec<Diagnostic>)> {
    let empty = Node { value: Value::Table(Table::default()), span: 0..0 };
    if text.len() > MAX_BYTES {
        return Err((empty, vec![too_large(text.len())]));
    }
    // toml's recursion guard does not count dotted keys, and a tree of ten thousand tables overflows the stack when it is dropped.
    if let Some(span) = long_dotted_key(text) {
        let message = format!("a dotted key has more than {MAX_DEPTH} parts");
        return Err((empty, vec![Diagnostic::error("too-deep", span, message)]));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut diagnostics = Vec::new();
    let root = Converter { diagnostics: &mut diagnostics }.table(table.get_ref(), 0..0, 0);
    let total = errors.len();
    for error in errors.into_iter().take(MAX_SYNTAX_ERRORS) {
        diagnostics.push(syntax(&error, text, &root));
    }
    if total > MAX_SYNTAX_ERRORS {
        let more = total - MAX_SYNTAX_ERRORS;
        diagnostics.push(Diagnostic::error("syntax", text.len()..text.len(), format!("{more} more syntax errors are not shown")));
    }
    if diagnostics.is_empty() { Ok(root) } else { Err((root, diagnostics)) }
}

fn too_large(bytes: usize) -> Diagnostic {
    let limit = MAX_BYTES >> 20;
    Diagnostic::error("too-large", None, format!("the file has {bytes} bytes; {limit} MiB are the limit"))
}

enum Format {
    Read,
    Newer(Diagnostic),
    Mistaken(Diagnostic),
}

fn format(root: &Node) -> Format {
    let Value::Table(table) = &root.value else { return Format::Read };
    let Some(node) = table.get("format") else {
        return Format::Mistaken(
            Diagnostic::error("format", None, "the file does not say which format it is written in")
                .hint(format!("begin the file with `format = {FORMAT}`")),
        );
    };
    match node.value {
        Value::Integer(FORMAT) => match table.entries.first() {
            Some((first, _)) if first.name != "format" => Format::Mistaken(
                Diagnostic::warning("format-first", table.key("format").map(|k| k.span.clone()), "`format` is not the first key")
                    .hint("put it first, so that a person sees it before anything that depends on it"),
            ),
            _ => Format::Read,
        },
        Value::Integer(newer) if newer > FORMAT => Format::Newer(
            Diagnostic::error("newer-format", node.span.clone(), format!("format {newer} needs a newer runner"))
                .label(format!("this runner reads format {FORMAT}"))
                .hint("install a newer version of runner"),
        ),
        _ => Format::Mistaken(
            Diagnostic::error("format", node.span.clone(), "this is no format that has ever been")
                .hint(format!("write `format = {FORMAT}`")),
        ),
    }
}

fn syntax(error: &toml::de::Error, text: &str, root: &Node) -> Diagnostic {
    let span = error.span().unwrap_or(text.len()..text.len());
    let mut message = error.message().trim().replace('\n', ", ");
    if message.is_empty() {
        message.push_str("this is not TOML");
    }
    let mut diagnostic = Diagnostic::error("syntax", span.clone(), message);
    if diagnostic.message == "duplicate key" {
        diagnostic.message = format!("`{}` stands twice in one table", shown(text.get(span.clone()).unwrap_or_default()));
        if let Some(first) = only_before(root, text.get(span.clone()).unwrap_or_default(), span.start) {
            diagnostic = diagnostic.related(first, "first here");
        }
        diagnostic = diagnostic.hint("put both into one, or give one another name");
    }
    if text.get(span.start..).is_some_and(|rest| rest.starts_with('\0')) {
        diagnostic = diagnostic.hint("the file holds a NUL byte: is it a text file?");
    }
    diagnostic
}

/// The only key of that name before an offset, wherever it stands: the parser does not say where a duplicate's first is.
fn only_before(root: &Node, name: &str, offset: usize) -> Option<Range<usize>> {
    let name = name.trim_matches(['"', '\'']);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        match &node.value {
            Value::Table(table) => {
                found.extend(table.entries.iter().filter(|(k, _)| k.name == name && k.span.start < offset).map(|(k, _)| k.span.clone()));
                open.extend(table.entries.iter().map(|(_, node)| node));
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
        if found.len() > 1 {
            return None;
        }
    }
    found.pop()
}

/// The first key of more than [`MAX_DEPTH`] parts, in a header or before a `=`. Dots in strings and comments do not count.
fn long_dotted_key(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut at, mut start, mut dots, mut in_key) = (0, 0, 0, true);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\n' => (start, dots, in_key) = (at + 1, 0, true),
            b'#' => at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |end| at + end - 1),
            b'=' => in_key = false,
            b',' | b'[' | b'{' => dots = 0,
            b'.' if in_key => dots += 1,
            b'"' | b'\'' => at = end_of_string(bytes, at),
            _ => {}
        }
        if dots >= MAX_DEPTH {
            return Some(start..at);
        }
        at += 1;
    }
    None
}

/// The last byte of the string that begins at `at`; of one that is not closed, the last before the line or the file ends.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let long = bytes[at..].starts_with(&[quote; 3]);
    let mut next = at + if long { 3 } else { 1 };
    while let Some(&byte) = bytes.get(next) {
        match byte {
            b'\\' if quote == b'"' => next += 1,
            b'\n' if !long => return next - 1,
            byte if byte == quote && !long => return next,
            byte if byte == quote && bytes[next..].starts_with(&[quote; 3]) => {
                // Up to two more quotes may belong to the string's text.
                return next + 2 + bytes[next + 3..].iter().take(2).take_while(|b| **b == quote).count();
            }
            _ => {}
        }
        next += 1;
    }
    bytes.len()
}

struct Converter<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Converter<'_> {
    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>, depth: usize) -> Node {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let node = self.value(value.get_ref(), value.span(), depth + 1);
            entries.push((Key { name: key.get_ref().to_string(), span: key.span() }, node));
        }
        Node { value: Value::Table(Table { entries }), span }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, depth: usize) -> Node {
        if depth > MAX_DEPTH {
            self.diagnostics.push(Diagnostic::error("too-deep", span.clone(), format!("nested more than {MAX_DEPTH} levels deep")));
            return Node { value: Value::Boolean(false), span };
        }
        let value = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.diagnostics.push(Diagnostic::error("syntax", span.clone(), "the number does not fit into 64 bits").hint(format!(
                        "whole numbers go from {} to {}",
                        i64::MIN,
                        i64::MAX
                    )));
                    Value::Integer(0)
                }
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(float) if float.is_finite() || number.as_str().contains("inf") || number.as_str().contains("nan") => Value::Float(float),
                _ => {
                    self.diagnostics.push(Diagnostic::error("syntax", span.clone(), "the number is too large for a float"));
                    Value::Float(0.0)
                }
            },
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(when) => Value::Datetime(when.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.value(item.get_ref(), item.span(), depth + 1)).collect()),
            DeValue::Table(table) => return self.table(table, span, depth),
        };
        Node { value, span }
    }
}
