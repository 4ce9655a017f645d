//! `[stage.<name>.grants.kubernetes]`: which cluster and namespace, and rules for what in it.

mod rule;

use std::any::Any;
use std::sync::Arc;

use admission::{Bound, Field, Glob, Kind, Rule, Rules, Target, Verb};
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, Used};
use pipeline::node::{Node, Spanned, TableReader};
use serde_json::{Value, json};

use crate::place::Place;

/// The decoded grant.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesGrant {
    pub context: Option<String>,
    pub rules: Rules,
}

/// How the grant is read.
pub struct Schema;

impl GrantSchema for Schema {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn summary(&self) -> &'static str {
        "objects, Pods and rollouts of a Kubernetes cluster"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:kubernetes/"]
    }

    fn json_schema(&self) -> Value {
        let texts = |what: &str| json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "description": what });
        let terms = |what: &str| json!({ "type": "array", "minItems": 1, "description": what, "items": { "type": "string", "description": "An object's name, a colon, and the path of a number in it: api:spec.replicas" } });
        let part = json!({ "type": "number", "minimum": 0, "maximum": 1 });
        let bound = json!({
            "type": "object", "additionalProperties": false,
            "description": "What a write may set it to. Empty: anything, and all that is below it.",
            "properties": {
                "min": { "type": "number" },
                "max": { "type": "number" },
                "share": { "type": "number", "minimum": 0, "maximum": 1, "description": "Of the sum over all elements of the list that the path's last [key=value] chooses from: weights of routes." },
                "like": { "oneOf": [{ "type": "string" }, texts("Patterns of a text: `*` is anything without a slash, `**` anything.")] },
                "is": { "type": "array", "minItems": 1, "description": "The values that it may have." },
            },
        });
        json!({
            "type": "object", "additionalProperties": false, "required": ["namespace", "rules"],
            "properties": {
                "context": { "type": "string", "description": "Of the runner's kubeconfig. Without it the current one; without a kubeconfig, the cluster that the runner is in." },
                "namespace": { "type": "string", "description": "Where objects are of which neither the stage nor a rule says it." },
                "rules": { "type": "array", "minItems": 1, "description": "What is allowed: rules only add. One rule has to allow the whole of a write.", "items": {
                    "type": "object", "additionalProperties": false, "required": ["resources", "verbs"],
                    "properties": {
                        "namespaces": texts("Patterns. Without it the grant's namespace. \"*\": all, and what is in no namespace."),
                        "resources": texts("In the plural, with group and part where they have them: deployments, deployments/scale, httproutes.gateway.networking.k8s.io. \"*\" is what may be read without being named."),
                        "names": texts("Patterns. Without it any, but Secrets, which have to be named one by one."),
                        "verbs": { "type": "array", "minItems": 1, "items": { "enum": Verb::ALL.map(Verb::word) } },
                        "fields": { "type": "object", "description": "Paths of what a write may change. Needed for whatever has a Pod template.", "additionalProperties": bound },
                        "shares": { "type": "array", "items": {
                            "type": "object", "additionalProperties": false, "required": ["part", "whole", "max"],
                            "properties": { "part": terms("The numbers whose sum is bounded."), "whole": terms("The numbers that it is a share of."), "max": part },
                        } },
                        "copy-of": { "type": "string", "description": "What is created has to be like this object of the same kind and namespace, but for `fields`." },
                    },
                } },
            },
        })
    }

    fn example(&self) -> &'static str {
        "kubernetes = { namespace = \"shop\", rules = [{ resources = [\"deployments\"], verbs = [\"get\"] }] }"
    }

    fn path_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let before = diagnostics.len();
        let what = format!("[stage.{}.grants.kubernetes]", context.stage);
        let mut reader = TableReader::new(node, what, diagnostics)?;
        let cluster = reader.string("context").and_then(|name| decode_context(name, reader.diagnostics));
        let namespace = reader.require("namespace").and_then(|node| reader.expect_string(node, "namespace"));
        let namespace = namespace.and_then(|name| decode_namespace(name, reader.diagnostics));
        let rules = reader.require("rules").map(|node| rule::decode_all(node, reader.diagnostics)).unwrap_or_default();
        reader.finish();
        if diagnostics.len() > before {
            return None;
        }
        Some(Arc::new(KubernetesGrant { context: cluster, rules: Rules { namespace: namespace?, rules } }))
    }
}

fn decode_context(name: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    if !name.value.trim().is_empty() && !name.value.chars().any(char::is_control) {
        return Some(name.value);
    }
    let message = format!("`{}` is no name of a context", name.value.escape_debug());
    diagnostics.push(Diagnostic::error("bad-context", name.span, message).hint("`kubectl config get-contexts` lists those that exist"));
    None
}

fn decode_namespace(name: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let pods = Kind::new("", "v1", "pods");
    match pods.and_then(|pods| Target::all(pods, Some(&name.value))) {
        Ok(_) => Some(name.value),
        Err(mistake) => {
            let hint = "one namespace, without patterns; others are named by `namespaces` of a rule";
            diagnostics.push(Diagnostic::error("bad-namespace", name.span, mistake.to_string()).hint(hint));
            None
        }
    }
}

impl Grant for KubernetesGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        let plain = |text: String| Authority { text, alarming: false };
        let mut lines = vec![plain(match &self.context {
            Some(name) => format!("in the cluster of the context {name}"),
            None => "in the cluster of the current context".to_owned(),
        })];
        for rule in &self.rules.rules {
            lines.push(Authority { text: self.line(rule), alarming: is_alarming(rule) });
            lines.extend(rule.fields.iter().flatten().map(|field| plain(format!("  change {}{}", field.path(), bounds(field)))));
            lines.extend(rule.shares.iter().map(|share| {
                let sum = |terms: &[admission::Term]| {
                    terms.iter().map(|term| format!("{} of {}", term.path, term.name)).collect::<Vec<_>>().join(" + ")
                };
                plain(format!("  {} at most {} of {}", sum(&share.part), percent(share.max), sum(&share.whole)))
            }));
            lines.extend(rule.copy_of.iter().map(|name| plain(format!("  what is created is like {name}, but for these"))));
        }
        lines
    }

    fn lends(&self) -> Option<&'static str> {
        Some("the runner's login to a Kubernetes cluster")
    }

    /// Rules that no recorded effect needed.
    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        let alone = |rule: &Rule| Rules { namespace: self.rules.namespace.clone(), rules: vec![rule.clone()] };
        let mut idle: Vec<(usize, Rules)> = self.rules.rules.iter().map(alone).enumerate().collect();
        for used in used.filter(|used| used.effect.starts_with("kubernetes.")) {
            let Some((verbs, target)) = asked(used, &self.rules.namespace) else { continue };
            idle.retain(|(_, rules)| !verbs.iter().any(|verb| rules.speaks_of(*verb, &target) || rules.speaks_of(*verb, &target.whole())));
        }
        if idle.len() == self.rules.rules.len() {
            return vec!["the whole grant: nothing was asked of the cluster".to_owned()];
        }
        idle.into_iter().map(|(index, _)| format!("rule {}: never used ({})", index + 1, self.line(&self.rules.rules[index]))).collect()
    }
}

impl KubernetesGrant {
    /// `get, patch deployments api, api-* of shop`
    fn line(&self, rule: &Rule) -> String {
        let list = |words: Vec<String>| words.join(", ");
        let verbs =
            list(rule.verbs.iter().map(|verb| if verb.reads() { verb.word().to_owned() } else { verb.word().to_uppercase() }).collect());
        let resources = list(rule.resources.iter().map(ToString::to_string).collect());
        let names =
            rule.names.as_deref().map(|names| format!(" {}", list(names.iter().map(Glob::to_string).collect()))).unwrap_or_default();
        let place = match &rule.namespaces {
            None => self.rules.namespace.clone(),
            Some(all) if sweeps(all) => "ALL namespaces".to_owned(),
            Some(some) => list(some.iter().map(Glob::to_string).collect()),
        };
        let free = if writes(rule) && rule.fields.is_none() { " (any field)" } else { "" };
        format!("{verbs} {resources}{names} in {place}{free}")
    }
}

fn writes(rule: &Rule) -> bool {
    rule.verbs.iter().any(|verb| matches!(verb, Verb::Create | Verb::Patch))
        && rule.resources.iter().any(|resource| {
            let text = resource.to_string();
            !(text.ends_with("/exec") || text.ends_with("/portforward") || text.ends_with("/log"))
        })
}

fn sweeps(namespaces: &[Glob]) -> bool {
    namespaces.iter().any(|glob| glob.to_string() == "*")
}

/// What a reviewer should not overlook: programs in Pods, Secrets, deleting, writing whatever one likes, all of a cluster.
fn is_alarming(rule: &Rule) -> bool {
    let grave = |text: String| text == "secrets" || text.ends_with("/exec");
    rule.verbs.contains(&Verb::Delete)
        || (writes(rule) && rule.fields.is_none())
        || rule.resources.iter().any(|resource| grave(resource.to_string()))
        || rule.namespaces.as_deref().is_some_and(sweeps)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn bounds(field: &Field) -> String {
    match field.bound() {
        Bound::Any => String::new(),
        Bound::Number { min, max, share } => {
            let words = [
                min.map(|min| format!("at least {min}")),
                max.map(|max| format!("at most {max}")),
                share.map(|share| format!("at most {} of the list", percent(share))),
            ];
            format!(" ({})", words.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        Bound::Text(globs) => format!(" (like {})", globs.iter().map(Glob::to_string).collect::<Vec<_>>().join(" or ")),
        Bound::OneOf(values) => format!(" (one of {})", values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// What a recorded effect needed of the rules.
fn asked(used: Used<'_>, own: &str) -> Option<(&'static [Verb], Target)> {
    let verbs: &[Verb] = match used.effect.strip_prefix("kubernetes.")? {
        "get" | "status" | "history" | "way-back" | "events" | "logs" => &[Verb::Get],
        "list" => &[Verb::List],
        "watch" | "wait" => &[Verb::Watch],
        "create" | "exec" | "forward" => &[Verb::Create],
        "apply" => &[Verb::Patch, Verb::Create],
        "patch" | "scale" | "undo" | "restart" | "pause" => &[Verb::Patch],
        "delete" => &[Verb::Delete],
        _ => return None,
    };
    let request: Value = serde_json::from_str(used.request).ok()?;
    Some((verbs, Place::recorded(request.get("target")?, own)?))
}

#[cfg(test)]
mod tests;
