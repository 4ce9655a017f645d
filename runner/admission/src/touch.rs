//! What a patch touches, as far as it tells by itself. What it does not tell (which element a place in a list is, what a replaced list held) is left to the
//! comparison with the dry run, so that a touch that is let through here has not been admitted yet.

use serde_json::Value;

use crate::bound::Bound;
use crate::change::{Reach, is_merge_key, reach};
use crate::path::{Part, inner, shown_key, without_dot};
use crate::refusal::Refusal;
use crate::rule::Field;
use crate::write::PatchKind;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spot<'v> {
    Key(&'v str),
    /// Of a JSON patch, decoded: a key, or a place in a list.
    Token(String),
    /// A new last element.
    End,
    Element(&'v Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Deed<'v> {
    /// To a value that has no parts, or to an empty map or list.
    Set(&'v Value),
    Gone,
    /// A list is written anew, or its order is: what of it changes is seen later.
    List,
    /// Whatever there is, and below.
    Whole,
    /// To something that the patch does not say.
    Copied,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Touch<'v> {
    pub path: Vec<Spot<'v>>,
    pub deed: Deed<'v>,
}

#[derive(Debug, Default)]
pub(crate) struct Touches<'v> {
    pub all: Vec<Touch<'v>>,
    /// Whether it tells what is in the object (`test`), or writes it somewhere else (`copy`, `move`).
    pub reads: bool,
}

/// An object that is sent as a whole or in part, with or without the directives of a strategic merge.
pub(crate) fn of_object(object: &Value, way: Way) -> Result<Touches<'_>, Refusal> {
    if !object.is_object() {
        return Err(Refusal::new("bad-patch", "what is sent is no object: it would replace the whole"));
    }
    let mut walk = Walk { way, path: Vec::new(), all: Vec::new() };
    walk.value(object)?;
    Ok(Touches { all: walk.all, reads: false })
}

pub(crate) fn of_patch(kind: PatchKind, patch: &Value) -> Result<Touches<'_>, Refusal> {
    match kind {
        PatchKind::Merge => of_object(patch, Way::Merge),
        PatchKind::Strategic => of_object(patch, Way::Strategic),
        PatchKind::Json => of_json_patch(patch),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Merge,
    Strategic,
    /// Server-side apply, or a new object.
    Apply,
}

struct Walk<'v> {
    way: Way,
    path: Vec<Spot<'v>>,
    all: Vec<Touch<'v>>,
}

impl<'v> Walk<'v> {
    fn value(&mut self, value: &'v Value) -> Result<(), Refusal> {
        match value {
            Value::Null => self.touch(Deed::Gone),
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    if self.way == Way::Strategic && key.starts_with('$') {
                        self.directive(key, value)?;
                        continue;
                    }
                    let in_element = matches!(self.path.last(), Some(Spot::Element(_)));
                    if in_element && is_merge_key(key) && (value.is_string() || value.is_number()) {
                        continue; // says which element is meant; where it does not, the comparison tells
                    }
                    self.below(Spot::Key(key), value)?;
                }
            }
            Value::Array(items) if self.way != Way::Merge && !items.is_empty() && items.iter().all(Value::is_object) => {
                for item in items {
                    self.path.push(Spot::Element(item));
                    if item.as_object().is_some_and(|map| map.keys().all(|key| is_merge_key(key))) {
                        // there already, or new with nothing but its key
                        self.touch(Deed::List);
                    }
                    self.value(item)?;
                    self.path.pop();
                }
            }
            Value::Array(_) => self.touch(Deed::List),
            value => self.touch(Deed::Set(value)),
        }
        Ok(())
    }

    fn below(&mut self, spot: Spot<'v>, value: &'v Value) -> Result<(), Refusal> {
        self.path.push(spot);
        self.value(value)?;
        self.path.pop();
        Ok(())
    }

    fn directive(&mut self, key: &'v str, value: &'v Value) -> Result<(), Refusal> {
        let unknown = || Refusal::new("bad-patch", format!("the directive `{}` with {value} can't be judged", key.escape_debug()));
        match key.split_once('/') {
            None => match (key, value.as_str()) {
                ("$patch", Some("merge")) => {}
                ("$patch", Some("replace" | "delete")) => self.touch(Deed::Whole),
                ("$retainKeys", None) if value.is_array() => self.touch(Deed::Whole),
                _ => return Err(unknown()),
            },
            Some((directive, list)) if value.is_array() && !list.is_empty() => {
                let deed = match directive {
                    "$setElementOrder" => Deed::List,
                    "$deleteFromPrimitiveList" => Deed::Gone,
                    _ => return Err(unknown()),
                };
                self.path.push(Spot::Key(list));
                self.touch(deed);
                self.path.pop();
            }
            Some(_) => return Err(unknown()),
        }
        Ok(())
    }

    fn touch(&mut self, deed: Deed<'v>) {
        self.all.push(Touch { path: self.path.clone(), deed });
    }
}

/// RFC 6902.
fn of_json_patch(patch: &Value) -> Result<Touches<'_>, Refusal> {
    let bad = |why: &str| Refusal::new("bad-patch", format!("that is no JSON patch: {why}"));
    let operations = patch.as_array().ok_or_else(|| bad("it is a list of operations"))?;
    let mut touches = Touches::default();
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let value = || operation.get("value").ok_or_else(|| bad("an operation has no `value`"));
        let path = pointer(text("path").ok_or_else(|| bad("an operation has no `path`"))?)?;
        let from = || pointer(text("from").ok_or_else(|| bad("an operation has no `from`"))?);
        match text("op") {
            Some("add" | "replace") => {
                let value = value()?;
                if matches!(path.last(), Some(Spot::End)) {
                    touches.all.push(Touch { path: path.clone(), deed: Deed::Whole });
                }
                let mut walk = Walk { way: Way::Apply, path, all: Vec::new() };
                // to set null is no removal here
                if value.is_null() {
                    walk.touch(Deed::Set(value))
                } else {
                    walk.value(value)?
                }
                touches.all.extend(walk.all);
            }
            Some("remove") => touches.all.push(Touch { path, deed: Deed::Gone }),
            Some("move") => {
                touches.reads = true;
                touches.all.push(Touch { path: from()?, deed: Deed::Gone });
                touches.all.push(Touch { path, deed: Deed::Copied });
            }
            Some("copy") => {
                touches.reads = true;
                from()?;
                touches.all.push(Touch { path, deed: Deed::Copied });
            }
            Some("test") => {
                touches.reads = true;
                value()?;
            }
            _ => return Err(bad("an operation is add, remove, replace, move, copy or test")),
        }
    }
    Ok(touches)
}

fn pointer(text: &str) -> Result<Vec<Spot<'_>>, Refusal> {
    let bad = |why: &str| Refusal::new("bad-patch", format!("`{}` is no path of a JSON patch: {why}", text.escape_debug()));
    if text.is_empty() {
        return Err(bad("it would replace the whole object"));
    }
    let Some(rest) = text.strip_prefix('/') else { return Err(bad("it begins with a slash")) };
    let token = |token: &str| -> Result<Spot<'static>, Refusal> {
        let mut decoded = String::new();
        let mut letters = token.chars();
        while let Some(letter) = letters.next() {
            decoded.push(match letter {
                '~' => match letters.next() {
                    Some('0') => '~',
                    Some('1') => '/',
                    _ => return Err(bad("behind a ~ stands 0 or 1")),
                },
                letter => letter,
            });
        }
        Ok(if decoded == "-" { Spot::End } else { Spot::Token(decoded) })
    };
    rest.split('/').map(token).collect()
}

impl Touch<'_> {
    /// Whether it may lead where a path of a grant leads, and whether that is certain.
    fn reached(&self, parts: &[Part]) -> (Reach, bool) {
        let mut certain = true;
        for (part, spot) in parts.iter().zip(&self.path) {
            let fits = match (part, spot) {
                (Part::Key(key), Spot::Key(there)) => key == there,
                (Part::Key(key), Spot::Token(there)) => key == there,
                (Part::AnyKey, Spot::Key(_) | Spot::Token(_)) => true,
                (Part::Any, Spot::Element(_) | Spot::End) => true,
                (Part::Where { .. }, Spot::End) => {
                    certain = false;
                    true
                }
                (Part::Any | Part::Where { .. }, Spot::Token(there)) => {
                    certain = false;
                    !there.is_empty() && there.bytes().all(|byte| byte.is_ascii_digit())
                }
                (Part::Where { keys, .. }, Spot::Element(element)) if inner(element, keys).is_none() => {
                    certain = false;
                    true
                }
                (Part::Where { .. }, Spot::Element(element)) => part.selects(element),
                _ => false,
            };
            if !fits {
                return (Reach::No, true);
            }
        }
        (reach(parts.len(), self.path.len()), certain)
    }

    fn keys(&self) -> Vec<&str> {
        self.path
            .iter()
            .map_while(|spot| match spot {
                Spot::Key(key) => Some(*key),
                Spot::Token(key) => Some(key.as_str()),
                Spot::End | Spot::Element(_) => None,
            })
            .collect()
    }

    /// The place, if it is one of those that nobody may write, or that say which object this is.
    pub(crate) fn is_fixed(&self) -> bool {
        let keys = self.keys();
        match keys.as_slice() {
            [] | ["metadata"] | ["apiVersion" | "kind", ..] => true,
            ["metadata", key, ..] => crate::rule::FIXED.contains(key),
            _ => false,
        }
    }

    pub(crate) fn place(&self) -> String {
        let parts = self.path.iter().map(|spot| match spot {
            Spot::Key(key) => shown_key(key),
            Spot::Token(key) => shown_key(key),
            Spot::End => "[-]".to_owned(),
            Spot::Element(element) => match element.get("name").and_then(Value::as_str) {
                Some(name) => format!("[name={}]", name.escape_debug()),
                None => "[…]".to_owned(),
            },
        });
        without_dot(&parts.collect::<String>()).to_owned()
    }

    /// Whether it leads where a stage may write only if a rule names the very place.
    pub(crate) fn is_grave(&self) -> bool {
        crate::rule::grave(&self.keys()).is_some()
    }

    /// Whether the fields could let it be.
    ///
    /// # Errors
    /// The code and why not.
    pub(crate) fn conceivable(&self, fields: &[Field]) -> Result<(), (&'static str, String)> {
        let mut broken = None;
        let mut possible = false;
        for field in fields {
            let (reach, certain) = self.reached(&field.path().0);
            let any = *field.bound() == Bound::Any;
            possible |= match (reach, self.deed) {
                (Reach::No, _) => false,
                (Reach::Above | Reach::Exact, _) if any => field.names(&self.keys()),
                (Reach::Above, _) => false,
                (Reach::Exact, Deed::Set(value)) => match field.bound().fits(value) {
                    Ok(()) => true,
                    Err(why) if certain => {
                        broken = Some(why);
                        false
                    }
                    Err(why) => {
                        broken.get_or_insert(why);
                        false
                    }
                },
                (Reach::Exact, Deed::Copied | Deed::List) => true,
                (Reach::Below, Deed::List | Deed::Copied) => true,
                (Reach::Exact | Reach::Below, _) => false,
            };
        }
        match (possible, broken) {
            (true, _) => Ok(()),
            (false, Some(why)) => Err(("bound", format!("`{}`: {why}", self.place()))),
            (false, None) => Err(("field", format!("the request touches `{}`, and no field of the rule names it", self.place()))),
        }
    }
}
