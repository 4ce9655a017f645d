//! `poetry.lock`, lock versions 1 and 2.
//!
//! The file does not say what the project itself asks for: the `pyproject.toml` beside it does; without one it is whatever
//! nothing else needs. Poetry 2 writes the groups that need a package, Poetry 1 up to 1.4 a category.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::{Spanned, Table, Value};

use super::{Companions, Format, LockfileError, beside, checksum, folder_name, line_of};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    package: Vec<Spanned<Entry>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    lock_version: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    optional: bool,
    groups: Option<Vec<String>>,
    category: Option<String>,
    #[serde(default)]
    dependencies: Table,
    source: Option<Source>,
    #[serde(default)]
    files: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    resolved_reference: String,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    hash: String,
}

/// Reads the text of a `poetry.lock`.
pub fn read(path: &str, text: &str, companions: &Companions) -> Result<Lockfile, LockfileError> {
    let error = |line, what: String| Format::Poetry.error(path, line, what);
    let file: File = toml::from_str(text).map_err(|invalid| {
        let line = invalid.span().map_or(0, |span| line_of(text.as_bytes(), span.start));
        error(line, format!("it is no poetry.lock: {}", invalid.message()))
    })?;
    // It stands at the end, so a file that was cut off has none.
    let Some(version) = file.metadata.and_then(|metadata| metadata.lock_version) else {
        return Err(error(0, "it has no `lock-version`: it is no poetry.lock, or it is cut off".into()));
    };
    if !["1", "2"].contains(&version.as_ref().split('.').next().unwrap_or_default()) {
        let line = line_of(text.as_bytes(), version.span().start);
        return Err(Format::Poetry.newer(path, line, format!("lock-version {} is not supported, 1 and 2 are", version.as_ref())));
    }

    let canonical = |name: &str| Ecosystem::PyPi.canonical(name).into_owned();
    let mut packages = vec![Package::new(folder_name(path), "", Origin::Local, 1)];
    for entry in &file.package {
        let line = line_of(text.as_bytes(), entry.span().start);
        let entry = entry.as_ref();
        let origin = match &entry.source {
            Some(source) => match source.kind.as_str() {
                "directory" => Origin::Local,
                "git" => Origin::Git { repository: source.url.clone(), commit: source.resolved_reference.clone() },
                "file" | "url" => Origin::Archive(source.url.clone()),
                // `legacy` is another index, which may well be a mirror.
                _ => Origin::Registry,
            },
            None => Origin::Registry,
        };
        let mut package = Package::new(canonical(&entry.name), &entry.version, origin, line);
        package.optional = entry.optional;
        package.dev = match (&entry.groups, &entry.category) {
            (Some(groups), _) => !groups.iter().any(|group| group == "main"),
            (None, Some(category)) => category == "dev",
            (None, None) => false,
        };
        // A package has one file for each platform: only of a single one is the digest the package's.
        if let [one] = entry.files.as_slice() {
            package.checksums.extend(checksum(&one.hash));
        }
        packages.push(package);
    }
    let mut needed = BTreeSet::new();
    for (at, entry) in file.package.iter().enumerate().map(|(at, entry)| (at + 1, entry.as_ref())) {
        for name in entry.dependencies.keys().map(|name| canonical(name)) {
            // Several versions of a package may be locked, for different platforms or Pythons.
            for next in (1..packages.len()).filter(|&next| next != at && packages[next].name == name).collect::<Vec<_>>() {
                packages[at].needs(next);
                needed.insert(next);
            }
        }
    }
    let place = beside(path, "pyproject.toml");
    let asked = companions.get(&place).map(|text| asked_for(&place, text)).transpose()?;
    if let Some((Some(name), _)) = &asked {
        packages[0].name = name.clone();
    }
    for at in 1..packages.len() {
        let wanted = asked.as_ref().is_some_and(|(_, asked)| asked.contains(&packages[at].name));
        if wanted || !needed.contains(&at) {
            packages[0].needs(at);
        }
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::PyPi, packages })
}

/// The project's name and the packages that its `pyproject.toml` names, in Poetry's own tables and the standard's.
fn asked_for(path: &str, text: &str) -> Result<(Option<String>, BTreeSet<String>), LockfileError> {
    let root: Table = toml::from_str(text).map_err(|invalid: toml::de::Error| LockfileError {
        path: path.into(),
        line: invalid.span().map_or(0, |span| line_of(text.as_bytes(), span.start)),
        what: format!("it cannot be read: {}", invalid.message()),
        mend: "It says which packages of the lockfile the project itself asks for: mend it".into(),
    })?;
    let at = |keys: &[&str]| keys.iter().try_fold(&root, |table, key| table.get(*key)?.as_table());
    let mut names = BTreeSet::new();
    let mut add = |name: &str| {
        let end = name.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))).unwrap_or(name.len());
        names.insert(Ecosystem::PyPi.canonical(&name[..end]).into_owned());
    };
    let strings = |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let project = at(&["project"]);
    project.and_then(|project| project.get("dependencies")).map(strings).into_iter().flatten().for_each(|one| add(&one));
    for group in [at(&["project", "optional-dependencies"]), at(&["dependency-groups"])].into_iter().flatten() {
        group.values().flat_map(strings).for_each(|one| add(&one));
    }
    let poetry = at(&["tool", "poetry"]);
    let groups = at(&["tool", "poetry", "group"]).into_iter().flat_map(Table::values).filter_map(Value::as_table);
    for table in poetry.into_iter().chain(groups) {
        for list in ["dependencies", "dev-dependencies"] {
            table.get(list).and_then(Value::as_table).into_iter().flat_map(Table::keys).for_each(|name| add(name));
        }
    }
    let name = [project, poetry].into_iter().flatten().find_map(|table| table.get("name")?.as_str());
    Ok((name.map(str::to_owned), names))
}
