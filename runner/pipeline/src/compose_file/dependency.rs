//! `depends_on`: which services have to be there first, and how far.

use crate::diagnostic::Diagnostic;
use crate::node::Spanned;

use super::reader::{Map, scalar, wrong};
use super::yaml::{Value, Yaml};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Started,
    Healthy,
    Completed,
}

#[derive(Debug, Clone)]
pub(super) struct Dependency {
    pub name: Spanned<String>,
    pub condition: Condition,
    pub required: bool,
}

pub(super) fn read(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Dependency> {
    let plain = |name| Dependency { name, condition: Condition::Started, required: true };
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| scalar(item, what, diagnostics)).map(plain).collect(),
        Value::Map(entries) => {
            let mut found = Vec::with_capacity(entries.len());
            for (key, node) in entries {
                let name = Spanned { value: key.name.clone(), span: key.span.clone() };
                let Some(mut map) = Map::new(node, format!("{what}.{}", key.name), diagnostics) else { continue };
                let condition = map.text("condition").map(|(_, text)| text);
                let required = map.boolean("required").is_none_or(|(_, flag)| flag.value);
                // nothing here is started again while a stage runs
                map.boolean("restart");
                map.finish();
                let condition = match condition.as_ref().map(|text| text.value.as_str()) {
                    None | Some("service_started") => Condition::Started,
                    Some("service_healthy") => Condition::Healthy,
                    Some("service_completed_successfully") => Condition::Completed,
                    Some(_) => {
                        let span = condition.map_or(node.span.clone(), |text| text.span);
                        diagnostics.push(
                            Diagnostic::error("unknown-word", span, "there is no such condition")
                                .hint("one of service_started, service_healthy, service_completed_successfully"),
                        );
                        continue;
                    }
                };
                found.push(Dependency { name, condition, required });
            }
            found
        }
        Value::Null => Vec::new(),
        Value::Scalar { .. } => {
            diagnostics.push(wrong(node, what, "a list of services, or a mapping"));
            Vec::new()
        }
    }
}
