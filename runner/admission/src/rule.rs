//! Rules: who may do what to which objects. Reads are decided here alone; writes go on in `write.rs`.

use std::collections::BTreeSet;

use crate::bound::{Bound, shared};
use crate::glob::Glob;
use crate::path::{FieldPath, Part};
use crate::refusal::Refusal;
use crate::resource::{ResourcePattern, named};
use crate::secret::is_secret;
use crate::share::Share;
use crate::target::{Subresource, Target, Verb};

pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Keys of `metadata` that say which object it is, or that the cluster writes. No field of a rule opens them.
pub(crate) const FIXED: [&str; 12] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// Keys of `metadata` by which an object can be kept from going, made to go with another, or changed by whoever applies next: a field that names
/// something above them does not open them.
pub(crate) fn grave(keys: &[&str]) -> Option<usize> {
    match keys {
        ["metadata", "finalizers" | "ownerReferences", ..] => Some(2),
        ["metadata", "annotations", LAST_APPLIED, ..] => Some(3),
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("`{0}` is the cluster's own, or says which object it is: no stage writes it")]
    Fixed(FieldPath),
    #[error("`{0}`: a share needs a path that chooses elements of a list, as in spec.http[*].route[destination.subset=canary].weight")]
    Share(FieldPath),
}

/// A field that a write may change, and what it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    path: FieldPath,
    bound: Bound,
}

impl Field {
    /// # Errors
    /// If no stage may write it, or the bound can't be told from the path.
    pub fn new(path: FieldPath, bound: Bound) -> Result<Field, FieldError> {
        let fixed = match path.0.as_slice() {
            [Part::Key(first)] => matches!(first.as_str(), "metadata" | "apiVersion" | "kind"),
            [Part::Key(first), Part::Key(second), ..] => first == "metadata" && FIXED.contains(&second.as_str()),
            [Part::Key(first), Part::AnyKey, ..] => first == "metadata",
            [first, ..] => !matches!(first, Part::Key(_)),
            [] => true,
        };
        if fixed {
            return Err(FieldError::Fixed(path));
        }
        if matches!(bound, Bound::Number { share: Some(_), .. }) && shared(&path).is_none() {
            return Err(FieldError::Share(path));
        }
        Ok(Field { path, bound })
    }

    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Whether it opens a place by naming it, where that is needed.
    pub(crate) fn names(&self, keys: &[&str]) -> bool {
        match grave(keys) {
            None => true,
            Some(least) => self.path.0.len() >= least && self.path.0[..least].iter().all(|part| matches!(part, Part::Key(_))),
        }
    }
}

/// One rule of a grant. Keys that are not written are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// None: the grant's own. `*` alone: all, and what is in no namespace.
    pub namespaces: Option<Vec<Glob>>,
    pub resources: Vec<ResourcePattern>,
    /// None: any.
    pub names: Option<Vec<Glob>>,
    pub verbs: BTreeSet<Verb>,
    /// None: a write may change any field, of objects that have no Pod template.
    pub fields: Option<Vec<Field>>,
    pub shares: Vec<Share>,
    /// What is created has to be like this object of the same kind and namespace, but for `fields`.
    pub copy_of: Option<String>,
}

/// What a grant says.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub namespace: String,
    pub rules: Vec<Rule>,
}

impl Rule {
    /// All but the name.
    fn covers(&self, verb: Verb, target: &Target, own: &str) -> bool {
        let namespace = match (&self.namespaces, target.namespace()) {
            (None, namespace) => namespace == Some(own),
            (Some(list), Some(namespace)) => list.iter().any(|glob| glob.fits(namespace)),
            (Some(list), None) => list.iter().any(|glob| glob.to_string() == "*"),
        };
        namespace && self.verbs.contains(&verb) && self.resources.iter().any(|resource| resource.fits(target, verb.reads()))
    }

    fn names_it(&self, target: &Target, name: &str) -> bool {
        match &self.names {
            // each Secret by its own name
            Some(names) if is_secret(target) => names.iter().any(|glob| glob.is_exact() && glob.fits(name)),
            None if is_secret(target) => false,
            Some(names) => names.iter().any(|glob| glob.fits(name)),
            None => true,
        }
    }
}

impl Rules {
    /// Rules that let a verb be used on one object. Writes are to be judged further.
    pub(crate) fn applying(&self, verb: Verb, target: &Target) -> impl Iterator<Item = &Rule> {
        self.rules
            .iter()
            .filter(move |rule| rule.covers(verb, target, &self.namespace) && target.name().is_some_and(|name| rule.names_it(target, name)))
    }

    /// Whether some rule speaks of this verb on this object, whatever its fields say: for what a grant shows of itself.
    pub fn speaks_of(&self, verb: Verb, target: &Target) -> bool {
        match target.name() {
            Some(_) => self.applying(verb, target).next().is_some(),
            None => self.rules.iter().any(|rule| rule.covers(verb, target, &self.namespace)),
        }
    }

    /// Whether a stage may read: `get` an object or one of its parts, `list` or `watch` many.
    ///
    /// # Errors
    /// If no rule lets it.
    pub fn read(&self, verb: Verb, target: &Target) -> Result<(), Refusal> {
        let granted = match (verb, target.name()) {
            (Verb::Get, Some(_)) => self.applying(verb, target).next().is_some(),
            // what of it is shown, each object's name decides
            (Verb::List | Verb::Watch, None) => self.rules.iter().any(|rule| rule.covers(verb, target, &self.namespace)),
            (Verb::Watch, Some(_)) => self.applying(verb, target).next().is_some(),
            _ => false,
        };
        if granted { Ok(()) } else { Err(self.not_granted(verb, target)) }
    }

    /// Whether an object of a list is shown: `name` of `namespace`, where the list is of all namespaces.
    pub fn shows(&self, verb: Verb, target: &Target, namespace: Option<&str>, name: &str) -> bool {
        let namespace = target.namespace().or(namespace);
        let Ok(one) = Target::one(target.kind().clone(), namespace, name) else { return false };
        self.rules.iter().any(|rule| rule.covers(verb, target, &self.namespace) && rule.names_it(&one, name))
            || self.applying(verb, &one).next().is_some()
    }

    /// Whether a stage may use a part of a Pod or a Service: `get` of a log, `create` of an `exec` or a `portforward`.
    ///
    /// # Errors
    /// If no rule lets it.
    pub fn enter(&self, target: &Target) -> Result<(), Refusal> {
        let verb = match target.subresource() {
            Some(Subresource::Log) => Verb::Get,
            Some(Subresource::Exec | Subresource::PortForward) => Verb::Create,
            Some(Subresource::Scale) | None => return Err(self.not_granted(Verb::Create, target)),
        };
        if self.applying(verb, target).next().is_some() { Ok(()) } else { Err(self.not_granted(verb, target)) }
    }

    /// Whether a stage may see the events about an object.
    ///
    /// # Errors
    /// If it may neither read the object nor list events.
    pub fn events(&self, target: &Target, events: &Target) -> Result<(), Refusal> {
        self.read(Verb::Get, target).or_else(|refusal| self.read(Verb::List, events).map_err(|_| refusal))
    }

    /// Whether what a stage is shown of a write to this object has to be [`crate::conceal`]ed.
    pub fn conceals(&self, target: &Target) -> bool {
        is_secret(target) && self.applying(Verb::Get, &target.whole()).next().is_none()
    }

    pub(crate) fn not_granted(&self, verb: Verb, target: &Target) -> Refusal {
        let secret = is_secret(target);
        let code = if secret && verb.reads() { "secret" } else { "not-granted" };
        let why = if secret { ": a Secret has to be named by a rule" } else { "" };
        let remedy = match (secret, target.name()) {
            (true, None) => None,
            _ => Some(self.wanted(verb, target)),
        };
        Refusal { remedy, ..Refusal::new(code, format!("the stage's grants do not allow to {} {target}{why}", verb.word())) }
    }

    /// The rule that would allow it. What it would change has to be added.
    fn wanted(&self, verb: Verb, target: &Target) -> String {
        let mut rule = String::new();
        match target.namespace() {
            Some(namespace) if namespace == self.namespace => {}
            Some(namespace) => rule += &format!("namespaces = [\"{namespace}\"], "),
            None => rule += "namespaces = [\"*\"], ",
        }
        rule += &format!("resources = [\"{}\"], ", named(target));
        if let Some(name) = target.name() {
            rule += &format!("names = [\"{name}\"], ");
        }
        format!("rules = [{{ {rule}verbs = [\"{}\"] }}]", verb.word())
    }
}
