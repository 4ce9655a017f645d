//! One rule: resources, names and verbs, and what a write may change.

use std::collections::BTreeSet;
use std::fmt::Display;

use admission::{Bound, Field, FieldPath, Glob, Kind, ResourcePattern, Rule, Share, Target, Term, Verb};
use pipeline::diagnostic::{Diagnostic, Span};
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};

const SHAPE: &str = "rules = [{ resources = [\"deployments\"], names = [\"api\"], verbs = [\"get\", \"patch\"], fields = { \"spec.replicas\" = { max = 3 } } }]";

/// Every mistake is told; what has one is left out.
pub fn decode_all(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Vec<Rule> {
    let Value::Array(items) = &node.value else {
        diagnostics.push(wrong_type(&node.span, "`rules`", "an array of rules", &node.value).hint(SHAPE));
        return Vec::new();
    };
    if items.is_empty() {
        diagnostics.push(Diagnostic::error("empty", node.span.clone(), "`rules` is empty, so it allows nothing").hint(SHAPE));
    }
    items.iter().filter_map(|item| decode(item, diagnostics)).collect()
}

fn decode(item: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Rule> {
    let mut reader = TableReader::new(item, "a rule of `rules`", diagnostics)?;
    let namespaces = list(&mut reader, "namespaces", Glob::parse, "bad-pattern", "such as \"shop\" or \"shop-*\"");
    // told of already if they are missing
    reader.require("resources");
    let hint = "such as \"deployments\", \"deployments/scale\" or \"httproutes.gateway.networking.k8s.io\"";
    let resources = list(&mut reader, "resources", ResourcePattern::parse, "bad-resource", hint).unwrap_or_default();
    let names = list(&mut reader, "names", Glob::parse, "bad-pattern", "such as \"api\" or \"api-*\"");
    reader.require("verbs");
    let hint = "an apply is `patch`, and `create` where it makes the object; a scale is `patch`; an exec is `create` on pods/exec";
    let verbs: BTreeSet<Verb> = list(&mut reader, "verbs", Verb::parse, "bad-verb", hint).unwrap_or_default().into_iter().collect();
    let fields = reader.take("fields").and_then(|node| fields(node, reader.diagnostics));
    let shares = reader.take("shares").map(|node| shares(node, reader.diagnostics)).unwrap_or_default();
    let copy_of = reader.string("copy-of").and_then(|name| object_name(name, reader.diagnostics));
    reader.finish();
    Some(Rule { namespaces, resources, names, verbs, fields, shares, copy_of })
}

fn list<T, E: Display>(
    reader: &mut TableReader<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    code: &'static str,
    hint: &str,
) -> Option<Vec<T>> {
    let texts = reader.strings(key)?;
    if texts.is_empty() {
        let span = reader.key(key).unwrap_or_else(|| reader.span());
        let message = format!("`{key}` is empty, so the rule allows nothing");
        reader.diagnostics.push(Diagnostic::error("empty", span, message).hint(hint));
    }
    let parsed = texts.into_iter().filter_map(|text| match parse(&text.value) {
        Ok(parsed) => Some(parsed),
        Err(mistake) => {
            reader.diagnostics.push(Diagnostic::error(code, text.span, mistake.to_string()).hint(hint));
            None
        }
    });
    Some(parsed.collect())
}

fn fields(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Field>> {
    let Value::Table(table) = &node.value else {
        let hint = "fields = { \"spec.replicas\" = { max = 3 } }";
        diagnostics.push(wrong_type(&node.span, "`fields`", "a table of paths", &node.value).hint(hint));
        return None;
    };
    if table.entries.is_empty() {
        let hint = "name the fields that a write may change, or leave the writing verbs out";
        diagnostics.push(Diagnostic::error("empty", node.span.clone(), "`fields` is empty, so no write is allowed").hint(hint));
    }
    let decoded = table.entries.iter().filter_map(|(key, node)| {
        let path = match FieldPath::parse(&key.name) {
            Ok(path) => path,
            Err(mistake) => {
                diagnostics.push(Diagnostic::error("bad-path", key.span.clone(), mistake.to_string()).hint(QUOTED));
                return None;
            }
        };
        let bound = bound(node, &key.name, diagnostics)?;
        match Field::new(path, bound) {
            Ok(field) => Some(field),
            Err(mistake) => {
                diagnostics.push(Diagnostic::error("bad-field", key.span.clone(), mistake.to_string()).hint(QUOTED));
                None
            }
        }
    });
    Some(decoded.collect())
}

const QUOTED: &str = "a path stands in quotes: \"spec.template.spec.containers[name=api].image\"";

fn bound(node: &Node, path: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Bound> {
    if let Value::Table(table) = &node.value
        && let [(key, below)] = table.entries.as_slice()
        && matches!(below.value, Value::Table(_))
    {
        let message = format!("the bound of `{path}` has no key `{}`", key.name);
        diagnostics.push(Diagnostic::error("unknown-key", key.span.clone(), message).hint(QUOTED));
        return None;
    }
    let mut reader = TableReader::new(node, format!("the bound of `{path}`"), diagnostics)?;
    let (min, max, share) = (number(&mut reader, "min"), number(&mut reader, "max"), number(&mut reader, "share"));
    let like = match reader.take("like").map(|node| (node, &node.value)) {
        Some((node, Value::String(_))) => reader.expect_string(node, "like").map(|text| vec![text]),
        Some(_) => reader.strings("like"),
        None => None,
    };
    let like: Option<Vec<Glob>> = like.map(|texts| patterns(texts, reader.diagnostics));
    let is = reader.take("is").and_then(|node| values(node, reader.diagnostics));
    let span = reader.span();
    let (before, numeric) = (reader.diagnostics.len(), min.is_some() || max.is_some() || share.is_some());
    reader.finish();
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        diagnostics.push(Diagnostic::error("out-of-range", min.span.clone(), "`min` is more than `max`, so no value fits"));
    }
    if let Some(share) = share.as_ref().filter(|share| !(0.0..=1.0).contains(&share.value)) {
        let diagnostic = Diagnostic::error("out-of-range", share.span.clone(), "`share` must be from 0 to 1");
        diagnostics.push(diagnostic.hint("10 % are 0.1"));
    }
    if [numeric, like.is_some(), is.is_some()].into_iter().filter(|set| *set).count() > 1 {
        let message = format!("the bound of `{path}` is for a number, a text and a list of values at once");
        let hint = "write `min`, `max` and `share` for a number, `like` for a text, or `is` for a few values";
        diagnostics.push(Diagnostic::error("bad-bound", span, message).hint(hint));
    }
    if diagnostics.len() > before {
        return None;
    }
    Some(match (like, is) {
        (Some(globs), _) => Bound::Text(globs),
        (_, Some(values)) => Bound::OneOf(values),
        _ if numeric => {
            Bound::Number { min: min.map(|min| min.value), max: max.map(|max| max.value), share: share.map(|share| share.value) }
        }
        _ => Bound::Any,
    })
}

fn patterns(texts: Vec<Spanned<String>>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Glob> {
    let parsed = texts.into_iter().filter_map(|text| match Glob::parse(&text.value) {
        Ok(glob) => Some(glob),
        Err(mistake) => {
            diagnostics
                .push(Diagnostic::error("bad-pattern", text.span, mistake.to_string()).hint("such as \"ghcr.io/acme/shop@sha256:*\""));
            None
        }
    });
    parsed.collect()
}

fn number(reader: &mut TableReader<'_>, key: &'static str) -> Option<Spanned<f64>> {
    let node = reader.take(key)?;
    let value = match &node.value {
        // as exactly as a cluster compares it
        Value::Integer(number) if number.unsigned_abs() <= 1 << 53 => *number as f64,
        Value::Float(number) if number.is_finite() => *number,
        other => {
            reader.diagnostics.push(wrong_type(&node.span, &format!("`{key}`"), "a number", other));
            return None;
        }
    };
    Some(Spanned { value, span: node.span.clone() })
}

fn values(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<serde_json::Value>> {
    let Value::Array(items) = &node.value else {
        diagnostics.push(wrong_type(&node.span, "`is`", "an array of values", &node.value).hint("is = [true], is = [\"a\", \"b\"]"));
        return None;
    };
    if items.is_empty() {
        diagnostics.push(Diagnostic::error("empty", node.span.clone(), "`is` is empty, so no value fits"));
    }
    let plain = items.iter().filter_map(|item| match &item.value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Integer(number) => Some((*number).into()),
        Value::Float(number) => serde_json::Number::from_f64(*number).map(Into::into),
        Value::Boolean(set) => Some((*set).into()),
        other => {
            diagnostics.push(wrong_type(&item.span, "an entry of `is`", "a text, a number or a boolean", other));
            None
        }
    });
    Some(plain.collect())
}

fn shares(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Vec<Share> {
    let Value::Array(items) = &node.value else {
        diagnostics.push(wrong_type(&node.span, "`shares`", "an array of shares", &node.value).hint(SHARE));
        return Vec::new();
    };
    items.iter().filter_map(|item| share(item, diagnostics)).collect()
}

const SHARE: &str =
    "shares = [{ part = [\"api-canary:spec.replicas\"], whole = [\"api:spec.replicas\", \"api-canary:spec.replicas\"], max = 0.25 }]";

fn share(item: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Share> {
    let mut reader = TableReader::new(item, "an entry of `shares`", diagnostics)?;
    reader.require("part");
    reader.require("whole");
    reader.require("max");
    let part = list(&mut reader, "part", term, "bad-term", SHARE);
    let whole = list(&mut reader, "whole", term, "bad-term", SHARE);
    let max = number(&mut reader, "max");
    if let Some(max) = max.as_ref().filter(|max| !(0.0..=1.0).contains(&max.value)) {
        reader.diagnostics.push(Diagnostic::error("out-of-range", max.span.clone(), "`max` must be from 0 to 1").hint("25 % are 0.25"));
    }
    reader.finish();
    Some(Share { part: part?, whole: whole?, max: max?.value })
}

/// `api:spec.replicas`
fn term(text: &str) -> Result<Term, String> {
    let (name, path) = text.split_once(':').ok_or_else(|| {
        format!("`{}` is no number of an object: write its name, a colon and the path, as in api:spec.replicas", text.escape_debug())
    })?;
    named(name)?;
    let path = FieldPath::parse(path).map_err(|mistake| mistake.to_string())?;
    Ok(Term { name: name.to_owned(), path })
}

fn named(name: &str) -> Result<(), String> {
    let pods = Kind::new("", "v1", "pods");
    pods.and_then(|pods| Target::one(pods, None, name)).map(drop).map_err(|mistake| mistake.to_string())
}

fn object_name(name: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let span: Span = name.span;
    match named(&name.value) {
        Ok(()) => Some(name.value),
        Err(mistake) => {
            diagnostics.push(Diagnostic::error("bad-name", span, mistake).hint("the name of one object, without patterns"));
            None
        }
    }
}
