//! May this be written? First by the request alone, then by what a dry run made of it.

mod judge;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::path::Part;
use crate::refusal::Refusal;
use crate::rule::{Rule, Rules};
use crate::target::{Subresource, Target, Verb};
use crate::template::{self, Template};
use crate::touch::{self, Touches, Way};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchKind {
    Merge,
    Strategic,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    Create { object: Value },
    Apply { object: Value, force: bool },
    Patch { kind: PatchKind, patch: Value },
    Scale { replicas: u32 },
    Delete,
}

/// A write to one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    pub target: Target,
    pub write: Write,
}

/// What has to be seen before it can be decided. It changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// The object as it stands.
    pub before: bool,
    /// The object as a dry run of the write leaves it, with the `resourceVersion` of `before` where there is one.
    pub dry_run: bool,
    /// Other objects of the same kind and namespace.
    pub others: BTreeSet<String>,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// None: there is no such object.
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub others: BTreeMap<String, Option<Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may be written; if an object was looked at, with its `resourceVersion`.
    Granted,
    Look(Look),
}

impl Rules {
    /// Whether a write is admitted. Without a scene it is judged by itself, and mostly has to be looked at.
    ///
    /// # Errors
    /// If no rule admits it: what the first of those that come closest says.
    pub fn admit(&self, request: &Request, scene: Option<&Scene>) -> Result<Admission, Refusal> {
        let verb = request.verb();
        let mut looks: Option<Look> = None;
        let mut refusal = None;
        for rule in self.rules_for(request) {
            let judge = Judge { rules: self, rule, request };
            match judge.decide(scene) {
                Ok(Admission::Granted) => return Ok(Admission::Granted),
                Ok(Admission::Look(look)) => {
                    let all = looks.get_or_insert_default();
                    all.before |= look.before;
                    all.dry_run |= look.dry_run;
                    all.others.extend(look.others);
                }
                Err(one) => {
                    refusal.get_or_insert(one);
                }
            }
        }
        match looks {
            Some(look) => Ok(Admission::Look(look)),
            None => Err(refusal.unwrap_or_else(|| self.not_granted(verb, &request.target))),
        }
    }

    fn rules_for<'r>(&'r self, request: &'r Request) -> impl Iterator<Item = &'r Rule> {
        let whole = request.target.whole();
        let by_parent: Vec<&Rule> = match request.write {
            Write::Scale { .. } => self.applying(Verb::Patch, &whole).filter(|rule| rule.bounds_replicas()).collect(),
            _ => Vec::new(),
        };
        self.applying(request.verb(), &request.target).chain(by_parent)
    }
}

impl Rule {
    /// Whether a field is `spec.replicas`: who may patch that may set it by `scale`.
    fn bounds_replicas(&self) -> bool {
        self.fields.iter().flatten().any(
            |field| matches!(field.path().0.as_slice(), [Part::Key(spec), Part::Key(replicas)] if spec == "spec" && replicas == "replicas"),
        )
    }
}

impl Request {
    /// The verb that its rule needs. An apply of what does not exist needs `create` too.
    pub fn verb(&self) -> Verb {
        match self.write {
            Write::Create { .. } => Verb::Create,
            Write::Apply { .. } | Write::Patch { .. } | Write::Scale { .. } => Verb::Patch,
            Write::Delete => Verb::Delete,
        }
    }

    fn is_scale(&self) -> bool {
        matches!(self.write, Write::Scale { .. }) && self.target.subresource() == Some(Subresource::Scale)
    }

    fn touches(&self) -> Result<Touches<'_>, Refusal> {
        match &self.write {
            Write::Create { object } | Write::Apply { object, .. } => touch::of_object(object, Way::Apply),
            Write::Patch { kind, patch } => touch::of_patch(*kind, patch),
            Write::Scale { .. } | Write::Delete => Ok(Touches::default()),
        }
    }
}

/// One rule and one request.
struct Judge<'a> {
    rules: &'a Rules,
    rule: &'a Rule,
    request: &'a Request,
}

impl Judge<'_> {
    fn template(&self) -> Template {
        template::of(self.request.target.kind())
    }

    /// Objects besides the one that is written: those of shares, and the one that a new object is compared with.
    fn others(&self) -> BTreeSet<String> {
        let own = self.request.target.name().unwrap_or_default();
        let shares = self.shares().flat_map(|share| share.names());
        let source = self.rule.copy_of.as_deref().filter(|_| matches!(self.request.write, Write::Create { .. } | Write::Apply { .. }));
        shares.chain(source).filter(|name| *name != own).map(str::to_owned).collect()
    }

    /// Shares that this write could change.
    fn shares(&self) -> impl Iterator<Item = &crate::share::Share> {
        let own = self.request.target.name().unwrap_or_default();
        self.rule.shares.iter().filter(move |share| share.names().any(|name| name == own))
    }
}
