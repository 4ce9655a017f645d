//! What differs between two objects, so that nothing that differs is left out: if no change is told, they are equal.
//!
//! Elements of lists are compared by a key that is unique in both lists, and by their places where there is none. A wrong guess of the key makes more
//! changes, never fewer: elements in another order are a change of their list, one that came or went is a change of its own besides all that is in it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::path::{FieldPath, Part, shown_key, without_dot};

#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'v> {
    Key(&'v str),
    Element { place: usize, before: Option<&'v Value>, after: Option<&'v Value> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A value that has no parts, or an empty map or list.
    Leaf,
    /// An element of a list came or went.
    Element,
    /// A list's elements stand in another order.
    Order,
}

#[derive(Debug, Clone)]
pub(crate) struct Change<'v> {
    pub path: Vec<At<'v>>,
    pub what: What,
    pub after: Option<&'v Value>,
}

/// Keys that lists of the built-in kinds are merged by.
const KEYS: [&str; 9] = ["name", "containerPort", "port", "mountPath", "key", "type", "ip", "topologyKey", "devicePath"];

/// Keys of a list's elements that say which one is meant, in a patch.
pub(crate) fn is_merge_key(key: &str) -> bool {
    KEYS.contains(&key) || matches!(key, "protocol" | "uid")
}

pub(crate) fn changes<'v>(before: &'v Value, after: &'v Value) -> Vec<Change<'v>> {
    let mut walk = Walk { path: Vec::new(), changes: Vec::new() };
    walk.values(Some(before), Some(after));
    walk.changes
}

struct Walk<'v> {
    path: Vec<At<'v>>,
    changes: Vec<Change<'v>>,
}

impl<'v> Walk<'v> {
    fn values(&mut self, before: Option<&'v Value>, after: Option<&'v Value>) {
        if before == after {
            return;
        }
        let (old, new) = (before.and_then(Value::as_object), after.and_then(Value::as_object));
        let keys: BTreeSet<&'v String> = old.into_iter().chain(new).flat_map(|map| map.keys()).collect();
        for key in keys {
            self.below(At::Key(key), old.and_then(|map| map.get(key)), new.and_then(|map| map.get(key)));
        }
        let (first, second) = (before.and_then(Value::as_array), after.and_then(Value::as_array));
        if first.is_some() || second.is_some() {
            self.lists(first.map_or(&[], Vec::as_slice), second.map_or(&[], Vec::as_slice));
        }
        let both = (old.is_some() && new.is_some()) || (first.is_some() && second.is_some());
        if !both && (before.is_some_and(is_leaf) || after.is_some_and(is_leaf)) {
            self.note(What::Leaf, after);
        }
    }

    fn below(&mut self, at: At<'v>, before: Option<&'v Value>, after: Option<&'v Value>) {
        self.path.push(at);
        if matches!(at, At::Element { .. }) && before.is_some() != after.is_some() {
            self.note(What::Element, after);
        }
        self.values(before, after);
        self.path.pop();
    }

    fn lists(&mut self, before: &'v [Value], after: &'v [Value]) {
        let Some(key) = KEYS.into_iter().find(|key| identifies(key, before) && identifies(key, after)) else {
            for place in 0..before.len().max(after.len()) {
                self.element(place, before.get(place), after.get(place));
            }
            return;
        };
        let find = |list: &'v [Value], wanted: &Value| list.iter().position(|item| item.get(key) == wanted.get(key));
        for (place, old) in before.iter().enumerate() {
            let there = find(after, old);
            self.element(there.unwrap_or(place), Some(old), there.map(|place| &after[place]));
        }
        for (place, new) in after.iter().enumerate().filter(|(_, new)| find(before, new).is_none()) {
            self.element(place, None, Some(new));
        }
        let kept: Vec<usize> = before.iter().filter_map(|old| find(after, old)).collect();
        // one that came at the front moves the others
        let moved = kept.iter().enumerate().any(|(place, there)| place != *there) && kept.len() < after.len();
        if !kept.is_sorted() || moved {
            self.note(What::Order, None);
        }
    }

    fn element(&mut self, place: usize, before: Option<&'v Value>, after: Option<&'v Value>) {
        self.below(At::Element { place, before, after }, before, after);
    }

    fn note(&mut self, what: What, after: Option<&'v Value>) {
        self.changes.push(Change { path: self.path.clone(), what, after });
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}

fn identifies(key: &str, list: &[Value]) -> bool {
    let mut seen: Vec<&Value> = Vec::new();
    list.iter().all(|item| {
        let Some(value) = item.get(key).filter(|value| value.is_string() || value.is_number()) else { return false };
        let new = !seen.contains(&value);
        seen.push(value);
        new
    })
}

/// How a path of a grant stands to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    No,
    /// It names something above the place.
    Above,
    Exact,
    /// It names something below the place.
    Below,
}

pub(crate) fn reach(parts: usize, steps: usize) -> Reach {
    match parts.cmp(&steps) {
        std::cmp::Ordering::Less => Reach::Above,
        std::cmp::Ordering::Equal => Reach::Exact,
        std::cmp::Ordering::Greater => Reach::Below,
    }
}

impl Change<'_> {
    /// Whether a path of a grant leads here, whatever was there before and is there now.
    pub(crate) fn reached(&self, path: &FieldPath) -> Reach {
        let fits = |(part, at): (&Part, &At<'_>)| match (part, at) {
            (Part::Key(key), At::Key(there)) => key == there,
            (Part::AnyKey, At::Key(_)) => true,
            (Part::Any | Part::Where { .. }, At::Element { before, after, .. }) => {
                before.iter().chain(after.iter()).all(|element| part.selects(element))
            }
            _ => false,
        };
        if path.0.iter().zip(&self.path).all(fits) { reach(path.0.len(), self.path.len()) } else { Reach::No }
    }

    /// The same, if one of the two fits: for what a path forbids.
    pub(crate) fn may_be_reached(&self, path: &FieldPath) -> Reach {
        let fits = |(part, at): (&Part, &At<'_>)| match (part, at) {
            (Part::Key(key), At::Key(there)) => key == there,
            (Part::AnyKey, At::Key(_)) => true,
            (Part::Any | Part::Where { .. }, At::Element { before, after, .. }) => {
                before.iter().chain(after.iter()).any(|element| part.selects(element))
            }
            _ => false,
        };
        if path.0.iter().zip(&self.path).all(fits) { reach(path.0.len(), self.path.len()) } else { Reach::No }
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.path
            .iter()
            .map_while(|at| match at {
                At::Key(key) => Some(*key),
                At::Element { .. } => None,
            })
            .collect()
    }

    /// `spec.template.spec.containers[0].image`
    pub(crate) fn place(&self) -> String {
        let parts = self.path.iter().map(|at| match at {
            At::Key(key) => shown_key(key),
            At::Element { place, .. } => format!("[{place}]"),
        });
        without_dot(&parts.collect::<String>()).to_owned()
    }

    /// As a grant would name it.
    pub(crate) fn named(&self) -> String {
        let parts = self.path.iter().map(|at| match at {
            At::Key(key) => shown_key(key),
            At::Element { before, after, .. } => match after.or(*before).and_then(|element| element.get("name")?.as_str()) {
                Some(name) if !name.contains([']', '=']) => format!("[name={name}]"),
                _ => "[*]".to_owned(),
            },
        });
        without_dot(&parts.collect::<String>()).to_owned()
    }
}
