//! A share over several objects: the canary's replicas of those of canary and stable.
//!
//! Only the object that is written is held fast while it is judged (by its `resourceVersion`); the others are read at that moment, and whoever else scales
//! them, such as an autoscaler, is not held back by a stage's grant.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bound::part_of;
use crate::path::FieldPath;

/// A number in one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Of the rule's kind, in the same namespace.
    pub name: String,
    pub path: FieldPath,
}

/// `part` may be at most `max` (0 to 1) of `whole`, whichever of the objects is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub part: Vec<Term>,
    pub whole: Vec<Term>,
    pub max: f64,
}

impl Share {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.part.iter().chain(&self.whole).map(|term| term.name.as_str())
    }

    /// # Errors
    /// If it would be larger than `max` and than it was, or can't be told.
    pub(crate) fn judge(
        &self,
        written: &str,
        before: Option<&Value>,
        after: Option<&Value>,
        others: &BTreeMap<String, Option<Value>>,
    ) -> Result<(), String> {
        let with = |own: Option<&Value>| -> Result<f64, String> {
            Ok(part_of(self.sum(&self.part, written, own, others)?, self.sum(&self.whole, written, own, others)?))
        };
        let is = with(after)?;
        // a way back is a way back even from above
        if is <= self.max + 1e-9 || with(before).is_ok_and(|was| is <= was) {
            return Ok(());
        }
        let list = |terms: &[Term]| terms.iter().map(|term| format!("{} of {}", term.path, term.name)).collect::<Vec<_>>().join(" + ");
        Err(format!(
            "{} would be {:.1} % of {}, and {:.1} % is the most",
            list(&self.part),
            is * 100.0,
            list(&self.whole),
            self.max * 100.0
        ))
    }

    fn sum(&self, terms: &[Term], written: &str, own: Option<&Value>, others: &BTreeMap<String, Option<Value>>) -> Result<f64, String> {
        terms.iter().try_fold(0.0, |sum, term| {
            let object = if term.name == written { own } else { others.get(&term.name).and_then(Option::as_ref) };
            // what is not there has none
            let Some(object) = object else { return Ok(sum) };
            let places = term.path.places(object);
            let unknown = || format!("{} of {} is no number that could be compared", term.path, term.name);
            if places.is_empty() {
                return Err(unknown());
            }
            places.into_iter().try_fold(sum, |sum, (_, value)| {
                value.as_f64().filter(|number| *number >= 0.0).map(|number| sum + number).ok_or_else(unknown)
            })
        })
    }
}
