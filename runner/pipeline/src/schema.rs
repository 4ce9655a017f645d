//! Settings against the plugin's JSON Schema: the validator's errors, told in terms of the file.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::graph::list;
use crate::model::shown;
use crate::node::{Key, Node, Value};
use crate::settings::{Settings, escape};

pub(crate) struct Check<'a> {
    pub validator: &'a Validator,
    pub schema: &'a Json,
    /// The `with` table; none if the stage has none.
    pub with: Option<&'a Node>,
    /// Where the stage's name stands, for what is missing as a whole.
    pub stage: Span,
    pub plugin: &'a str,
}

impl<'a> Check<'a> {
    /// The settings as the plugin gets them. Mistakes are pushed; what depends on values that are not there yet is not looked at.
    pub fn settings(&self, settings: Settings, diagnostics: &mut Vec<Diagnostic>) -> Option<Json> {
        let Settings { json, late, typed, .. } = settings;
        let errors = self.errors(&json, &late);
        if errors.is_empty() {
            return Some(json);
        }
        // A reference alone in a string may mean a number: first where the schema complains, then everywhere.
        let blamed: BTreeSet<&str> = errors.iter().map(|error| error.instance_path().as_str()).collect();
        let there: Vec<_> = typed.iter().filter(|(pointer, _)| blamed.contains(pointer.as_str())).cloned().collect();
        let mut best = json.clone();
        replace(&mut best, &there);
        let remaining = self.errors(&best, &late);
        if remaining.is_empty() {
            drop(remaining);
            return Some(best);
        }
        if there.len() < typed.len() {
            let mut all = json.clone();
            replace(&mut all, &typed);
            if self.errors(&all, &late).is_empty() {
                return Some(all);
            }
        }
        for error in &remaining {
            if !misspelt(error, &remaining) {
                self.report(error, diagnostics, 0);
            }
        }
        None
    }

    fn errors<'i>(&self, json: &'i Json, late: &[String]) -> Vec<ValidationError<'i>>
    where
        'a: 'i,
    {
        self.validator.iter_errors(json).filter(|error| !waits(error, late)).collect()
    }

    fn report(&self, error: &ValidationError<'_>, diagnostics: &mut Vec<Diagnostic>, depth: usize) {
        let pointer = error.instance_path().as_str();
        let (node, _) = self.find(pointer);
        let span = node.map_or(self.stage.clone(), |node| node.span.clone());
        let what = self.name(pointer);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    diagnostics.push(self.unknown(error, pointer, name, span.clone()));
                }
            }
            Kind::Required { property } => {
                let property = property.as_str().unwrap_or_default();
                diagnostics.push(
                    Diagnostic::error("missing-setting", span, format!("{what} has no `{}`", shown(property)))
                        .hint(self.describe(error, property).unwrap_or_else(|| format!("add `{property} = …`"))),
                );
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } if depth < 8 => {
                self.alternatives(context, pointer, span, diagnostics, depth)
            }
            kind => {
                let (message, hint) = self.plain(kind, error, &what);
                let mut diagnostic = Diagnostic::error("bad-setting", span, message);
                diagnostic.hint = hint;
                if let (Kind::Type { .. }, Some(node)) = (kind, node) {
                    diagnostic.label = format!("this is {}", node.value.kind());
                }
                diagnostics.push(diagnostic);
            }
        }
    }

    fn unknown(&self, error: &ValidationError<'_>, pointer: &str, name: &str, span: Span) -> Diagnostic {
        let (_, key) = self.find(&format!("{pointer}/{}", escape(name)));
        let span = key.map_or(span, |key| key.span.clone());
        let known = self.properties(error);
        let mut diagnostic =
            Diagnostic::error("unknown-setting", span, format!("{} has no setting `{}`", self.owner(pointer), shown(name)));
        diagnostic.hint = Some(match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove it".into(),
            None => format!("settings: {}", list(known.iter().map(String::as_str))),
        });
        diagnostic
    }

    /// The keys that the schema knows where an `additionalProperties` or `required` failed.
    fn properties(&self, error: &ValidationError<'_>) -> Vec<String> {
        let parent = error.schema_path().as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
        let found = self.schema.pointer(&format!("{parent}/properties")).and_then(Json::as_object);
        found.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
    }

    fn describe(&self, error: &ValidationError<'_>, property: &str) -> Option<String> {
        let parent = error.schema_path().as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
        let text = self.schema.pointer(&format!("{parent}/properties/{}/description", escape(property)))?.as_str()?;
        let first = text.lines().next()?.trim();
        (!first.is_empty()).then(|| format!("add `{property} = …`: {first}"))
    }

    /// No alternative fits: the one that was most probably meant is looked at; failing that, what each would want.
    fn alternatives(
        &self,
        context: &[Vec<ValidationError<'static>>],
        pointer: &str,
        span: Span,
        diagnostics: &mut Vec<Diagnostic>,
        depth: usize,
    ) {
        let (what, base) = (self.name(pointer), pointer.len());
        let at_root = |error: &ValidationError<'_>| error.instance_path().as_str().len() == base;
        let wrong_kind =
            |branch: &Vec<ValidationError<'static>>| branch.iter().any(|e| at_root(e) && matches!(e.kind(), Kind::Type { .. }));
        let wrong_tag =
            |branch: &Vec<ValidationError<'static>>| branch.iter().any(|e| !at_root(e) && matches!(e.kind(), Kind::Constant { .. }));
        let likely: Vec<&Vec<ValidationError<'static>>> =
            context.iter().filter(|branch| !wrong_kind(branch) && !wrong_tag(branch)).collect();
        if let [branch] = likely[..] {
            self.branch(branch, diagnostics, depth);
            return;
        }
        if let Some(diagnostic) = self.same_place(context) {
            diagnostics.push(diagnostic);
            return;
        }
        if let Some(diagnostic) = self.one_of_these(context, span.clone()) {
            diagnostics.push(diagnostic);
            return;
        }
        // The one that fits furthest, and of those the one that fits best.
        let depth_of = |branch: &[ValidationError<'static>]| branch.iter().map(|e| e.instance_path().as_str().len()).max().unwrap_or(base);
        let deepest = likely.iter().map(|branch| depth_of(branch)).max().unwrap_or(base);
        let mut nearest: Vec<_> = likely.iter().copied().filter(|branch| deepest > base && depth_of(branch) == deepest).collect();
        let fewest = nearest.iter().map(|branch| branch.len()).min().unwrap_or(0);
        nearest.retain(|branch| branch.len() == fewest);
        if let [branch] = nearest[..] {
            self.branch(branch, diagnostics, depth);
            return;
        }
        let lacks = |branch: &[ValidationError<'static>], name: &Json| {
            branch.iter().any(|e| at_root(e) && matches!(e.kind(), Kind::Required { property } if property == name))
        };
        let first = context.first().into_iter().flatten();
        let common = first.filter_map(|e| if let Kind::Required { property } = e.kind() { Some(property) } else { None });
        if let Some(Json::String(name)) = common.into_iter().find(|name| context.iter().all(|branch| lacks(branch, name))) {
            let message = format!("{what} has no `{}`", shown(name));
            diagnostics.push(Diagnostic::error("missing-setting", span, message).hint(format!("add `{name} = …`")));
            return;
        }
        let mut wanted: Vec<String> = Vec::new();
        for error in context.iter().filter_map(|branch| branch.first()).take(6) {
            let pointer = error.instance_path().as_str();
            let line = match error.kind() {
                Kind::Required { property } => format!("{} with `{}`", self.name(pointer), property.as_str().unwrap_or_default()),
                Kind::AdditionalProperties { unexpected } => format!("{} without `{}`", self.name(pointer), unexpected.join("`, `")),
                kind => self.plain(kind, error, &self.name(pointer)).0,
            };
            if !wanted.contains(&line) {
                wanted.push(line);
            }
        }
        diagnostics.push(match &wanted[..] {
            [only] => Diagnostic::error("bad-setting", span, only.clone()),
            _ => Diagnostic::error("bad-setting", span, format!("{what} has none of its allowed forms")).hint(wanted.join("; or ")),
        });
    }

    /// All alternatives lack nothing but a key.
    fn one_of_these(&self, context: &[Vec<ValidationError<'static>>], span: Span) -> Option<Diagnostic> {
        let pointer = context.first()?.first()?.instance_path().as_str();
        let missing: Vec<String> = context.iter().map(|branch| only_missing(branch)).collect::<Option<_>>()?;
        let names: Vec<String> = missing.iter().map(|name| format!("`{}`", shown(name))).collect();
        Some(
            Diagnostic::error("missing-setting", span, format!("{} needs {}", self.owner(pointer), or(&names)))
                .hint(format!("add `{} = …`", missing[0])),
        )
    }

    /// The keys that alternatives ask for and that are there, of which only one may be.
    fn exclusive(&self, error: &ValidationError<'_>) -> Vec<String> {
        let alternatives = self.schema.pointer(error.schema_path().as_str()).and_then(Json::as_array);
        let required = alternatives.into_iter().flatten().filter_map(|schema| schema.get("required")?.as_array());
        let names = required.flatten().filter_map(Json::as_str);
        let mut there: Vec<String> =
            names.filter(|name| error.instance().get(name).is_some()).map(|name| format!("`{}`", shown(name))).collect();
        there.dedup();
        there
    }

    fn branch(&self, errors: &[ValidationError<'static>], diagnostics: &mut Vec<Diagnostic>, depth: usize) {
        for error in errors.iter().filter(|error| !misspelt(error, errors)) {
            self.report(error, diagnostics, depth + 1);
        }
    }

    /// All alternatives complain about the same value, each wanting another type or another word: one sentence says it.
    fn same_place(&self, context: &[Vec<ValidationError<'static>>]) -> Option<Diagnostic> {
        let errors: Vec<&ValidationError<'static>> = context
            .iter()
            .map(|branch| branch.iter().find(|e| matches!(e.kind(), Kind::Constant { .. } | Kind::Enum { .. } | Kind::Type { .. })))
            .collect::<Option<_>>()?;
        let pointer = errors.first()?.instance_path().as_str();
        if errors.iter().any(|error| error.instance_path().as_str() != pointer) {
            return None;
        }
        let node = self.find(pointer).0;
        let span = node.map_or(self.stage.clone(), |node| node.span.clone());
        let what = self.name(pointer);
        let mut words: Vec<String> = Vec::new();
        let mut kinds: Vec<String> = Vec::new();
        for error in errors {
            match error.kind() {
                Kind::Constant { expected_value } => words.push(json_word(expected_value)),
                Kind::Enum { options } => words.extend(options.as_array().into_iter().flatten().map(json_word)),
                Kind::Type { kind } => kinds.extend(types(kind)),
                _ => return None,
            }
        }
        kinds.dedup();
        if let Some(Node { value: Value::String(text), .. }) = node
            && !words.is_empty()
        {
            let hint = suggest_word(text, &words);
            return Some(Diagnostic::error("bad-setting", span, format!("{what} can't be \"{}\"", shown(text))).hint(hint));
        }
        kinds.extend((!words.is_empty()).then(|| format!("one of {}", words.join(", "))));
        let label = node.map(|node| format!("this is {}", node.value.kind())).unwrap_or_default();
        Some(Diagnostic::error("bad-setting", span, format!("{what} must be {}", or(&kinds))).label(label))
    }

    /// Kinds of errors that are one sentence.
    fn plain(&self, kind: &Kind, error: &ValidationError<'_>, what: &str) -> (String, Option<String>) {
        let hint = |text: &str| Some(text.to_owned());
        match kind {
            Kind::Type { kind } => (format!("{what} must be {}", or(&types(kind))), None),
            Kind::Enum { options } => {
                let words: Vec<String> = options.as_array().into_iter().flatten().map(json_word).collect();
                match error.instance().as_str() {
                    Some(text) => (format!("{what} can't be \"{}\"", shown(text)), Some(suggest_word(text, &words))),
                    None => (format!("{what} must be one of {}", words.join(", ")), None),
                }
            }
            Kind::Constant { expected_value } => (format!("{what} must be {}", json_word(expected_value)), None),
            Kind::Minimum { limit } => (format!("{what} must be at least {limit}"), None),
            Kind::Maximum { limit } => (format!("{what} must be at most {limit}"), None),
            Kind::ExclusiveMinimum { limit } => (format!("{what} must be more than {limit}"), None),
            Kind::ExclusiveMaximum { limit } => (format!("{what} must be less than {limit}"), None),
            Kind::MultipleOf { multiple_of } => (format!("{what} must be a multiple of {multiple_of}"), None),
            Kind::MinLength { limit: 1 } => (format!("{what} is empty"), None),
            Kind::MinLength { limit } => (format!("{what} needs at least {limit} characters"), None),
            Kind::MaxLength { limit } => (format!("{what} has more than {limit} characters"), None),
            Kind::MinItems { limit: 1 } => (format!("{what} is empty"), hint("it needs at least one entry")),
            Kind::MinItems { limit } => (format!("{what} needs at least {limit} entries"), None),
            Kind::MaxItems { limit } => (format!("{what} has more than {limit} entries"), None),
            Kind::AdditionalItems { limit } => (format!("{what} has more than {limit} entries"), None),
            Kind::MinProperties { limit } => (format!("{what} needs at least {limit} keys"), None),
            Kind::MaxProperties { limit } => (format!("{what} has more than {limit} keys"), None),
            Kind::UniqueItems => (format!("{what} holds the same entry twice"), hint("remove one of them")),
            Kind::Pattern { pattern } => {
                (format!("{what} does not have the form that is asked for"), Some(format!("it must match {pattern}")))
            }
            Kind::Format { format } => (format!("{what} is not a valid {format}"), None),
            Kind::OneOfMultipleValid { .. } => match self.exclusive(error) {
                keys if keys.len() > 1 => (format!("{what} can't have {} together", and(&keys)), hint("keep one of them")),
                _ => (format!("{what} has two forms at once that exclude each other"), hint("keep one of them")),
            },
            Kind::PropertyNames { error } => (format!("{what} has a key that can't be one: {}", error.masked()), None),
            Kind::FalseSchema => (format!("{what} can't be set here"), hint("remove it")),
            _ => (format!("{what}: {}", error.masked()), None),
        }
    }

    /// `with.suites[0].run`
    fn name(&self, pointer: &str) -> String {
        format!("`{}`", path(pointer))
    }

    fn owner(&self, pointer: &str) -> String {
        if pointer.is_empty() { format!("the plugin `{}`", shown(self.plugin)) } else { self.name(pointer) }
    }

    /// The value in the file at a JSON pointer, or the nearest above it, and the key in front of it.
    fn find(&self, pointer: &str) -> (Option<&Node>, Option<&Key>) {
        let Some(mut node) = self.with else { return (None, None) };
        let mut key = None;
        for segment in segments(pointer) {
            let next = match &node.value {
                Value::Table(table) => table.entries.iter().find(|(k, _)| k.name == segment).map(|(k, v)| (v, Some(k))),
                Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)).map(|v| (v, None)),
                _ => None,
            };
            let Some((value, at)) = next else { return (Some(node), None) };
            (node, key) = (value, at);
        }
        (Some(node), key)
    }
}

fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

fn path(pointer: &str) -> String {
    let mut path = String::from("with");
    for segment in segments(pointer) {
        if segment.bytes().all(|b| b.is_ascii_digit()) && !segment.is_empty() {
            path.push_str(&format!("[{segment}]"));
        } else {
            path.push('.');
            path.push_str(&shown(&segment));
        }
    }
    path
}

fn replace(json: &mut Json, values: &[(String, Json)]) {
    for (pointer, value) in values {
        if let Some(place) = json.pointer_mut(pointer) {
            *place = value.clone();
        }
    }
}

/// What a branch lacks, if that is its only mistake.
fn only_missing(branch: &[ValidationError<'_>]) -> Option<String> {
    match branch {
        [error] => match error.kind() {
            Kind::Required { property: Json::String(property) } => Some(property.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Something required is missing only because its name is misspelt, which another error tells.
fn misspelt(error: &ValidationError<'_>, all: &[ValidationError<'_>]) -> bool {
    let missing: Vec<String> = match error.kind() {
        Kind::Required { property: Json::String(property) } => vec![property.clone()],
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => context.iter().filter_map(|branch| only_missing(branch)).collect(),
        _ => return false,
    };
    all.iter().any(|other| {
        other.instance_path() == error.instance_path()
            && match other.kind() {
                Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                    unexpected.iter().any(|name| did_you_mean(name, missing.iter().map(String::as_str)).is_some())
                }
                _ => false,
            }
    })
}

/// The error depends on a value that is not there yet.
fn waits(error: &ValidationError<'_>, late: &[String]) -> bool {
    let pointer = error.instance_path().as_str();
    if late.iter().any(|l| l == pointer) {
        let scalar = [JsonType::String, JsonType::Integer, JsonType::Number, JsonType::Boolean];
        return match error.kind() {
            Kind::Type { kind: TypeKind::Single(kind) } => scalar.contains(kind),
            Kind::Type { kind: TypeKind::Multiple(kinds) } => kinds.iter().any(|kind| scalar.contains(&kind)),
            _ => true,
        };
    }
    let above = late.iter().any(|l| l.strip_prefix(pointer).is_some_and(|rest| rest.starts_with('/')));
    above
        && matches!(
            error.kind(),
            Kind::AnyOf { .. }
                | Kind::OneOfNotValid { .. }
                | Kind::OneOfMultipleValid { .. }
                | Kind::Not { .. }
                | Kind::Contains
                | Kind::UniqueItems
                | Kind::Constant { .. }
                | Kind::Enum { .. }
        )
}

fn types(kind: &TypeKind) -> Vec<String> {
    let word = |kind: JsonType| {
        match kind {
            JsonType::Null => "nothing",
            JsonType::Boolean => "a boolean",
            JsonType::Integer => "an integer",
            JsonType::Number => "a number",
            JsonType::String => "a string",
            JsonType::Array => "an array",
            JsonType::Object => "a table",
        }
        .to_owned()
    };
    match kind {
        TypeKind::Single(kind) => vec![word(*kind)],
        // TOML has no null: that a setting may be left out is no advice to somebody who has set it.
        TypeKind::Multiple(kinds) => kinds.iter().filter(|kind| *kind != JsonType::Null).map(word).collect(),
    }
}

fn or(words: &[String]) -> String {
    joined(words, "or").unwrap_or_else(|| "something else".into())
}

fn and(words: &[String]) -> String {
    joined(words, "and").unwrap_or_default()
}

fn joined(words: &[String], last_word: &str) -> Option<String> {
    match words {
        [] => None,
        [word] => Some(word.clone()),
        [first @ .., last] => Some(format!("{} {last_word} {last}", first.join(", "))),
    }
}

fn json_word(value: &Json) -> String {
    match value {
        Json::String(text) => format!("\"{}\"", shown(text)),
        other => other.to_string(),
    }
}

fn suggest_word(text: &str, words: &[String]) -> String {
    match did_you_mean(text, words.iter().map(|word| word.trim_matches('"'))) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", words.join(", ")),
    }
}
