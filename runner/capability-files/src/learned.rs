//! The smallest `files` that let a run pass, as a person would write it: from the effects of the stage itself, and from what its programs did
//! with their copy of the workspace.
//!
//! A folder is granted whole where its entries were listed (a narrower grant would change the list) or where three or more of them were used; the
//! workspace itself where most of it was. Writing is granted only where something was written. A program can only make something new in a folder that
//! it may write to, while the stage itself may make what is granted to it by name.
//!
//! Deliberately absent: what programs looked at without opening it (whether a file is there, how old it is), which no file system keeps.

use std::collections::{BTreeMap, BTreeSet};

use capability::denial::toml_string;
use pipeline::grant::{MountRule, Used};
use pipeline::learning::{Lesson, Touched};
use serde_json::Value;

use crate::path::{ROOT, within};
use crate::used::{path, writes};

/// From this many on, siblings become their folder.
const MANY: usize = 3;

/// What tools write beside the sources where they can, and do without where they can't.
const CACHES: [&str; 2] = ["__pycache__", ".pytest_cache"];
/// What installers made: what tools write there are caches too.
const INSTALLED: [&str; 3] = ["node_modules", ".venv", "venv"];

/// The grant of a learning run: everything in a private copy.
pub const WIDE: &str = "[{ path = \".\", access = \"write\" }]";

/// The grant as it would stand in the file.
pub fn learned(lesson: &Lesson<'_>) -> Option<String> {
    let rules = rules(lesson);
    let written: Vec<String> = rules
        .iter()
        .map(|rule| {
            let access = if rule.writable { "write" } else { "read" };
            // `${` begins a reference
            let path = toml_string(&rule.path.replace("${", "$${"));
            format!("{{ path = {path}, access = \"{access}\" }}")
        })
        .collect();
    match &written[..] {
        [] => None,
        [one] => Some(format!("[{one}]")),
        several => Some(format!("[\n  {},\n]", several.join(",\n  "))),
    }
}

fn rules(lesson: &Lesson<'_>) -> Vec<MountRule> {
    let mut tree = Tree::default();
    let own = own(lesson.used);
    for (path, written) in &own.paths {
        // the workspace itself is where every path starts from
        if path != ROOT {
            tree.at(path).note(*written);
        }
    }
    for path in &own.listed {
        tree.at(path).whole = true;
    }
    of_programs(lesson, &own, &mut tree);
    let top = lesson.touched.top.iter().filter(|name| !name.starts_with('.')).count();
    tree.simplify(top);
    let mut rules = Vec::new();
    tree.rules(ROOT, None, &mut rules);
    rules
}

/// What the stage did itself.
#[derive(Default)]
struct Own {
    /// And whether it was written.
    paths: BTreeMap<String, bool>,
    listed: BTreeSet<String>,
}

fn own(used: &[Used<'_>]) -> Own {
    let mut own = Own::default();
    for used in used.iter().filter(|used| used.effect.starts_with("files.")) {
        let Ok(request) = serde_json::from_str::<Value>(used.request) else { continue };
        let writes = writes(used.effect, &request);
        for path in ["target", "from", "to", "file"].iter().filter_map(|key| path(request.get(key)?)) {
            if used.effect == "files.list" {
                own.listed.insert(path);
            } else {
                *own.paths.entry(path).or_default() |= writes;
            }
        }
    }
    own
}

/// What its programs did: what happened to the copy and was not the stage's own doing.
fn of_programs(lesson: &Lesson<'_>, own: &Own, tree: &mut Tree) {
    let Touched { read, listed, changed, made, removed, reads_unknown, .. } = lesson.touched;
    if !lesson.started_programs() {
        return;
    }
    if *reads_unknown {
        tree.whole = true;
    }
    for path in read {
        tree.at(path).read = true;
    }
    for path in listed {
        tree.at(path).whole = true;
    }
    let wrote_itself = |path: &str| own.paths.iter().any(|(known, written)| *written && within(path, known));
    for path in changed.iter().filter(|path| !is_cache(path) && !wrote_itself(path)) {
        tree.at(path).write = true;
    }
    // an entry appears and disappears in a folder that may be written
    for path in made.iter().chain(removed).filter(|path| !is_cache(path) && !wrote_itself(path)) {
        tree.at(path.rsplit_once('/').map_or(ROOT, |(folder, _)| folder)).write = true;
    }
}

fn is_cache(path: &str) -> bool {
    let mut names = path.split('/');
    let installed = path.split('/').rev().skip(1).any(|name| INSTALLED.contains(&name));
    installed || names.any(|name| CACHES.contains(&name))
}

/// A path that was used, or leads to some.
#[derive(Default)]
struct Tree {
    below: BTreeMap<String, Tree>,
    read: bool,
    /// All that is below it.
    whole: bool,
    write: bool,
}

impl Tree {
    fn at(&mut self, path: &str) -> &mut Tree {
        path.split('/').filter(|name| *name != ROOT).fold(self, |tree, name| tree.below.entry(name.to_owned()).or_default())
    }

    fn note(&mut self, written: bool) {
        if written {
            self.write = true;
        } else {
            self.read = true;
        }
    }

    /// Many siblings become their folder. `top`: how many entries the workspace has, for its own turn.
    fn simplify(&mut self, top: usize) {
        for tree in self.below.values_mut() {
            tree.simplify(0);
        }
        let most = |count: usize| count >= MANY && count * 2 > top;
        let visible = self.below.iter().filter(|(name, _)| top == 0 || !name.starts_with('.'));
        let (mut written, mut used) = (0, 0);
        for (_, tree) in visible {
            written += usize::from(tree.write);
            used += 1;
        }
        self.write |= most(written);
        self.whole |= most(used);
    }

    fn rules(&self, path: &str, inherited: Option<bool>, rules: &mut Vec<MountRule>) {
        let inherited = match (self.write, self.whole || self.read, inherited) {
            (_, _, Some(true)) | (false, true, Some(false)) | (false, false, _) => inherited,
            (true, ..) => {
                rules.push(MountRule { path: path.to_owned(), writable: true });
                Some(true)
            }
            (false, true, None) => {
                rules.push(MountRule { path: path.to_owned(), writable: false });
                Some(false)
            }
        };
        for (name, tree) in &self.below {
            let below = if path == ROOT { name.clone() } else { format!("{path}/{name}") };
            tree.rules(&below, inherited, rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn told(used: &[(&str, Value)], touched: &Touched) -> Vec<String> {
        let requests: Vec<(&str, String)> = used.iter().map(|(effect, request)| (*effect, request.to_string())).collect();
        let used: Vec<Used<'_>> = requests.iter().map(|(effect, request)| Used { effect, subject: "", request }).collect();
        let lesson = Lesson { context: &capability::testing::context(), granted: None, used: &used, touched };
        rules(&lesson).into_iter().map(|rule| format!("{} {}", if rule.writable { "write" } else { "read" }, rule.path)).collect()
    }

    fn open(path: &str, write: bool) -> (&'static str, Value) {
        let base = json!({ "mount": "workspace", "handle": 3, "path": ".", "mutable": true });
        ("files.open", json!({ "target": { "base": base, "path": path, "follow": true }, "operation": { "write": write } }))
    }

    fn command() -> (&'static str, Value) {
        ("commands.start", json!({ "program": "cargo" }))
    }

    fn top() -> BTreeSet<String> {
        set(&["Cargo.lock", "Cargo.toml", "README.md", "src", "tests", "docs", ".gitignore"])
    }

    #[test]
    fn files_of_the_stage_itself_stay_files() {
        let touched = Touched { top: top(), ..Touched::default() };
        assert_eq!(told(&[open("Cargo.lock", false), open(".", false)], &touched), ["read Cargo.lock"]);
        assert_eq!(told(&[open("Cargo.lock", false), open("sbom.json", true)], &touched), ["read Cargo.lock", "write sbom.json"]);
        assert_eq!(told(&[], &touched), [""; 0]);
    }

    #[test]
    fn three_siblings_become_their_folder_and_a_list_is_the_folder() {
        let touched = |read: &[&str], listed: &[&str]| Touched { read: set(read), listed: set(listed), top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &touched(&["src/a.rs", "src/b.rs"], &[])), ["read src/a.rs", "read src/b.rs"]);
        assert_eq!(told(&[command()], &touched(&["src/a.rs", "src/b.rs", "src/c.rs"], &[])), ["read src"]);
        assert_eq!(told(&[command()], &touched(&["src/a.rs"], &["tests"])), ["read src/a.rs", "read tests"]);
        assert_eq!(told(&[command()], &touched(&["src/a.rs"], &["."])), ["read ."]);
    }

    #[test]
    fn the_workspace_is_granted_where_most_of_it_is_used() {
        let touched = |read: &[&str]| Touched { read: set(read), top: top(), ..Touched::default() };
        let most = ["Cargo.lock", "Cargo.toml", "src/lib.rs", "tests/a.rs"];
        assert_eq!(told(&[command()], &touched(&most)), ["read ."]);
        assert_eq!(told(&[command()], &touched(&most[..3])), ["read Cargo.lock", "read Cargo.toml", "read src/lib.rs"]);
    }

    #[test]
    fn writing_is_granted_where_something_was_written() {
        let made = |made: &[&str]| Touched { read: set(&["src/a.rs"]), made: set(made), top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &made(&["src/gen.rs"])), ["write src"]);
        assert_eq!(told(&[command()], &made(&["target"])), ["write ."]);
        let changed = Touched { listed: set(&["."]), changed: set(&["docs/api.md"]), top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &changed), ["read .", "write docs/api.md"]);
        let by_itself = Touched { made: set(&["sbom.json"]), top: top(), ..Touched::default() };
        assert_eq!(told(&[command(), open("sbom.json", true)], &by_itself), ["write sbom.json"]);
    }

    #[test]
    fn caches_are_no_reason_to_write() {
        let made = set(&["shop/__pycache__", ".pytest_cache", "node_modules/.cache"]);
        let touched = Touched { listed: set(&["."]), made, top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &touched), ["read ."]);
        let installed = Touched { made: set(&["node_modules"]), top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &installed), ["write ."], "the folder itself is no cache");
    }

    #[test]
    fn where_no_access_times_are_kept_everything_is_read() {
        let touched = Touched { reads_unknown: true, top: top(), ..Touched::default() };
        assert_eq!(told(&[command()], &touched), ["read ."]);
        assert_eq!(told(&[open("Cargo.lock", false)], &touched), ["read Cargo.lock"], "a stage without programs is known all the same");
    }

    #[test]
    fn several_rules_stand_below_each_other() {
        let used = [open("a", false), open("b ${x}", true)];
        let requests: Vec<String> = used.iter().map(|(_, request)| request.to_string()).collect();
        let used: Vec<Used<'_>> = requests.iter().map(|request| Used { effect: "files.open", subject: "", request }).collect();
        let lesson = Lesson { context: &capability::testing::context(), granted: None, used: &used, touched: &Touched::default() };
        let expected = "[\n  { path = \"a\", access = \"read\" },\n  { path = \"b $${x}\", access = \"write\" },\n]";
        assert_eq!(learned(&lesson).as_deref(), Some(expected));
    }
}
