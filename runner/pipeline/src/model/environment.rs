//! `[environment.<name>]`: what a stage works on, from which branches, with which values and secrets, and who has to agree before it does.

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::graph::list;
use crate::model::{Pipeline, check_name, entries, on, positive_duration, secret, shown};
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{Approval, Secret};
use crate::scalar::Scalar;

/// People that one stage waits for; more are taken for a mistake.
const MAX_COUNT: i64 = 20;

#[derive(Debug, Clone)]
pub struct Environment {
    pub name: Key,
    pub approval: Option<Approval>,
    /// Globs of the branches that may use it; none: any.
    pub branches: Vec<String>,
    /// `${environment.<name>}`.
    pub vars: Vec<(String, Scalar)>,
    /// They win over the pipeline's own of the same name.
    pub secrets: Vec<(Key, Secret)>,
}

impl Environment {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Environment> {
        let name = shown(&key.name);
        let mut reader = TableReader::new(node, format!("[environment.{name}]"), diagnostics)?;
        let approval = reader.take("approval").and_then(|node| approval(node, &name, reader.diagnostics));
        let branches = on::globs(&mut reader, "branches");
        let mut vars = Vec::new();
        for (key, node) in entries(&mut reader, "vars") {
            check_name(key, "variable", reader.diagnostics);
            match Scalar::of(node) {
                _ if key.name == "name" => reader.diagnostics.push(
                    Diagnostic::error("contradiction", key.span.clone(), "`environment.name` is the environment's own name")
                        .hint("call the variable something else"),
                ),
                Some(Scalar::Text(text)) if text.contains("${") => reader.diagnostics.push(
                    Diagnostic::error("reference-here", node.span.clone(), "references are not replaced in `vars`")
                        .hint("write the value as it is meant"),
                ),
                Some(value) => vars.push((key.name.clone(), value)),
                None => {
                    let what = format!("`vars.{}`", shown(&key.name));
                    reader.diagnostics.push(wrong_type(&node.span, &what, "a string, a number or a boolean", &node.value));
                }
            }
        }
        let mut secrets = Vec::new();
        for (key, node) in entries(&mut reader, "secrets") {
            check_name(key, "secret", reader.diagnostics);
            let what = format!("[environment.{name}.secrets.{}]", shown(&key.name));
            secrets.extend(secret::read(key, node, what, reader.diagnostics));
        }
        reader.finish();
        Some(Environment { name: key.clone(), approval, branches, vars, secrets })
    }
}

/// `true`, or a table with how many and how long.
fn approval(node: &Node, environment: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Approval> {
    let mut approval = Approval { count: 1, timeout: None };
    match &node.value {
        Value::Boolean(wanted) => return wanted.then_some(approval),
        Value::Table(_) => {
            let mut reader = TableReader::new(node, format!("[environment.{environment}.approval]"), diagnostics)?;
            if let Some(count) = reader.integer("count", 1..=MAX_COUNT) {
                approval.count = u32::try_from(count.value).unwrap_or(1);
            }
            approval.timeout = positive_duration(&mut reader, "timeout");
            reader.finish();
        }
        other => diagnostics.push(wrong_type(&node.span, "`approval`", "a boolean or a table", other)),
    }
    Some(approval)
}

impl Pipeline {
    /// The environment that a stage names.
    pub(crate) fn environment(&self, name: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<&Environment> {
        let found = self.environments.iter().find(|environment| environment.name.name == name.value);
        if found.is_none() {
            let names = self.environments.iter().map(|environment| environment.name.name.as_str());
            let hint = match did_you_mean(&name.value, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.environments.is_empty() => "declare it:\n\n[environment.production]\napproval = true".to_owned(),
                None => format!("environments: {}", list(names)),
            };
            let message = format!("there is no environment `{}`", shown(&name.value));
            diagnostics.push(Diagnostic::error("unknown-environment", name.span.clone(), message).hint(hint));
        }
        found
    }
}
