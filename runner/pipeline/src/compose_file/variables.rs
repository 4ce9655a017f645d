//! `${…}` in a compose file. Variables are those that the pipeline file gives it, and never the environment that the runner was started in.
//!
//! What comes of it is text of the pipeline file: there `${` begins a reference, so one that compose means as text is written `$${`.

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;

use super::yaml::{Value, Yaml};

/// Variables and what stands for them, as text of the pipeline file.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub values: HashMap<String, String>,
    /// Where they can be given: `[service.backend]`.
    pub place: String,
}

/// Of an operator in an operator.
const MAX_DEPTH: usize = 16;

impl Variables {
    /// Fills in every value of a tree. Mistakes are pushed, and leave an empty text.
    pub fn fill(&self, node: &mut Yaml, diagnostics: &mut Vec<Diagnostic>) {
        match &mut node.value {
            Value::Null => {}
            Value::Scalar { text, .. } => match self.filled(text) {
                Ok(filled) => *text = filled,
                Err(mistake) => {
                    text.clear();
                    diagnostics.push(mistake.at(node.span.clone()));
                }
            },
            Value::List(items) => items.iter_mut().for_each(|item| self.fill(item, diagnostics)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    // its values are nobody's here
                    if !key.name.starts_with("x-") {
                        self.fill(value, diagnostics);
                    }
                }
            }
        }
    }

    /// A text with its variables filled in.
    ///
    /// # Errors
    /// The first that has no value, or is none.
    pub fn filled(&self, text: &str) -> Result<String, Mistake> {
        let mut reader = Reader { rest: text, variables: self };
        reader.text(false, 0)
    }
}

/// What is wrong with a text, wherever it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    code: &'static str,
    message: String,
    hint: String,
}

impl Mistake {
    pub fn at(self, span: Span) -> Diagnostic {
        Diagnostic::error(self.code, span, self.message).hint(self.hint)
    }

    fn form(what: &str) -> Mistake {
        let hint = "variables are `$NAME` and `${NAME}`, with `:-`, `-`, `:?`, `?`, `:+` or `+`; `$$` is a `$`";
        Mistake { code: "bad-reference", message: what.to_owned(), hint: hint.to_owned() }
    }
}

struct Reader<'a> {
    rest: &'a str,
    variables: &'a Variables,
}

impl Reader<'_> {
    /// To the end, or to the brace that closes what it stands in.
    fn text(&mut self, inner: bool, depth: usize) -> Result<String, Mistake> {
        let mut out = String::new();
        while let Some(next) = self.rest.chars().next() {
            if inner && next == '}' {
                return Ok(out);
            }
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '$' if self.take('$') => out.push('$'),
                '$' => append(&mut out, &self.variable(depth)?),
                next => append(&mut out, next.encode_utf8(&mut [0; 4])),
            }
        }
        if inner { Err(Mistake::form("`${` without its `}`")) } else { Ok(out) }
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        self.rest = rest;
        Some(name.to_owned())
    }

    /// What follows a `$`.
    fn variable(&mut self, depth: usize) -> Result<String, Mistake> {
        if depth > MAX_DEPTH {
            return Err(Mistake::form("variables are nested too deep"));
        }
        if !self.take('{') {
            let name = self.name().ok_or_else(|| Mistake::form("a `$` that begins no variable"))?;
            return self.value(&name).cloned().ok_or_else(|| self.missing(&name));
        }
        let name = self.name().ok_or_else(|| Mistake::form("`${` that names no variable"))?;
        let value = self.value(&name).cloned();
        if self.take('}') {
            return value.ok_or_else(|| self.missing(&name));
        }
        let counts_empty = self.take(':');
        let there = value.filter(|value| !(counts_empty && value.is_empty()));
        let operator = self.rest.chars().next();
        if !matches!(operator, Some('-' | '?' | '+')) {
            return Err(Mistake::form(&format!("`${{{name}` goes on as no variable does")));
        }
        self.rest = &self.rest[1..];
        // what is not used may name what has no value
        let unused = matches!((operator, &there), (Some('-' | '?'), Some(_)) | (Some('+'), None));
        let other = if unused { self.skip(depth).map(|()| String::new()) } else { self.text(true, depth + 1) }?;
        if !self.take('}') {
            return Err(Mistake::form("`${` without its `}`"));
        }
        match (operator, there) {
            (Some('-'), value) => Ok(value.unwrap_or(other)),
            (Some('+'), value) => Ok(if value.is_some() { other } else { String::new() }),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let said = if other.is_empty() { String::new() } else { format!(": {}", shown(&other)) };
                Err(Mistake { message: format!("`{name}` has no value{said}"), ..self.missing(&name) })
            }
        }
    }

    /// Over the rest of an operator, to its brace.
    fn skip(&mut self, depth: usize) -> Result<(), Mistake> {
        let mut open = depth;
        while let Some(next) = self.rest.chars().next() {
            if next == '}' && open == depth {
                return Ok(());
            }
            open = if self.rest.starts_with("${") { open + 1 } else { open - usize::from(next == '}') };
            self.rest = &self.rest[if self.rest.starts_with("${") { 2 } else { next.len_utf8() }..];
        }
        Err(Mistake::form("`${` without its `}`"))
    }

    fn value(&self, name: &str) -> Option<&String> {
        self.variables.values.get(name)
    }

    fn missing(&self, name: &str) -> Mistake {
        let place = &self.variables.place;
        Mistake {
            code: "no-value",
            message: format!("`{name}` has no value"),
            hint: format!("give it one in {place}, `env = {{ {name} = \"…\" }}`; the runner's own environment is not read"),
        }
    }
}

/// A `$` that is text and a brace after it begin no reference.
fn append(out: &mut String, text: &str) {
    if out.ends_with('$') && text.starts_with('{') {
        out.push('$');
    }
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let values = [("A", "a"), ("EMPTY", ""), ("REF", "${input.tag}"), ("BRACE", "{b")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Variables { values, place: "[service.x]".to_owned() }.filled(text).map_err(|mistake| mistake.message)
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, wanted) in [
            ("x", "x"),
            ("$A-${A}$A", "a-aa"),
            ("${NONE:-x}${NONE-y}${EMPTY:-z}[${EMPTY-w}]", "xyz[]"),
            ("${A:-${NONE}}${NONE:-${A}b}${NONE:-${NONE:-c}}", "aabc"),
            ("${A:+set}${EMPTY:+set}${EMPTY+set}[${NONE+set}]", "setset[]"),
            ("${A:?no}${A?no}", "aa"),
            ("$$A $${A} $$$A $$", "$A $${A} $a $"),
            ("${REF}:${NONE:-$${x}}", "${input.tag}:$${x}"),
            ("ü${NONE:-ü}", "üü"),
            ("$$$BRACE", "$${b"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_a_mistake() {
        for (text, says) in [
            ("$NONE", "`NONE` has no value"),
            ("${NONE}", "`NONE` has no value"),
            ("${NONE:?write it}", "`NONE` has no value: write it"),
            ("${EMPTY:?}", "`EMPTY` has no value"),
            ("${NONE:-$OTHER}", "`OTHER` has no value"),
            ("pa$5", "a `$` that begins no variable"),
            ("${}", "`${` that names no variable"),
            ("${A", "`${A` goes on as no variable does"),
            ("${A:-", "`${` without its `}`"),
            ("${NONE:-x", "`${` without its `}`"),
            ("${A!x}", "`${A` goes on as no variable does"),
            (&"${N:-".repeat(40), "variables are nested too deep"),
        ] {
            assert_eq!(filled(text).err().as_deref(), Some(says), "{text}");
        }
    }
}
