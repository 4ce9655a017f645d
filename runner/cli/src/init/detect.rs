//! What a repository is made of, told from the names of its files and the manifests among them. Nothing is executed.
//!
//! Looked at are the folder itself and the folders in it: deeper ones belong to a workspace that one of these names, or to nobody who wants a stage of
//! its own. Pure: files come in through [`Listing`].

use serde_json::Value as Json;

/// A repository's files.
pub trait Listing {
    /// The names in a folder (`.` is the repository), and whether each is a folder itself.
    fn entries(&self, folder: &str) -> Vec<(String, bool)>;
    fn read(&self, path: &str) -> Option<String>;
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub projects: Vec<Project>,
    /// Lockfiles that `audit` reads.
    pub lockfiles: Vec<String>,
    pub dockerfiles: Vec<String>,
    pub compose: Vec<String>,
}

/// A folder with a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Project {
    /// `.`, or a folder of the repository.
    pub folder: String,
    pub kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Rust(Rust),
    Node(Node),
    Python(Python),
    Go(Go),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Rust {
    pub workspace: bool,
    pub locked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Npm,
    Yarn,
    Pnpm,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub manager: Manager,
    pub eslint: bool,
    pub prettier: bool,
    pub typescript: bool,
    /// The script `lint`, where nothing above says what it does.
    pub lint_script: bool,
    pub test: Option<NodeTest>,
    /// Whether anything has to be installed first.
    pub dependencies: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum NodeTest {
    Jest,
    Vitest,
    /// Node's own runner, with the arguments of the script `test`.
    Node(Vec<String>),
    /// Whatever the script `test` is.
    Script,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Python {
    pub ruff: bool,
    pub mypy: bool,
    pub test: Option<PythonTest>,
    /// Who installs the dependencies, for a comment.
    pub installer: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
pub enum PythonTest {
    Pytest,
    Unittest,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Go {
    /// It needs modules that are not in `vendor`.
    pub fetches: bool,
}

const LOCKFILES: [&str; 11] = [
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
    "go.sum",
    "Gemfile.lock",
    "composer.lock",
];
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Folders that hold what was made or installed, and no project.
const PASSED_OVER: [&str; 7] = ["node_modules", "target", "vendor", "venv", "dist", "build", "third_party"];

pub fn detect(listing: &dyn Listing) -> Found {
    let mut found = Found::default();
    let root = listing.entries(".");
    let covered = folder(listing, ".", &root, &mut found);
    let mut folders: Vec<&String> = root.iter().filter(|(_, is_folder)| *is_folder).map(|(name, _)| name).collect();
    folders.sort();
    for name in folders.into_iter().filter(|name| !name.starts_with('.') && !PASSED_OVER.contains(&name.as_str())) {
        let before = found.projects.len();
        folder(listing, name, &listing.entries(name), &mut found);
        let own: Vec<Project> = found.projects.drain(before..).filter(|project| !covered.covers(&project.kind)).collect();
        found.projects.extend(own);
    }
    found
}

/// Kinds of projects whose root takes care of those below it.
#[derive(Default)]
struct Covered {
    rust: bool,
    node: bool,
}

impl Covered {
    fn covers(&self, kind: &Kind) -> bool {
        matches!(kind, Kind::Rust(_)) && self.rust || matches!(kind, Kind::Node(_)) && self.node
    }
}

fn folder(listing: &dyn Listing, folder: &str, entries: &[(String, bool)], found: &mut Found) -> Covered {
    let at = |name: &str| if folder == "." { name.to_owned() } else { format!("{folder}/{name}") };
    let has = |name: &str| entries.iter().any(|(known, is_folder)| known == name && !is_folder);
    let read = |name: &str| has(name).then(|| listing.read(&at(name))).flatten();
    let mut covered = Covered::default();
    let mut add = |kind: Kind| found.projects.push(Project { folder: folder.to_owned(), kind });
    if let Some(manifest) = read("Cargo.toml") {
        let table: toml::Table = manifest.parse().unwrap_or_default();
        covered.rust = table.contains_key("workspace");
        // a member of a workspace above has its lockfile there
        add(Kind::Rust(Rust { workspace: covered.rust, locked: has("Cargo.lock") }));
    }
    if let Some(manifest) = read("package.json") {
        let manifest: Json = serde_json::from_str(&manifest).unwrap_or_default();
        covered.node = manifest.get("workspaces").is_some() || has("pnpm-workspace.yaml");
        add(Kind::Node(node(&manifest, &has)));
    }
    let requirements: Vec<String> = entries.iter().filter(|(name, _)| is_requirements(name)).map(|(name, _)| name.clone()).collect();
    if has("pyproject.toml") || !requirements.is_empty() {
        let texts: Vec<String> = ["pyproject.toml", "uv.lock", "poetry.lock", "setup.cfg", "tox.ini", "pytest.ini"]
            .into_iter()
            .map(str::to_owned)
            .chain(requirements)
            .filter_map(|name| read(&name))
            .collect();
        let tests = entries.iter().any(|(name, is_folder)| *is_folder && (name == "tests" || name == "test"));
        let unittest = tests || entries.iter().any(|(name, _)| name.starts_with("test_") && name.ends_with(".py"));
        add(Kind::Python(python(&texts, &has, unittest)));
    }
    if let Some(manifest) = read("go.mod") {
        let requires = manifest.lines().any(|line| line.trim_start().starts_with("require"));
        let vendored = entries.iter().any(|(name, is_folder)| *is_folder && name == "vendor");
        add(Kind::Go(Go { fetches: requires && !vendored }));
    }
    let mut names: Vec<&String> = entries.iter().filter(|(_, is_folder)| !is_folder).map(|(name, _)| name).collect();
    names.sort();
    for name in names {
        if LOCKFILES.contains(&name.as_str()) {
            found.lockfiles.push(at(name));
        }
        if name == "Dockerfile" || name == "Containerfile" || name.starts_with("Dockerfile.") {
            found.dockerfiles.push(at(name));
        }
        if COMPOSE.contains(&name.as_str()) {
            found.compose.push(at(name));
        }
    }
    covered
}

fn is_requirements(name: &str) -> bool {
    name.starts_with("requirements") && name.ends_with(".txt")
}

fn node(manifest: &Json, has: &dyn Fn(&str) -> bool) -> Node {
    let keys = |table: &str| manifest.get(table).and_then(Json::as_object).into_iter().flat_map(|table| table.keys());
    let installed: Vec<&String> = keys("dependencies").chain(keys("devDependencies")).collect();
    let uses = |name: &str| installed.iter().any(|known| *known == name);
    let script = |name: &str| manifest.pointer(&format!("/scripts/{name}")).and_then(Json::as_str);
    let test = match script("test") {
        _ if uses("vitest") => Some(NodeTest::Vitest),
        _ if uses("jest") => Some(NodeTest::Jest),
        // what `npm init` writes
        Some(script) if script.contains("no test specified") => None,
        Some(script) => Some(match script.strip_prefix("node --test").map(str::split_whitespace) {
            // what a shell would expand is the script's own business
            Some(words) if !script.contains(['&', '|', ';', '$', '"', '\'', '*', '>', '<']) => {
                NodeTest::Node(words.map(str::to_owned).collect())
            }
            _ => NodeTest::Script,
        }),
        None => None,
    };
    let (eslint, prettier) = (uses("eslint"), uses("prettier"));
    let typescript = uses("typescript") && has("tsconfig.json");
    let manager = match () {
        () if has("pnpm-lock.yaml") => Manager::Pnpm,
        () if has("yarn.lock") => Manager::Yarn,
        () => Manager::Npm,
    };
    let lint_script = script("lint").is_some() && !eslint;
    Node { manager, eslint, prettier, typescript, lint_script, test, dependencies: !installed.is_empty() }
}

fn python(texts: &[String], has: &dyn Fn(&str) -> bool, unittest: bool) -> Python {
    let names = |name: &str| texts.iter().any(|text| text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == name));
    let pytest = names("pytest") || has("pytest.ini") || has("conftest.py");
    let test = if pytest { Some(PythonTest::Pytest) } else { unittest.then_some(PythonTest::Unittest) };
    let installer = match () {
        () if has("uv.lock") => "uv sync",
        () if has("poetry.lock") => "poetry install",
        () if has("requirements.txt") => "pip install -r requirements.txt",
        () => "pip install -e .",
    };
    Python { ruff: names("ruff") || has("ruff.toml"), mypy: names("mypy") || has("mypy.ini"), test, installer }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Listing for Files {
        fn entries(&self, folder: &str) -> Vec<(String, bool)> {
            let below = |path: &'static str| match folder {
                "." => Some(path),
                folder => path.strip_prefix(folder)?.strip_prefix('/'),
            };
            let mut entries: Vec<(String, bool)> = self
                .0
                .keys()
                .filter_map(|path| below(path))
                .map(|rest| match rest.split_once('/') {
                    Some((name, _)) => (name.to_owned(), true),
                    None => (rest.to_owned(), false),
                })
                .collect();
            entries.dedup();
            entries
        }

        fn read(&self, path: &str) -> Option<String> {
            self.0.get(path).map(|text| (*text).to_owned())
        }
    }

    fn found(files: &[(&'static str, &'static str)]) -> Found {
        detect(&Files(files.iter().copied().collect()))
    }

    #[test]
    fn each_ecosystem_is_known_by_its_manifest() {
        let of = |files: &[(&'static str, &'static str)]| found(files).projects.remove(0).kind;
        assert_eq!(of(&[("Cargo.toml", "[package]"), ("Cargo.lock", "")]), Kind::Rust(Rust { workspace: false, locked: true }));
        assert_eq!(of(&[("Cargo.toml", "[workspace]")]), Kind::Rust(Rust { workspace: true, locked: false }));
        assert_eq!(of(&[("go.mod", "module x\n"), ("main.go", "")]), Kind::Go(Go { fetches: false }));
        assert_eq!(of(&[("go.mod", "module x\nrequire y v1\n")]), Kind::Go(Go { fetches: true }));
        let python = Python { ruff: true, mypy: false, test: Some(PythonTest::Pytest), installer: "uv sync" };
        assert_eq!(of(&[("pyproject.toml", "dev = [\"pytest>=8\", 'ruff']"), ("uv.lock", "")]), Kind::Python(python));
        let python = Python { ruff: false, mypy: false, test: Some(PythonTest::Unittest), installer: "pip install -r requirements.txt" };
        assert_eq!(of(&[("requirements.txt", "flask==3"), ("tests/test_a.py", "")]), Kind::Python(python));
    }

    #[test]
    fn a_package_says_how_it_is_tested() {
        let of = |manifest: &'static str| match found(&[("package.json", manifest), ("yarn.lock", "")]).projects.remove(0).kind {
            Kind::Node(node) => node,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(r#"{"scripts":{"test":"node --test test/"}}"#).test, Some(NodeTest::Node(vec!["test/".into()])));
        assert_eq!(of(r#"{"scripts":{"test":"node --test && x"}}"#).test, Some(NodeTest::Script));
        assert_eq!(of(r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#).test, None);
        assert_eq!(of(r#"{"scripts":{"test":"x"},"devDependencies":{"jest":"30"}}"#).test, Some(NodeTest::Jest));
        let node = of(r#"{"scripts":{"lint":"eslint ."},"devDependencies":{"eslint":"10","typescript":"5"}}"#);
        assert_eq!((node.eslint, node.lint_script, node.typescript, node.manager), (true, false, false, Manager::Yarn));
        assert_eq!(of("not JSON").test, None);
    }

    #[test]
    fn folders_are_projects_unless_a_workspace_covers_them() {
        let found = found(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"core\"]"),
            ("core/Cargo.toml", "[package]"),
            ("web/package.json", "{}"),
            ("web/package-lock.json", "{}"),
            ("api/pyproject.toml", ""),
            ("node_modules/x/package.json", "{}"),
            ("web/deep/go.mod", "module x"),
            ("Dockerfile", ""),
            ("compose.yaml", ""),
        ]);
        let folders: Vec<&str> = found.projects.iter().map(|project| project.folder.as_str()).collect();
        assert_eq!(folders, [".", "api", "web"]);
        assert_eq!(found.lockfiles, ["web/package-lock.json"]);
        assert_eq!((found.dockerfiles.len(), found.compose.len()), (1, 1));
    }
}
