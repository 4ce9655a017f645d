//! `uv.lock`, version 1.
//!
//! The project's own folders are entries too, with what they ask for: ordinarily, as an extra, or (`dev-dependencies`) in a
//! group, which counts as development.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::{Spanned, Table};

use super::{Format, LockfileError, checksum, line_of};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package, mark_development};

const NEWEST: i64 = 1;

#[derive(Deserialize)]
struct File {
    version: Option<Spanned<i64>>,
    #[serde(default)]
    package: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    version: Option<String>,
    source: Table,
    #[serde(default)]
    dependencies: Vec<Need>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Need>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Need>>,
    sdist: Option<Artifact>,
    #[serde(default)]
    wheels: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Need {
    name: String,
    /// Only where several versions of the package are locked.
    version: Option<String>,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    hash: String,
}

/// Reads the text of a `uv.lock`.
pub fn read(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    let error = |line, what: String| Format::Uv.error(path, line, what);
    let line_at = |at: usize| line_of(text.as_bytes(), at);
    let file: File = toml::from_str(text).map_err(|invalid| {
        error(invalid.span().map_or(0, |span| line_at(span.start)), format!("it is no uv.lock: {}", invalid.message()))
    })?;
    let Some(version) = &file.version else { return Err(error(0, "it has no `version`: it is no uv.lock".into())) };
    if !(1..=NEWEST).contains(version.as_ref()) {
        let what = format!("lockfile version {} is not supported, {NEWEST} is", version.as_ref());
        return Err(Format::Uv.newer(path, line_at(version.span().start), what));
    }

    let mut packages = Vec::with_capacity(file.package.len());
    for entry in &file.package {
        let line = line_at(entry.span().start);
        let entry = entry.as_ref();
        let origin = origin(&entry.source).ok_or_else(|| error(line, format!("the `source` of {} is of an unknown kind", entry.name)))?;
        let mut package = Package::new(&entry.name, entry.version.as_deref().unwrap_or_default(), origin, line);
        // There is one file for each platform: only of a single one is the digest the package's.
        let mut files = entry.sdist.iter().chain(&entry.wheels);
        if let (Some(one), None) = (files.next(), files.next()) {
            package.checksums.extend(checksum(&one.hash));
        }
        packages.push(package);
    }
    let mut dev = BTreeSet::new();
    for (at, entry) in file.package.iter().enumerate() {
        let line = line_at(entry.span().start);
        let entry = entry.as_ref();
        let extras = entry.optional_dependencies.values().flatten();
        let needs = entry.dependencies.iter().chain(extras).map(|need| (need, false));
        for (need, for_development) in needs.chain(entry.dev_dependencies.values().flatten().map(|need| (need, true))) {
            let fits =
                |package: &Package| package.name == need.name && need.version.as_ref().is_none_or(|version| *version == package.version);
            let found: Vec<usize> = (0..packages.len()).filter(|&next| fits(&packages[next])).collect();
            if found.is_empty() {
                return Err(error(line, format!("{} needs {}, which has no entry: it is cut off", entry.name, need.name)));
            }
            for next in found.into_iter().filter(|&next| next != at) {
                let twice = packages[at].dependencies.contains(&next);
                packages[at].needs(next);
                // Asked for both ways, it is no matter of development.
                if for_development && !twice {
                    dev.insert((at, next));
                }
            }
        }
    }
    mark_development(&mut packages, &dev);
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::PyPi, packages })
}

fn origin(source: &Table) -> Option<Origin> {
    let (kind, value) = source.iter().find(|(kind, _)| *kind != "subdirectory")?;
    let value = value.as_str().unwrap_or_default();
    Some(match kind.as_str() {
        // Another index than PyPI may well be a mirror of it.
        "registry" => Origin::Registry,
        "virtual" | "editable" | "directory" => Origin::Local,
        "git" => {
            let (repository, commit) = value.split_once('#').unwrap_or((value, ""));
            let repository = repository.split_once('?').map_or(repository, |(plain, _)| plain);
            Origin::Git { repository: repository.into(), commit: commit.into() }
        }
        "url" | "path" => Origin::Archive(value.into()),
        _ => return None,
    })
}
