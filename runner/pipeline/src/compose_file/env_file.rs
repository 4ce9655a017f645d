//! The files that `env_file` names: `NAME=value` lines, as compose reads them.

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::{Key, Node};

use super::string;
use super::variables::Variables;

/// The variables of a file, in its order; a later one of the same name wins. Spans count from `start`.
pub(super) fn read(text: &str, start: usize, variables: &Variables, diagnostics: &mut Vec<Diagnostic>) -> Vec<(Key, Node)> {
    // what stands further up in the file may be used further down
    let mut known = Variables { values: variables.values.clone(), place: variables.place.clone() };
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
        let (begin, mut end) = (at, at + line.len());
        let written = line.trim();
        if !written.is_empty() && !written.starts_with('#') {
            let indent = line.len() - line.trim_start().len();
            let span = start + begin + indent..start + begin + indent + written.len();
            match assignment(&text[begin + indent..]) {
                Ok((name, value, length)) => {
                    end = end.max(begin + indent + length);
                    let filled = match value {
                        Quoted::Literal(value) => Ok(value.replace("${", "$${")),
                        Quoted::Open(value) => known.filled(&value).map_err(|mistake| mistake.at(span.clone())),
                    };
                    match filled {
                        Ok(value) => {
                            known.values.entry(name.clone()).or_insert_with(|| value.clone());
                            found.push((Key { name, span: span.clone() }, string(value, &span)));
                        }
                        Err(mistake) => diagnostics.push(mistake),
                    }
                }
                Err(why) => diagnostics.push(wrong(&span, written, why)),
            }
        }
        at = end;
    }
    found
}

fn wrong(span: &Span, line: &str, why: &str) -> Diagnostic {
    let name = line.split('=').next().unwrap_or_default();
    Diagnostic::error("bad-value", span.clone(), format!("`{}`: {why}", shown(name)))
        .hint("write `NAME=value`; the runner's own environment is not read")
}

enum Quoted {
    /// In single quotes: as it is.
    Literal(String),
    /// May hold variables.
    Open(String),
}

/// The assignment that a text begins with, and how long it is without the end of its line.
fn assignment(text: &str) -> Result<(String, Quoted, usize), &'static str> {
    let line = text.lines().next().unwrap_or_default();
    let bare = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = bare.split_once('=') else { return Err("it has no value") };
    let name = name.trim();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
        return Err("this is no variable's name");
    }
    let begin = line.len() - value.len();
    let indent = value.len() - value.trim_start().len();
    let rest = &text[begin + indent..];
    let quote = value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        // a comment begins after white space
        let plain =
            value.char_indices().find(|(at, c)| *c == '#' && value[..*at].ends_with([' ', '\t'])).map_or(value, |(at, _)| &value[..at]);
        return Ok((name.to_owned(), Quoted::Open(plain.trim().to_owned()), line.len()));
    };
    let mut out = String::new();
    let mut inside = rest.char_indices().skip(1);
    while let Some((at, c)) = inside.next() {
        match c {
            c if c == quote => {
                let after = rest[at + 1..].lines().next().unwrap_or_default();
                if !after.trim().is_empty() && !after.trim_start().starts_with('#') {
                    return Err("something follows the closing quote");
                }
                let value = if quote == '"' { Quoted::Open(out) } else { Quoted::Literal(out) };
                return Ok((name.to_owned(), value, begin + indent + at + 1 + after.len()));
            }
            '\\' if quote == '"' => match inside.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, '$')) => out.push_str("$$"),
                Some((_, c @ ('"' | '\\'))) => out.push(c),
                Some((_, c)) => out.extend(['\\', c]),
                None => return Err("a quote is not closed"),
            },
            c => out.push(c),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Value;

    #[test]
    fn files_are_read() {
        let text = "# c\nA=1\n export B = two # c\nC='$A ${x}'\nD=\"$A\\n\\$A\n#more\" # c\nE=a#b\nF=\n\nG=${E}${OUT}\n";
        let variables = Variables { values: [("OUT".to_owned(), "out".to_owned())].into(), place: String::new() };
        let mut diagnostics = Vec::new();
        let found = read(text, 50, &variables, &mut diagnostics);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, node)| (key.name.as_str(), if let Value::String(text) = &node.value { text.as_str() } else { "" }))
            .collect();
        assert_eq!(diagnostics, []);
        assert_eq!(found, [("A", "1"), ("B", "two"), ("C", "$A $${x}"), ("D", "1\n$A\n#more"), ("E", "a#b"), ("F", ""), ("G", "a#bout")]);
        for text in ["A", "A='x", "A=\"x\ny", "A='x' y", "=x", "A B=x", "A=$NONE"] {
            let mut diagnostics = Vec::new();
            assert!(read(text, 0, &variables, &mut diagnostics).is_empty() && !diagnostics.is_empty(), "{text}");
        }
    }
}
