//! Fills references in, under the rules of where a value may stand.
//!
//! A value is *fixed* if the file names all that it can be (matrix values, choices, booleans, the pipeline's name), and from *outside*
//! otherwise (git, free inputs, the run's id, outputs of stages). In settings and variables every value is data. In a grant a fixed value may
//! stand anywhere; one from outside only in a path or URL, as one whole segment, percent-encoded (RFC 3986, section 2.1: all but the
//! unreserved characters), and never as `.`, `..` or nothing. So nobody outside can choose a host, a program, a repository or a folder
//! above.
//!
//! A secret is a placeholder: data like any other where a plugin gets it, and in a grant only as a whole URL, whose places are then those
//! that the secret itself names.

use crate::diagnostic::{Diagnostic, Span};
use crate::interpolate::{self, Part, Reference, Source};
use crate::model::shown;
use crate::node::{Key, Node, Table, Value};
use crate::plan::Expansion;
use crate::scalar::Scalar;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Fixed,
    Outside,
}

pub(crate) struct Resolved {
    /// `None`: only a stage that has yet to run can say.
    pub value: Option<Scalar>,
    pub origin: Origin,
}

/// What references stand for, for one instance of a stage.
pub(crate) trait Values {
    /// `None` if there is no such value, which was pushed.
    fn resolve(&self, reference: &Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<Resolved>;
}

/// Where a string stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A setting or a variable.
    Data,
    /// A path or URL; the text is the key.
    Path(&'a str),
    /// Anything else of a grant; the text is the key.
    Authority(&'a str),
    /// The name of something of the runner's own, which no program sees: a part of a cache's key, a group.
    Label(&'a str),
}

/// A string with its references filled in.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub text: String,
    /// The string is one single reference to a number or a boolean, or to an output that reads as one.
    pub whole: Option<Scalar>,
    /// A reference has no value yet; something readable stands in for it.
    pub late: bool,
    pub references: bool,
    /// A value from outside is in it.
    pub outside: bool,
    /// A value from outside decides what the string begins with: it stands first, though it may be empty.
    pub outside_first: bool,
    /// A secret's placeholder is in it.
    pub secret: bool,
}

pub(crate) struct Expander<'a> {
    /// The pipeline file, for places within strings.
    pub text: &'a str,
    pub values: &'a dyn Values,
    pub diagnostics: &'a mut Vec<Diagnostic>,
    /// Something has no value yet.
    pub late: bool,
}

impl Expander<'_> {
    /// `None` if a reference is wrong or stands where it may not, which was pushed.
    pub fn fill(&mut self, value: &str, span: &Span, place: Place<'_>) -> Option<Filled> {
        if interpolate::is_plain(value) {
            return Some(Filled { text: value.to_owned(), ..Filled::default() });
        }
        let parts = interpolate::parse(value, span, self.text, self.diagnostics)?;
        let mut filled = Filled::default();
        let mut good = true;
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Text(text) => filled.text.push_str(text),
                Part::Reference(reference) => {
                    filled.references = true;
                    let alone = parts.len() == 1;
                    good &= self.reference(reference, parts.get(index + 1), alone, place, &mut filled).is_some();
                }
            }
        }
        self.late |= filled.late;
        good.then_some(filled)
    }

    fn reference(&mut self, reference: &Reference, next: Option<&Part>, alone: bool, place: Place<'_>, filled: &mut Filled) -> Option<()> {
        let Resolved { value, origin } = self.values.resolve(reference, self.diagnostics)?;
        if let Source::Secret(_) = reference.source {
            filled.secret = true;
            let mistake = match place {
                Place::Data => None,
                Place::Path("url") if alone => None,
                Place::Path("url") => Some((
                    "a secret in a grant is a whole URL".to_owned(),
                    "keep the address in the secret as well: url = \"${secret.hook}\"",
                )),
                Place::Path(key) | Place::Authority(key) | Place::Label(key) => {
                    Some((format!("`{key}` can't hold a secret"), "secrets go into `with`, `env` and the `url` of an http grant"))
                }
            };
            if let Some((message, hint)) = mistake {
                self.diagnostics.push(Diagnostic::error("secret-use", reference.span.clone(), message).hint(hint));
                return None;
            }
        }
        if origin == Origin::Outside {
            filled.outside = true;
            let mistake = match place {
                Place::Data | Place::Label(_) => None,
                Place::Authority(key) => Some(format!("`{key}` can't hold a value from outside")),
                Place::Path(key) => misplaced(&filled.text, next, key).map(str::to_owned),
            };
            if let Some(message) = mistake {
                let hint = match place {
                    Place::Authority(_) => {
                        "values from outside may stand in paths and URLs only; an input of type \"choice\" or a matrix value may stand here"
                    }
                    _ => "such a value is one whole segment of a path: \"reports/${git.short}/out.json\"",
                };
                let label = format!("`{}` comes from outside of the file", reference.source.path());
                self.diagnostics.push(Diagnostic::error("outside-value", reference.span.clone(), message).label(label).hint(hint));
                return None;
            }
        }
        let Some(value) = value else {
            filled.late = true;
            filled.outside_first |= filled.text.is_empty() && origin == Origin::Outside;
            let path = reference.source.path();
            match place {
                Place::Data | Place::Label(_) => filled.text.push_str(&format!("${{{path}}}")),
                Place::Path(_) | Place::Authority(_) => filled.text.push_str(&path),
            }
            return Some(());
        };
        let text = value.text();
        if alone && (place == Place::Data || origin == Origin::Fixed) {
            filled.whole = match (&value, &reference.source) {
                (Scalar::Text(text), Source::Output { .. }) => read_scalar(text),
                (Scalar::Text(_), _) => None,
                _ => Some(value),
            };
        }
        if origin == Origin::Outside && matches!(place, Place::Path(_) | Place::Authority(_)) {
            if matches!(text.as_str(), "" | "." | "..") || (text.starts_with('~') && filled.text.is_empty()) {
                let message = format!("the value of `{}` is \"{text}\", which can't be a segment of a path", reference.source.path());
                self.diagnostics.push(Diagnostic::error("outside-value", reference.span.clone(), message));
                return None;
            }
            filled.text.push_str(&percent_encode(&text));
            return Some(());
        }
        filled.outside_first |= filled.text.is_empty() && origin == Origin::Outside;
        filled.text.push_str(&text);
        Some(())
    }

    /// A grant with everything filled in, or `None` if a part of it is wrong. `path` is how messages and `plan` call it.
    pub fn grant(&mut self, node: &Node, path: &str, path_keys: &[&str], found: &mut Vec<Expansion>) -> Option<Node> {
        self.grant_under(node, path, path_keys, path.rsplit('.').next().unwrap_or(path), found)
    }

    fn grant_under(&mut self, node: &Node, path: &str, path_keys: &[&str], key: &str, found: &mut Vec<Expansion>) -> Option<Node> {
        let value = match &node.value {
            Value::String(text) => {
                let place = if path_keys.contains(&key) { Place::Path(key) } else { Place::Authority(key) };
                let filled = self.fill(text, &node.span, place)?;
                if filled.references {
                    let value = (!filled.late).then(|| filled.text.clone());
                    found.push(Expansion { place: path.to_owned(), template: text.clone(), value });
                }
                match filled.whole {
                    Some(Scalar::Integer(number)) => Value::Integer(number),
                    Some(Scalar::Float(number)) => Value::Float(number),
                    Some(Scalar::Boolean(flag)) => Value::Boolean(flag),
                    Some(Scalar::Text(_)) | None => Value::String(filled.text),
                }
            }
            Value::Array(items) => {
                let filled: Vec<Option<Node>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.grant_under(item, &format!("{path}[{index}]"), path_keys, key, found))
                    .collect();
                Value::Array(filled.into_iter().collect::<Option<_>>()?)
            }
            Value::Table(table) => {
                let filled: Vec<Option<(Key, Node)>> = table
                    .entries
                    .iter()
                    .map(|(key, item)| {
                        let good = self.check_key(key);
                        let item = self.grant_under(item, &format!("{path}.{}", shown(&key.name)), path_keys, &key.name, found)?;
                        good.then(|| (key.clone(), item))
                    })
                    .collect();
                Value::Table(Table { entries: filled.into_iter().collect::<Option<_>>()? })
            }
            other => other.clone(),
        };
        Some(Node { value, span: node.span.clone() })
    }

    pub fn check_key(&mut self, key: &Key) -> bool {
        let plain = !key.name.contains("${");
        if !plain {
            let message = "references are not replaced in keys";
            self.diagnostics.push(Diagnostic::error("reference-here", key.span.clone(), message).hint("write the key as it is meant"));
        }
        plain
    }
}

/// Why a value from outside can't stand after `before` and before `next`.
fn misplaced(before: &str, next: Option<&Part>, key: &str) -> Option<&'static str> {
    let ends = match next {
        None => true,
        Some(Part::Text(text)) => text.starts_with('/'),
        Some(Part::Reference(_)) => false,
    };
    let url = key == "url" || key == "urls" || before.contains("://");
    if url {
        let authority = before.split_once("://").map(|(_, rest)| rest);
        let Some((host, path)) = authority.and_then(|rest| rest.split_once('/')) else {
            return Some("a value from outside can't stand in the scheme or host of a URL");
        };
        if host.is_empty() {
            return Some("a value from outside can't stand in the scheme or host of a URL");
        }
        if path.contains(['?', '#']) {
            return Some("a value from outside can't stand behind the path of a URL");
        }
    }
    if !ends || !(before.is_empty() || before.ends_with('/')) {
        return Some("a value from outside must be a whole segment, between two `/`");
    }
    None
}

/// RFC 3986: everything but letters, digits, `-`, `.`, `_` and `~`.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Outputs are text; where a setting wants a number or a boolean, this is what such a text says.
fn read_scalar(text: &str) -> Option<Scalar> {
    match text {
        "true" => Some(Scalar::Boolean(true)),
        "false" => Some(Scalar::Boolean(false)),
        _ => match text.parse::<i64>() {
            Ok(whole) => Some(Scalar::Integer(whole)),
            Err(_) => text.parse::<f64>().ok().filter(|float| float.is_finite()).map(Scalar::Float),
        },
    }
}
