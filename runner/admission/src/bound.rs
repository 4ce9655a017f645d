//! What a field may be set to.

use serde_json::Value;

use crate::change::{Change, Reach, What};
use crate::glob::Glob;
use crate::path::{FieldPath, Part, inner, without_dot};
use crate::rule::Field;

#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Anything, and all that is below it.
    Any,
    /// A number. A text that reads like one is none.
    Number {
        min: Option<f64>,
        max: Option<f64>,
        /// At most this part (0 to 1) of the sum over all elements of the list that the path's last `[key=value]` chooses from: weights of routes.
        share: Option<f64>,
    },
    /// A text that one of the patterns fits.
    Text(Vec<Glob>),
    /// One of these.
    OneOf(Vec<Value>),
}

impl Bound {
    /// # Errors
    /// Why it does not.
    pub(crate) fn fits(&self, value: &Value) -> Result<(), String> {
        match self {
            Bound::Any => Ok(()),
            Bound::Number { min, max, .. } => {
                let number = value.as_number().and_then(serde_json::Number::as_f64).filter(|number| number.is_finite());
                let number = number.ok_or_else(|| format!("{} is no number", brief(value)))?;
                if let Some(min) = min.filter(|min| number < *min) {
                    return Err(format!("{} is less than {min}", brief(value)));
                }
                match max.filter(|max| number > *max) {
                    Some(max) => Err(format!("{} is more than {max}", brief(value))),
                    None => Ok(()),
                }
            }
            Bound::Text(globs) => match value.as_str() {
                Some(text) if globs.iter().any(|glob| glob.fits(text)) => Ok(()),
                _ => {
                    Err(format!("{} is not like {}", brief(value), globs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")))
                }
            },
            Bound::OneOf(values) if values.contains(value) => Ok(()),
            Bound::OneOf(values) => {
                Err(format!("{} is not one of {}", brief(value), values.iter().map(brief).collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

/// A value in a message.
pub(crate) fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
}

/// A bound that an object does not keep.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Breach {
    pub place: String,
    pub why: String,
    /// The value, or a share.
    measure: Measure,
}

#[derive(Debug, Clone, PartialEq)]
enum Measure {
    Value(Value),
    Share(f64),
}

/// Bounds that `after` breaks, and that `before` did not break in the same place in the same way. A share that was too large may shrink, or stay.
pub(crate) fn new_breaches(fields: &[Field], before: &Value, after: &Value) -> Vec<Breach> {
    let old = breaches(fields, before);
    let known = |breach: &Breach| {
        old.iter().any(|other| {
            other.place == breach.place
                && match (&other.measure, &breach.measure) {
                    (Measure::Value(was), Measure::Value(is)) => was == is,
                    (Measure::Share(was), Measure::Share(is)) => is <= was,
                    _ => false,
                }
        })
    };
    breaches(fields, after).into_iter().filter(|breach| !known(breach)).collect()
}

fn breaches(fields: &[Field], object: &Value) -> Vec<Breach> {
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| *field.bound() != Bound::Any) {
        for (place, value) in field.path().places(object) {
            if let Err(why) = field.bound().fits(value) {
                found.push(Breach { place: without_dot(&place).to_owned(), why, measure: Measure::Value(value.clone()) });
            }
        }
        if let Bound::Number { share: Some(most), .. } = field.bound() {
            found.extend(shares(field.path(), *most, object));
        }
    }
    found
}

/// Lists in which the chosen elements have more than their share.
fn shares(path: &FieldPath, most: f64, object: &Value) -> Vec<Breach> {
    let Some((list, chosen, keys)) = shared(path) else { return Vec::new() };
    let mut found = Vec::new();
    for (place, items) in list.places(object).into_iter().filter_map(|(place, value)| Some((place, value.as_array()?))) {
        // what is not there counts nothing: then the others have more, never less
        let weight = |item: &Value| inner(item, &keys).map_or(Some(0.0), |value| value.as_f64().filter(|weight| *weight >= 0.0));
        let weights: Option<Vec<(bool, f64)>> = items.iter().map(|item| Some((chosen.selects(item), weight(item)?))).collect();
        let share = match weights {
            Some(weights) => part_of(
                weights.iter().filter(|(chosen, _)| *chosen).map(|(_, weight)| weight).sum(),
                weights.iter().map(|(_, weight)| weight).sum(),
            ),
            None => f64::INFINITY,
        };
        if share > most + 1e-9 {
            let why = match share.is_finite() {
                true => format!("its share of the list is {:.1} %, and {:.1} % is the most", share * 100.0, most * 100.0),
                false => "its share of the list can't be told, because one is no number".to_owned(),
            };
            let place = without_dot(&place).to_owned();
            found.push(Breach { place: format!("{place} ({path})"), why, measure: Measure::Share(share) });
        }
    }
    found
}

/// Of nothing, nothing is no part.
pub(crate) fn part_of(part: f64, whole: f64) -> f64 {
    if part <= 0.0 { 0.0 } else { part / whole }
}

/// The list, which of its elements, and where in them the number is.
pub(crate) fn shared(path: &FieldPath) -> Option<(FieldPath, &Part, Vec<String>)> {
    let at = path.0.iter().rposition(|part| matches!(part, Part::Any | Part::Where { .. }))?;
    let keys = path.0[at + 1..].iter().map(|part| match part {
        Part::Key(key) => Some(key.clone()),
        _ => None,
    });
    let keys: Option<Vec<String>> = keys.collect();
    let chosen = &path.0[at];
    if matches!(chosen, Part::Any) { None } else { Some((FieldPath(path.0[..at].to_vec()), chosen, keys?)) }
}

/// Whether the fields let a change be.
///
/// # Errors
/// The code and why not.
pub(crate) fn admits(fields: &[Field], change: &Change<'_>) -> Result<(), (&'static str, String)> {
    if change.after.is_none() && change.what == What::Leaf {
        // without it, what counts is what the cluster or another controller takes then
        if let Some(field) = fields.iter().find(|field| *field.bound() != Bound::Any && change.may_be_reached(field.path()) == Reach::Exact)
        {
            return Err(("bound", format!("`{}` has a bound, so it can't be taken away", field.path())));
        }
    }
    let mut broken = None;
    for field in fields {
        let whole_list =
            change.what == What::Order && field.path().0.len() == change.path.len() + 1 && field.path().0.last() == Some(&Part::Any);
        let admitted = match change.reached(field.path()) {
            Reach::No => false,
            Reach::Below => whole_list && *field.bound() == Bound::Any,
            Reach::Above => *field.bound() == Bound::Any && field.names(&change.keys()),
            Reach::Exact if *field.bound() == Bound::Any => field.names(&change.keys()),
            Reach::Exact => match (change.what, change.after) {
                (What::Leaf, Some(value)) => match field.bound().fits(value) {
                    Ok(()) => true,
                    Err(why) => {
                        broken = Some(why);
                        false
                    }
                },
                _ => false,
            },
        };
        if admitted {
            return Ok(());
        }
    }
    Err(match (broken, change.what) {
        (Some(why), _) => ("bound", format!("`{}`: {why}", change.place())),
        (None, What::Order) => {
            ("field", format!("the order of `{}` would change, and no field of the rule names the list", change.place()))
        }
        (None, What::Element) => ("field", format!("`{}` would come or go, and no field of the rule names it", change.place())),
        (None, What::Leaf) => ("field", format!("`{}` would change, and no field of the rule names it", change.place())),
    })
}
