//! npm's lockfile version 1 (npm 5 and 6): a tree of `dependencies`, nested as they are in `node_modules`.
//!
//! An entry's `requires` names what it asks for; the copy it gets is found in its own nested tree, then in each parent's. The
//! file does not say what the project itself asks for: that comes from the `package.json` beside it, or, without one, is
//! everything at the top that nothing else requires. Licences are not in this format.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::npm::{Source, git, integrity, origin};
use super::{LockfileError, beside};
use crate::inventory::{Origin, Package};

/// Deeper trees than any `node_modules` (paths there end at some hundred characters on common systems).
const DEEPEST: usize = 64;

type Raw<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

#[derive(Deserialize)]
struct Entry<'a> {
    version: Option<String>,
    #[serde(default)]
    resolved: Value,
    #[serde(default)]
    integrity: Value,
    #[serde(default)]
    dev: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    bundled: bool,
    /// An object of requirements; `true` where an old npm wrote nothing better.
    #[serde(default)]
    requires: Value,
    #[serde(borrow, default)]
    dependencies: Option<Raw<'a>>,
}

/// What is read of a `package.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Manifest {
    pub name: Option<String>,
    pub dependencies: BTreeMap<String, Value>,
    pub dev_dependencies: BTreeMap<String, Value>,
    pub optional_dependencies: BTreeMap<String, Value>,
    pub peer_dependencies: BTreeMap<String, Value>,
}

impl Manifest {
    pub fn read(path: &str, text: &str) -> Result<Self, LockfileError> {
        serde_json::from_str(text).map_err(|invalid| LockfileError {
            path: path.into(),
            line: u32::try_from(invalid.line()).unwrap_or(0),
            what: "it cannot be read".into(),
            mend: "It says which packages of the lockfile the project itself asks for: mend it".into(),
        })
    }

    /// Whether a package is asked for, and only for development.
    pub fn is_dev(&self, name: &str) -> bool {
        let asked = |list: &BTreeMap<String, Value>| list.contains_key(name);
        asked(&self.dev_dependencies) && !asked(&self.dependencies) && !asked(&self.optional_dependencies)
    }
}

/// The packages nested at one place of the tree.
type Level = BTreeMap<String, usize>;

struct Tree<'s, 'a> {
    source: &'s Source<'a>,
    packages: Vec<Package>,
    /// For each package what it requires, and the levels in which to look, nearest first.
    requires: Vec<(usize, Vec<String>, Vec<usize>)>,
    levels: Vec<Level>,
}

pub(super) fn read(source: &Source<'_>, root: String, raw: Raw<'_>, manifest: Option<&String>) -> Result<Vec<Package>, LockfileError> {
    let place = beside(source.path, "package.json");
    let manifest = manifest.map(|text| Manifest::read(&place, text)).transpose()?;
    let mut tree = Tree { source, packages: vec![Package::new(root, "", Origin::Local, 1)], requires: Vec::new(), levels: Vec::new() };
    tree.level(raw, &[], 1)?;

    let mut required = BTreeSet::new();
    for (index, names, levels) in std::mem::take(&mut tree.requires) {
        for name in names {
            let found = levels.iter().find_map(|&level| tree.levels[level].get(&name).copied());
            if let Some(found) = found.filter(|&found| found != index) {
                tree.packages[index].needs(found);
                required.insert(found);
            }
        }
    }
    let top = tree.levels.first().cloned().unwrap_or_default();
    let direct: Vec<usize> = match &manifest {
        Some(manifest) => {
            let asked = [&manifest.dependencies, &manifest.optional_dependencies, &manifest.dev_dependencies, &manifest.peer_dependencies];
            asked.iter().flat_map(|names| names.keys()).filter_map(|name| top.get(name).copied()).collect()
        }
        None => top.values().copied().filter(|index| !required.contains(index)).collect(),
    };
    direct.into_iter().for_each(|index| tree.packages[0].needs(index));
    if let Some(name) = manifest.and_then(|manifest| manifest.name) {
        tree.packages[0].name = name;
    }
    Ok(tree.packages)
}

impl<'a> Tree<'_, 'a> {
    /// Reads one level; `above` are the levels around it, nearest first.
    fn level(&mut self, raw: BTreeMap<Cow<'_, str>, &'a RawValue>, above: &[usize], depth: usize) -> Result<usize, LockfileError> {
        let level = self.levels.len();
        self.levels.push(Level::new());
        let around: Vec<usize> = std::iter::once(level).chain(above.iter().copied()).collect();
        for (name, raw) in raw {
            let line = self.source.line(raw.get());
            if depth > DEEPEST {
                return Err(self.source.error(line, format!("its dependencies are nested deeper than {DEEPEST} levels")));
            }
            let entry: Entry<'a> = self.source.parse(raw.get(), &format!("the entry `{name}`"))?;
            let index = self.packages.len();
            let mut package = package(&name, &entry, line);
            (package.dev, package.optional, package.bundled) = (entry.dev, entry.optional, entry.bundled);
            package.checksums = entry.integrity.as_str().map(integrity).unwrap_or_default();
            self.packages.push(package);
            self.levels[level].insert(name.into_owned(), index);
            let inner = match entry.dependencies {
                Some(nested) => vec![self.level(nested, &around, depth + 1)?],
                None => Vec::new(),
            };
            let names = entry.requires.as_object().map(|names| names.keys().cloned().collect()).unwrap_or_default();
            self.requires.push((index, names, inner.into_iter().chain(around.iter().copied()).collect()));
        }
        Ok(level)
    }
}

/// In this version an entry's `version` is a version, `npm:name@version` for an alias, or where else the code comes from.
fn package(installed: &str, entry: &Entry<'_>, line: u32) -> Package {
    let version = entry.version.as_deref().unwrap_or_default();
    if let Some(alias) = version.strip_prefix("npm:") {
        // The name may start with the `@` of a scope.
        let (name, version) = match alias.rfind('@') {
            Some(at) if at > 0 => (&alias[..at], &alias[at + 1..]),
            _ => (alias, ""),
        };
        let mut package = Package::new(name, version, origin(entry.resolved.as_str()), line);
        package.alias = (name != installed).then(|| installed.to_owned());
        return package;
    }
    let other = git(version).or_else(|| {
        let path = version.strip_prefix("file:");
        let archive = [".tgz", ".tar.gz", ".tar"].iter().any(|end| version.ends_with(end));
        match path {
            Some(_) if !archive => Some(Origin::Local),
            Some(_) => Some(Origin::Archive(version.into())),
            None => (version.starts_with("https://") || version.starts_with("http://")).then(|| Origin::Archive(version.into())),
        }
    });
    match other {
        Some(other) => Package::new(installed, "", other, line),
        None => Package::new(installed, version, origin(entry.resolved.as_str()), line),
    }
}
