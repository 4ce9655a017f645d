//! Which rules of a grant a stage needed, told from the effects that were granted to it.
//!
//! A path counts as it was asked for: what a symbolic link led to is not told apart from where it stood, so a rule that only a link
//! leads to is shown as unused. What the stage's programs did with the files is in no record; only a learning run saw it. Deliberately absent: what
//! they looked at without opening it, which nobody sees.

use pipeline::grant::Used;
use pipeline::learning::{Lesson, Touched};
use serde_json::Value;

use crate::grant::{Access, FileRule};
use crate::path::{lexical, within};

/// What of these rules could go.
pub fn unused(rules: &[FileRule], used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
    asked(used).map(|asked| left(rules, asked.iter().map(|(path, writes)| (path.as_str(), *writes)))).unwrap_or_default()
}

/// What of these rules could go after a learning run.
pub fn removable(rules: &[FileRule], lesson: &Lesson<'_>) -> Vec<String> {
    let Some(asked) = asked(&mut lesson.used.iter().copied()) else { return Vec::new() };
    let Touched { read, listed, changed, made, removed, reads_unknown, .. } = lesson.touched;
    let programs = lesson.started_programs();
    if programs && *reads_unknown {
        return Vec::new();
    }
    let asked = asked.iter().map(|(path, writes)| (path.as_str(), *writes));
    let reads = read.iter().chain(listed).map(|path| (path.as_str(), false));
    let writes = changed.iter().chain(made).chain(removed).map(|path| (path.as_str(), true));
    // what is below something new or gone is not named
    let below = made.iter().chain(removed).flat_map(|path| rules.iter().filter(move |rule| within(&rule.path, path)));
    let of_programs = reads.chain(writes).chain(below.map(|rule| (rule.path.as_str(), true)));
    left(rules, asked.chain(of_programs.filter(|_| programs)))
}

/// The paths that the stage itself asked for, and whether to write; none if one of its effects can't be read, which may have been anything.
fn asked(used: &mut dyn Iterator<Item = Used<'_>>) -> Option<Vec<(String, bool)>> {
    let mut asked = Vec::new();
    for used in used.filter(|used| used.effect.starts_with("files.")) {
        let request = serde_json::from_str::<Value>(used.request).ok()?;
        let writes = writes(used.effect, &request);
        asked.extend(["target", "from", "to", "file"].iter().filter_map(|key| path(request.get(key)?)).map(|path| (path, writes)));
    }
    Some(asked)
}

/// The rules that none of these paths, read or written, needed.
fn left<'a>(rules: &[FileRule], used: impl Iterator<Item = (&'a str, bool)>) -> Vec<String> {
    let (mut read, mut written) = (vec![false; rules.len()], vec![false; rules.len()]);
    for (path, writes) in used {
        let covering = rules.iter().enumerate().filter(|(_, rule)| within(path, &rule.path));
        if let Some((rule, _)) = covering.max_by_key(|(_, rule)| if rule.path == crate::path::ROOT { 0 } else { rule.path.len() }) {
            read[rule] = true;
            written[rule] |= writes;
        }
    }
    let mut unused = Vec::new();
    for ((rule, read), written) in rules.iter().zip(read).zip(written) {
        let access = if rule.access == Access::Write { "write" } else { "read" };
        let toml = |access: &str| format!("{{ path = {}, access = \"{access}\" }}", capability::denial::toml_string(&rule.path));
        if !read {
            // a narrower rule takes rights away from a wider one: without it there would be more, not less
            let narrows = rules.iter().any(|wider| wider.path != rule.path && within(&rule.path, &wider.path));
            if !(narrows && rule.access == Access::Read) {
                unused.push(format!("{}: nothing there was used", toml(access)));
            }
        } else if rule.access == Access::Write && !written {
            unused.push(format!("{}: never written; {} is enough", toml(access), toml("read")));
        }
    }
    unused
}

/// Whether an effect needs more than reading.
pub fn writes(effect: &str, request: &Value) -> bool {
    let flag = |name: &str| request["operation"][name].as_bool().unwrap_or(false);
    match effect {
        "files.open" => ["write", "create", "truncate", "mutate"].into_iter().any(flag),
        "files.stat" | "files.fingerprint" | "files.read-link" | "files.list" | "files.sync" => false,
        _ => true,
    }
}

/// The path in the workspace that a part of a request names: a target with its base, or something open.
pub fn path(part: &Value) -> Option<String> {
    let base = part.get("base").unwrap_or(part);
    if base["mount"] != "workspace" {
        return None;
    }
    let from = base["path"].as_str()?;
    match part.get("base") {
        Some(_) => Some(lexical(from, part["path"].as_str()?).ok()?.path),
        None => Some(from.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(rules: &[(&str, Access)]) -> Vec<FileRule> {
        rules.iter().map(|(path, access)| FileRule { path: (*path).to_owned(), access: *access }).collect()
    }

    fn at(base: &str, path: &str, operation: Value) -> Value {
        let base = json!({ "mount": "workspace", "handle": 3, "path": base, "mutable": true });
        json!({ "target": { "base": base, "path": path, "follow": true }, "operation": operation })
    }

    fn told(of: &[(&str, Access)], used: &[(&str, Value)]) -> Vec<String> {
        let requests: Vec<(&str, String)> = used.iter().map(|(effect, request)| (*effect, request.to_string())).collect();
        let mut used = requests.iter().map(|(effect, request)| Used { effect, subject: "", request });
        unused(&rules(of), &mut used)
    }

    #[test]
    fn the_longest_rule_is_the_one_that_was_used() {
        let granted = [(".", Access::Read), ("docs", Access::Write), ("docs/api", Access::Write), ("target", Access::Write)];
        let used = [
            ("files.open", at(".", "src/main.rs", json!({ "read": true, "write": false }))),
            ("files.open", at("docs", "x/../guide.md", json!({ "read": true, "write": false }))),
            ("files.make-directory", at("docs", "api/v1", json!(null))),
        ];
        assert_eq!(
            told(&granted, &used),
            [
                "{ path = \"docs\", access = \"write\" }: never written; { path = \"docs\", access = \"read\" } is enough",
                "{ path = \"target\", access = \"write\" }: nothing there was used",
            ]
        );
    }

    #[test]
    fn a_rule_that_takes_rights_away_is_not_told_to_go() {
        let granted = [(".", Access::Write), ("docs", Access::Read)];
        assert_eq!(told(&granted, &[("files.open", at(".", "x", json!({ "write": true })))]), [""; 0]);
    }

    #[test]
    fn both_ends_of_a_rename_count_and_scratch_does_not() {
        let granted = [("a", Access::Write), ("b", Access::Write), ("c", Access::Read)];
        let base = json!({ "mount": "workspace", "handle": 3, "path": ".", "mutable": true });
        let rename = json!({ "from": { "base": base, "path": "a/x" }, "to": { "base": base, "path": "b/x" }, "operation": null });
        let scratch = json!({ "file": { "mount": "scratch", "handle": 4, "path": "c" } });
        let found = told(&granted, &[("files.rename", rename), ("files.write", scratch)]);
        assert_eq!(found, ["{ path = \"c\", access = \"read\" }: nothing there was used"]);
    }

    #[test]
    fn a_learning_run_knows_what_programs_did_too() {
        let granted = rules(&[
            ("src", Access::Write),
            ("docs", Access::Read),
            ("out", Access::Write),
            ("gone/cache", Access::Write),
            ("notes", Access::Write),
        ]);
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let touched = Touched {
            read: set(&["src/a"]),
            listed: set(&["."]),
            changed: set(&["notes"]),
            made: set(&["out/new"]),
            removed: set(&["gone"]),
            ..Touched::default()
        };
        let context = capability::testing::context();
        let start = Used { effect: "commands.start", subject: "sh", request: r#"{"program":"sh"}"# };
        let told = |used: &[Used<'_>], touched: &Touched| {
            removable(&granted, &Lesson { context: &context, granted: None, used, touched }).join("\n")
        };
        assert_eq!(
            told(&[start], &touched),
            "{ path = \"src\", access = \"write\" }: never written; { path = \"src\", access = \"read\" } is enough\n\
             { path = \"docs\", access = \"read\" }: nothing there was used"
        );
        assert_eq!(told(&[start], &Touched { reads_unknown: true, ..touched.clone() }), "");
        assert_eq!(told(&[], &touched).lines().count(), 5, "without programs, only the stage itself counts");
    }

    #[test]
    fn what_cannot_be_read_takes_nothing_away() {
        let used = Used { effect: "files.open", subject: "x", request: "not JSON" };
        assert_eq!(unused(&rules(&[("a", Access::Read)]), &mut [used].into_iter()), [""; 0]);
    }
}
