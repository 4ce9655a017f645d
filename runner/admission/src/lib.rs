//! What can be asked of a Kubernetes cluster, as data, and which of it a stage's rules admit. Pure.
//!
//! It stands apart from the transport (`kubernetes`) and from the boundary, because here is what a stage with the narrowest grant must not get around:
//! it has to be read alone, and tested without a cluster, a network or a component.
//!
//! A rule has the shape of an RBAC rule (namespaces, resources, names, verbs), and for writes the fields that may change, each with a bound:
//!
//! ```toml
//! rules = [{ resources = ["deployments"], names = ["api-canary"], verbs = ["get", "patch"],
//!            fields = { "spec.replicas" = { max = 3 }, "spec.template.spec.containers[name=api].image" = { like = "ghcr.io/acme/shop@sha256:*" } } }]
//! ```
//!
//! How a write is admitted ([`Rules::admit`]):
//! 1. the rule: verb, resource, namespace, name. One rule has to admit the whole write;
//! 2. the request alone: a path that no field of the rule leads to, a literal outside of its bound, a directive that nobody knows are refused before the
//!    cluster hears of them;
//! 3. what a dry run makes of it, against the object as it stands: every path that differs has to be named by a field, and its value within the bound; no
//!    bound may be broken anywhere in the result that was not broken before, and no share over several objects.
//!
//! The second step is a courtesy to the cluster, the third is the wall: it does not matter what kind of patch brought a change about.
//!
//! Deliberately absent: names for deleting collections, acting as others, tokens, ephemeral containers and the API server's proxy. And order: rules only add, as
//! RBAC's do.

mod bound;
mod change;
mod glob;
mod json;
mod path;
mod refusal;
mod resource;
mod rule;
mod secret;
mod share;
mod target;
mod template;
mod touch;
mod write;

pub use bound::Bound;
pub use glob::{Glob, GlobError};
pub use json::{JsonError, parse};
pub use path::{FieldPath, PathError};
pub use refusal::Refusal;
pub use resource::{ResourceError, ResourcePattern};
pub use rule::{Field, FieldError, Rule, Rules};
pub use secret::conceal;
pub use share::{Share, Term};
pub use target::{Kind, Subresource, Target, TargetError, Verb, VerbError};
pub use write::{Admission, Look, PatchKind, Request, Scene, Write};

#[cfg(test)]
mod tests;
