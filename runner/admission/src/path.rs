//! Paths of fields, as a grant writes them: `spec.template.spec.containers[name=api].image`, `spec.http[*].route[destination.subset=canary].weight`,
//! `metadata.annotations["example.org/build"]`.
//!
//! Deliberately absent: places in a list (`[0]`). Who may write a list's order could put another element there.

use std::fmt::{self, Display};

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no path of a field: {why}", path.escape_debug())]
pub struct PathError {
    pub path: String,
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Key(String),
    /// `.*`: any key.
    AnyKey,
    /// `[*]`: any element of a list.
    Any,
    /// `[a.b=c]`: the elements whose `a.b` is `c`.
    Where {
        keys: Vec<String>,
        is: String,
    },
}

/// A path in a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(pub(crate) Vec<Part>);

impl FieldPath {
    /// # Errors
    /// If it is none, with what is wrong.
    pub fn parse(text: &str) -> Result<FieldPath, PathError> {
        let wrong = |why| PathError { path: text.to_owned(), why };
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let key = &rest[..end];
            if key == "*" {
                parts.push(Part::AnyKey);
            } else if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte)) {
                return Err(wrong("keys are letters, digits, - and _; write others as [\"key\"]"));
            } else {
                parts.push(Part::Key(key.to_owned()));
            }
            rest = &rest[end..];
            while let Some(inner) = rest.strip_prefix('[') {
                let (part, after) = bracket(inner).map_err(wrong)?;
                parts.push(part);
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(FieldPath(parts)),
                None => return Err(wrong("a `.` or a `[` belongs between two parts")),
            }
        }
    }

    /// Every place of `object` that it names: the value, and the place in words.
    pub(crate) fn places<'v>(&self, object: &'v Value) -> Vec<(String, &'v Value)> {
        self.0.iter().fold(vec![(String::new(), object)], |places, part| {
            places.into_iter().flat_map(|(place, value)| below(part, &place, value)).collect()
        })
    }
}

fn below<'v>(part: &Part, place: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
    match (part, value) {
        (Part::Key(key), Value::Object(map)) => {
            map.get(key).map(|value| (format!("{place}{}", shown_key(key)), value)).into_iter().collect()
        }
        (Part::AnyKey, Value::Object(map)) => map.iter().map(|(key, value)| (format!("{place}{}", shown_key(key)), value)).collect(),
        (Part::Any | Part::Where { .. }, Value::Array(items)) => {
            let fitting = items.iter().enumerate().filter(|(_, item)| part.selects(item));
            fitting.map(|(index, item)| (format!("{place}[{index}]"), item)).collect()
        }
        _ => Vec::new(),
    }
}

impl Part {
    /// Whether an element of a list is meant.
    pub(crate) fn selects(&self, element: &Value) -> bool {
        match self {
            Part::Any => true,
            Part::Where { keys, is } => inner(element, keys).is_some_and(|value| same(value, is)),
            Part::Key(_) | Part::AnyKey => false,
        }
    }
}

pub(crate) fn inner<'v>(value: &'v Value, keys: &[String]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

fn same(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Number(value) => value.to_string() == text,
        Value::Bool(value) => value.to_string() == text,
        _ => false,
    }
}

/// What stands in brackets, and what follows them.
fn bracket(inner: &str) -> Result<(Part, &str), &'static str> {
    const OPEN: &str = "a `[` has no `]`";
    if let Some(quoted) = inner.strip_prefix('"') {
        let (key, after) = quoted.split_once("\"]").ok_or(OPEN)?;
        if key.is_empty() || key.contains(['"', '\\']) || key.chars().any(char::is_control) {
            return Err("a key in quotes has no quotes and no backslashes");
        }
        return Ok((Part::Key(key.to_owned()), after));
    }
    let (text, after) = inner.split_once(']').ok_or(OPEN)?;
    if text == "*" {
        return Ok((Part::Any, after));
    }
    let Some((keys, is)) = text.split_once('=') else {
        return Err("an element of a list is named by what it holds, as in [name=api], or is any: [*]");
    };
    let keys: Vec<String> = keys.split('.').map(str::to_owned).collect();
    if is.is_empty() || keys.iter().any(|key| key.is_empty() || key.contains(['*', '"', '['])) {
        return Err("a condition is a key and the text that it has, as in [name=api] or [destination.subset=canary]");
    }
    Ok((Part::Where { keys, is: is.to_owned() }, after))
}

/// A key as it stands in a path, with its dot. The first one's is taken off by [`without_dot`].
pub(crate) fn shown_key(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte));
    if plain { format!(".{key}") } else { format!("[\"{}\"]", key.escape_debug()) }
}

pub(crate) fn without_dot(place: &str) -> &str {
    place.strip_prefix('.').unwrap_or(place)
}

impl Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|part| match part {
            Part::Key(key) => shown_key(key),
            Part::AnyKey => ".*".to_owned(),
            Part::Any => "[*]".to_owned(),
            Part::Where { keys, is } => format!("[{}={is}]", keys.join(".")),
        });
        f.write_str(without_dot(&parts.collect::<String>()))
    }
}
