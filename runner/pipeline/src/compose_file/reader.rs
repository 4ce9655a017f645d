//! The one way to take a mapping of a compose file apart: what nobody took is a mistake.

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::graph::list;
use crate::model::shown;
use crate::node::{Key, Spanned};

use super::keys;
use super::yaml::{Value, Yaml};

pub(super) struct Map<'a, 'd> {
    pub entries: &'a [(Key, Yaml)],
    /// How it is called in messages: `services.db`.
    what: String,
    known: Vec<&'static str>,
    pub diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'a, 'd> Map<'a, 'd> {
    /// None, with a diagnostic, if it is none. Nothing at all is an empty one.
    pub fn new(node: &'a Yaml, what: impl Into<String>, diagnostics: &'d mut Vec<Diagnostic>) -> Option<Self> {
        let what = what.into();
        let entries: &[(Key, Yaml)] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                diagnostics.push(wrong(node, if what.is_empty() { "a compose file" } else { &what }, "a mapping"));
                return None;
            }
        };
        Some(Map { entries, what, known: Vec::new(), diagnostics })
    }

    /// A key with its value. None if it is not there, or nothing stands there.
    pub fn take(&mut self, key: &'static str) -> Option<(&'a Key, &'a Yaml)> {
        self.known.push(key);
        let (key, value) = self.entries.iter().find(|(known, _)| known.name == key)?;
        (value.value != Value::Null).then_some((key, value))
    }

    /// `services.db.image`
    pub fn path(&self, key: &str) -> String {
        if self.what.is_empty() { shown(key) } else { format!("{}.{}", self.what, shown(key)) }
    }

    pub fn text(&mut self, key: &'static str) -> Option<(&'a Key, Spanned<String>)> {
        let (at, node) = self.take(key)?;
        Some((at, scalar(node, &self.path(key), self.diagnostics)?))
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<(&'a Key, Spanned<bool>)> {
        let (at, text) = self.text(key)?;
        match text.value.as_str() {
            "true" => Some((at, Spanned { value: true, span: text.span })),
            "false" => Some((at, Spanned { value: false, span: text.span })),
            _ => {
                let message = format!("`{}` is `true` or `false`", self.path(key));
                self.diagnostics.push(Diagnostic::error("wrong-type", text.span, message));
                None
            }
        }
    }

    /// Reports every key that nobody took, with why it can't be had.
    pub fn finish(self) {
        for (key, _) in self.entries {
            let name = key.name.as_str();
            if name.starts_with("x-") || self.known.contains(&name) {
                continue;
            }
            let what = format!("`{}`", self.path(name));
            let why = if self.what.starts_with("services.") { keys::of_service(name) } else { keys::of_file(name) };
            self.diagnostics.push(match why {
                Some(why) => Diagnostic::error("compose-unsupported", key.span.clone(), format!("{what} can't be had: {}", why.because))
                    .hint(why.instead),
                None => Diagnostic::error("unknown-key", key.span.clone(), format!("{what} is no key that is read here")).hint(
                    match did_you_mean(name, self.known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if self.known.is_empty() => "remove it".to_owned(),
                        None => format!("those that are: {}", list(self.known.iter().copied())),
                    },
                ),
            });
        }
    }
}

pub(super) fn wrong(node: &Yaml, what: &str, wanted: &str) -> Diagnostic {
    Diagnostic::error("wrong-type", node.span.clone(), format!("`{what}` must be {wanted}")).label(format!("this is {}", node.value.kind()))
}

/// A single value, as it is written.
pub(super) fn scalar(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    match &node.value {
        Value::Scalar { text, .. } => Some(Spanned { value: text.clone(), span: node.span.clone() }),
        _ => {
            diagnostics.push(wrong(node, what, "a single value"));
            None
        }
    }
}

/// A list of single values; one alone stands for a list of one.
pub(super) fn scalars(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned<String>> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| scalar(item, what, diagnostics)).collect(),
        _ => scalar(node, what, diagnostics).into_iter().collect(),
    }
}

/// The items of a list.
pub(super) fn items<'a>(node: &'a Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> &'a [Yaml] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            diagnostics.push(wrong(node, what, "a list"));
            &[]
        }
    }
}

/// A value that can't be had, and how to mend it.
pub(super) fn refuse(span: &Span, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
    Diagnostic::error("compose-unsupported", span.clone(), message).hint(hint)
}
