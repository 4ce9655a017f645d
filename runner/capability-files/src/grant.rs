//! `[stage.<name>.grants] files = [...]`: which parts of the workspace a stage and its commands see, and which they may write.

use std::any::Any;
use std::sync::Arc;

use pipeline::diagnostic::Diagnostic;
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, MountRule, Used};
use pipeline::learning::{Learning, Lesson};
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};

use crate::learned;
use crate::path::{Outside, ROOT, lexical, within_any_case};
use crate::used;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Reading too.
    Write,
}

/// A file, or a directory with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRule {
    /// Relative to the workspace, normalised; `.` for all of it.
    pub path: String,
    pub access: Access,
}

/// The decoded grant. The longest matching path decides.
#[derive(Debug)]
pub struct FilesGrant {
    pub rules: Vec<FileRule>,
}

impl Grant for FilesGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        let line = |rule: &FileRule| {
            let verb = match rule.access {
                Access::Read => "read",
                Access::Write => "write",
            };
            let what = if rule.path == ROOT { "the whole workspace" } else { &rule.path };
            Authority { text: format!("{verb} {what}"), alarming: false }
        };
        self.rules.iter().map(line).collect()
    }

    fn mounts(&self) -> Vec<MountRule> {
        self.rules.iter().map(|rule| MountRule { path: rule.path.clone(), writable: rule.access == Access::Write }).collect()
    }

    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        used::unused(&self.rules, used)
    }

    fn removable(&self, lesson: &Lesson<'_>) -> Vec<String> {
        used::removable(&self.rules, lesson)
    }
}

pub struct FilesSchema;

impl GrantSchema for FilesSchema {
    fn name(&self) -> &'static str {
        "files"
    }

    fn summary(&self) -> &'static str {
        "files of the workspace, for reading or writing"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &[]
    }

    fn standard(&self) -> &'static [&'static str] {
        &["wasi:filesystem/"]
    }

    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["path", "access"], "additionalProperties": false,
            "properties": { "path": { "type": "string" }, "access": { "enum": ["read", "write"] } },
        } })
    }

    fn example(&self) -> &'static str {
        r#"files = [{ path = ".", access = "read" }]"#
    }

    fn learning(&self, _: &Learning<'_>) -> Result<Option<String>, String> {
        Ok(Some(learned::WIDE.to_owned()))
    }

    fn learned(&self, lesson: &Lesson<'_>) -> Option<String> {
        learned::learned(lesson)
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let what = format!("`files` of stage `{}`", context.stage);
        let Value::Array(items) = &node.value else {
            let hint = format!("write `{}`", self.example());
            diagnostics.push(wrong_type(&node.span, &what, "an array of tables", &node.value).hint(hint));
            return None;
        };
        if items.is_empty() {
            diagnostics.push(
                Diagnostic::error("empty-grant", node.span.clone(), format!("{what} grants nothing"))
                    .hint("leave the key out, or name what the stage may read or write"),
            );
            return None;
        }
        let mut rules: Vec<Spanned<FileRule>> = Vec::with_capacity(items.len());
        for item in items {
            let Some(rule) = rule(item, &what, diagnostics) else { continue };
            if let Some(earlier) = rules.iter().find(|earlier| earlier.value.path == rule.value.path) {
                diagnostics.push(
                    Diagnostic::error("duplicate-path", rule.span, format!("`{}` is granted twice", rule.value.path))
                        .related(earlier.span.clone(), "first granted here")
                        .hint("keep one of them; `write` includes `read`"),
                );
                continue;
            }
            rules.push(rule);
        }
        Some(Arc::new(FilesGrant { rules: rules.into_iter().map(|rule| rule.value).collect() }))
    }
}

fn rule(node: &Node, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Spanned<FileRule>> {
    let mut table = TableReader::new(node, format!("an entry of {what}"), diagnostics)?;
    let span = table.span();
    table.require("path");
    table.require("access");
    let path = table.string("path");
    let access = table.word("access", &[("read", Access::Read), ("write", Access::Write)]);
    let path = path.and_then(|path| normalised(path, table.diagnostics));
    if let (Some(path), Some(access)) = (&path, &access) {
        protected(path, access, table.diagnostics);
    }
    table.finish();
    Some(Spanned { value: FileRule { path: path?.value, access: access?.value }, span })
}

/// The path with `.` and doubled slashes worked out.
fn normalised(path: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    let text = path.value.as_str();
    let wrong = if text.is_empty() {
        Some(("the path is empty", "write `.` for the whole workspace"))
    } else if text.starts_with('~') || lexical(ROOT, text) == Err(Outside::Absolute) {
        Some((
            "the path is not relative to the workspace",
            "grants open files below the pipeline file's folder only; write `src`, not `/home/me/shop/src`",
        ))
    } else if text.split('/').any(|name| name == "..") {
        Some(("the path holds `..`", "write where it leads; nothing outside of the workspace can be granted"))
    } else if text.contains('*') {
        Some(("the path holds `*`", "a directory covers everything below it: write `src`, not `src/**`"))
    } else if text.contains(['\0', '\\']) {
        Some(("the path holds a character that paths can't hold", "separate names with `/`"))
    } else {
        None
    };
    if let Some((message, hint)) = wrong {
        diagnostics.push(Diagnostic::error("bad-path", path.span, message).hint(hint));
        return None;
    }
    let value = lexical(ROOT, text).ok()?.path;
    Some(Spanned { value, span: path.span })
}

/// What no grant can open.
fn protected(path: &Spanned<String>, access: &Spanned<Access>, diagnostics: &mut Vec<Diagnostic>) {
    if within_any_case(&path.value, ".runner") {
        diagnostics.push(
            Diagnostic::error("protected-path", path.span.clone(), "`.runner` belongs to the runner and no stage sees it")
                .hint("to pass files on, declare them as artifacts of one stage and consume them in another"),
        );
    } else if access.value == Access::Write && within_any_case(&path.value, ".git") {
        diagnostics.push(
            Diagnostic::error("protected-path", access.span.clone(), "`.git` is read-only to every stage")
                .hint("write `access = \"read\"`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Arc<dyn Grant>, String> {
        capability::testing::grant(&FilesSchema, text).map_err(|diagnostics| {
            pipeline::diagnostic::render(&diagnostics, &pipeline::source::Sources::new("pipeline.toml", text), false)
        })
    }

    #[test]
    fn the_example_is_a_grant() {
        decode(FilesSchema.example()).unwrap();
    }

    #[test]
    fn paths_are_normalised_and_become_mounts() {
        let grant = decode(
            r#"files = [{ path = ".", access = "write" }, { path = "./docs//api/", access = "read" }, { path = "src/[id].tsx", access = "read" }]"#,
        )
        .unwrap();
        let rule = |path: &str, writable| MountRule { path: path.into(), writable };
        assert_eq!(grant.mounts(), [rule(".", true), rule("docs/api", false), rule("src/[id].tsx", false)]);
        let lines: Vec<_> = grant.authority().into_iter().map(|a| a.text).collect();
        assert_eq!(lines, ["write the whole workspace", "read docs/api", "read src/[id].tsx"]);
    }

    #[test]
    fn every_mistake_is_shown_at_once() {
        let text = r#"files = [
    { path = "/etc", access = "read" },
    { path = "~/.npm", access = "read" },
    { path = "../shop", access = "read" },
    { path = "src/**", access = "raed" },
    { path = "", access = "read" },
    { path = 7 },
    { path = ".runner/runs", access = "read" },
    { path = ".git/hooks", access = "write" },
    { path = "docs", access = "read", mode = "x" },
    { path = "./docs/", access = "write" },
    "src",
]
"#;
        insta::assert_snapshot!(decode(text).unwrap_err());
    }

    #[test]
    fn the_grant_is_an_array_that_grants_something() {
        let none = decode("files = []\n").unwrap_err();
        let table = decode("files = { path = \"src\", access = \"read\" }\n").unwrap_err();
        insta::assert_snapshot!(none + &table);
    }
}
