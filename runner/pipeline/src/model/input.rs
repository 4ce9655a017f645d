//! `[input.<name>]`: a value that whoever starts the run may choose.

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::model::shown;
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::scalar::Scalar;

#[derive(Debug, Clone, PartialEq)]
pub enum InputKind {
    String,
    Boolean,
    Number,
    /// One of these.
    Choice(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: String,
    /// Of the name.
    pub span: Span,
    /// `None` if `type` or `options` is wrong, which was reported: any value will do then.
    pub kind: Option<InputKind>,
    pub default: Option<Scalar>,
    /// A value has to come from the command line. Not so where the default is wrong, which was reported.
    pub required: bool,
    pub description: Option<String>,
}

impl Input {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Input> {
        let mut reader = TableReader::new(node, format!("[input.{}]", shown(&key.name)), diagnostics)?;
        let kind = kind(&mut reader, &key.name);
        let default = reader.take("default");
        let required = reader.boolean("required");
        let description = reader.string("description").map(|text| text.value);
        let declared = default.is_some();
        let default = default.and_then(|node| read_default(node, kind.as_ref(), reader.diagnostics));
        match (&required, declared) {
            (Some(Spanned { value: true, span }), true) => reader.diagnostics.push(
                Diagnostic::error("contradiction", span.clone(), "an input with a default is never missing")
                    .hint("remove `required` or `default`"),
            ),
            (Some(Spanned { value: false, span }), false) if matches!(kind, Some(InputKind::Number | InputKind::Choice(_))) => {
                let message = "an input that may be left out needs a default";
                reader.diagnostics.push(Diagnostic::error("contradiction", span.clone(), message).hint("add `default = …`"));
            }
            _ => {}
        }
        reader.finish();
        let optional = required.is_some_and(|r| !r.value);
        let default = default.or_else(|| match kind {
            Some(InputKind::String) if optional && !declared => Some(Scalar::Text(String::new())),
            Some(InputKind::Boolean) if optional && !declared => Some(Scalar::Boolean(false)),
            _ => None,
        });
        Some(Input { name: key.name.clone(), span: key.span.clone(), kind, required: default.is_none() && !declared, default, description })
    }

    /// A value from the command line.
    ///
    /// # Errors
    /// What is wrong with it, and how to mend that.
    pub fn parse(&self, text: &str) -> Result<Scalar, (String, String)> {
        match &self.kind {
            None | Some(InputKind::String) => match text.contains('\0') {
                true => Err(("holds a NUL character".into(), "give a text without it".into())),
                false => Ok(Scalar::Text(text.to_owned())),
            },
            Some(InputKind::Boolean) => match text {
                "true" => Ok(Scalar::Boolean(true)),
                "false" => Ok(Scalar::Boolean(false)),
                _ => Err((format!("can't be \"{}\"", shown(text)), "give true or false".into())),
            },
            Some(InputKind::Number) => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(whole), _) => Ok(Scalar::Integer(whole)),
                (_, Ok(float)) if float.is_finite() => Ok(Scalar::Float(float)),
                _ => Err((format!("can't be \"{}\"", shown(text)), "give a number".into())),
            },
            Some(InputKind::Choice(options)) => match options.iter().any(|o| o == text) {
                true => Ok(Scalar::Text(text.to_owned())),
                false => Err((format!("can't be \"{}\"", shown(text)), choose(text, options))),
            },
        }
    }

    /// Its values are among those that the file names, so they may stand anywhere in a grant.
    pub fn fixed_by_file(&self) -> bool {
        matches!(self.kind, Some(InputKind::Boolean | InputKind::Choice(_)))
    }
}

fn choose(text: &str, options: &[String]) -> String {
    match did_you_mean(text, options.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", options.iter().map(|o| format!("\"{o}\"")).collect::<Vec<_>>().join(", ")),
    }
}

fn kind(reader: &mut TableReader<'_>, name: &str) -> Option<InputKind> {
    #[derive(Clone, Copy)]
    enum Word {
        String,
        Boolean,
        Number,
        Choice,
    }
    let words = [("string", Word::String), ("boolean", Word::Boolean), ("number", Word::Number), ("choice", Word::Choice)];
    reader.require("type");
    let word = reader.word("type", &words);
    let options_span = reader.take("options").map(|node| node.span.clone());
    let options = reader.strings("options");
    match (word?.value, options, options_span) {
        (Word::Choice, None, None) => {
            reader.diagnostics.push(
                Diagnostic::error("missing-key", reader.span(), format!("[input.{}] is a choice and has no `options`", shown(name)))
                    .hint("add `options = [\"…\", \"…\"]`"),
            );
            None
        }
        (Word::Choice, options, span) => {
            let options = super::unique(options?, "`options`", reader.diagnostics);
            if options.is_empty() {
                reader.diagnostics.push(Diagnostic::error("bad-value", span, "a choice needs at least one option"));
                return None;
            }
            Some(InputKind::Choice(options.into_iter().map(|o| o.value).collect()))
        }
        (other, _, span) => {
            if let Some(span) = span {
                let message = "only a choice has options";
                reader
                    .diagnostics
                    .push(Diagnostic::error("contradiction", span, message).hint("write `type = \"choice\"`, or remove `options`"));
            }
            Some(match other {
                Word::Boolean => InputKind::Boolean,
                Word::Number => InputKind::Number,
                Word::String | Word::Choice => InputKind::String,
            })
        }
    }
}

fn read_default(node: &Node, kind: Option<&InputKind>, diagnostics: &mut Vec<Diagnostic>) -> Option<Scalar> {
    let (wanted, fits) = match kind {
        None => return Scalar::of(node),
        Some(InputKind::String) => ("a string", matches!(node.value, Value::String(_))),
        Some(InputKind::Boolean) => ("a boolean", matches!(node.value, Value::Boolean(_))),
        Some(InputKind::Number) => ("a number", matches!(node.value, Value::Integer(_) | Value::Float(_))),
        Some(InputKind::Choice(options)) => {
            if let Value::String(text) = &node.value
                && !options.contains(text)
            {
                diagnostics.push(
                    Diagnostic::error("unknown-word", node.span.clone(), "the default is not among the options")
                        .hint(choose(text, options)),
                );
                return None;
            }
            ("a string", matches!(node.value, Value::String(_)))
        }
    };
    if !fits {
        diagnostics.push(wrong_type(&node.span, "`default`", wanted, &node.value));
        return None;
    }
    Scalar::of(node)
}
