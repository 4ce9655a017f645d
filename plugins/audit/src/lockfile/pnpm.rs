//! `pnpm-lock.yaml`, lockfile versions 6 (pnpm 8) and 9 (pnpm 9 and later).
//!
//! `importers` are the project's folders and what they ask for; a file of a single folder may hold that at its top. Version 6
//! has one entry a package (`/name@version(peers)`); version 9 parts what was published (`packages`) from how it was put
//! together here (`snapshots`, once for each set of peers). Only version 6 marks what is for development, so it is found from
//! the importers for both.

use std::collections::{BTreeMap, BTreeSet};

use super::yaml::{self, Node};
use super::yarn::split;
use super::{Format, LockfileError, folder_name, npm};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package, mark_development};

/// Reads the text of a `pnpm-lock.yaml`.
pub fn read(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    let mut packages = Vec::new();
    let documents = yaml::read(path, text, Format::Pnpm)?;
    if documents.is_empty() {
        return Err(Format::Pnpm.error(path, 0, "it is empty"));
    }
    // pnpm may put a document of its own tools before the project's.
    for document in &documents {
        read_document(path, document, &mut packages)?;
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Npm, packages })
}

fn read_document(path: &str, root: &Node, all: &mut Vec<Package>) -> Result<(), LockfileError> {
    let error = |line, what: String| Format::Pnpm.error(path, line, what);
    let version = root.get("lockfileVersion");
    let number = version.and_then(Node::text).unwrap_or_default();
    let nine = match number.split('.').next().unwrap_or_default() {
        "6" => false,
        "9" => true,
        _ => {
            let what = format!("lockfileVersion `{number}` is not supported, 6 and 9 are");
            return Err(Format::Pnpm.newer(path, version.map_or(0, |version| version.line), what));
        }
    };
    let entries = |key: &str| root.get(key).map(Node::entries).unwrap_or_default();
    let published: BTreeMap<&str, &Node> = entries("packages").iter().map(|(key, node)| (key.as_str(), node)).collect();
    let placed = if nine { entries("snapshots") } else { entries("packages") };
    if nine && placed.is_empty() && !published.is_empty() {
        return Err(error(0, "it has `packages` but no `snapshots`: it is cut off".into()));
    }

    let first = all.len();
    let mut packages = Vec::new();
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, node) in placed {
        let plain = without_peers(key);
        let about = if nine { published.get(plain).copied() } else { Some(node) };
        let about = about.ok_or_else(|| error(node.line, format!("`{key}` has no entry in `packages`")))?;
        let mut package = package(plain.trim_start_matches('/'), about)
            .ok_or_else(|| error(node.line, format!("`{key}` does not say which package it is")))?;
        package.line = about.line;
        package.optional = node.text_of("optional") == "true";
        by_key.insert(key, packages.len());
        packages.push(package);
    }
    let find = |name: &str, reference: &str| {
        let keys = [format!("{name}@{reference}"), format!("/{name}@{reference}"), reference.to_owned()];
        keys.iter().find_map(|key| by_key.get(key.as_str()).copied())
    };
    for (at, (_, node)) in placed.iter().enumerate() {
        for kind in ["dependencies", "optionalDependencies"] {
            for (name, reference) in node.get(kind).map(Node::entries).unwrap_or_default() {
                let reference_text = reference.text().unwrap_or_default();
                match find(name, reference_text) {
                    Some(next) if next != at => packages[at].needs(next),
                    Some(_) => {}
                    None if reference_text.starts_with("link:") => {}
                    None => {
                        return Err(error(
                            reference.line,
                            format!("{} needs {name} {reference_text}, which has no entry", packages[at].name),
                        ));
                    }
                }
            }
        }
    }
    let mut dev = BTreeSet::new();
    let importers = root
        .get("importers")
        .map_or_else(|| vec![(".", root)], |importers| importers.entries().iter().map(|(folder, node)| (folder.as_str(), node)).collect());
    for (folder, importer) in importers {
        let name = if folder == "." { folder_name(path) } else { folder.rsplit('/').next().unwrap_or(folder).to_owned() };
        let at = packages.len();
        packages.push(Package::new(name, "", Origin::Local, importer.line));
        for kind in ["dependencies", "optionalDependencies", "devDependencies"] {
            for (name, asked) in importer.get(kind).map(Node::entries).unwrap_or_default() {
                let reference = asked.get("version").or(Some(asked)).and_then(Node::text).unwrap_or_default();
                let Some(next) = find(name, reference) else {
                    if reference.starts_with("link:") {
                        continue;
                    }
                    return Err(error(asked.line, format!("the project asks for {name} {reference}, which has no entry")));
                };
                if packages[next].name != *name {
                    packages[next].alias = Some(name.clone());
                }
                packages[at].needs(next);
                if kind == "devDependencies" {
                    dev.insert((at, next));
                }
            }
        }
    }
    mark_development(&mut packages, &dev);
    for mut package in packages {
        package.dependencies.iter_mut().for_each(|index| *index += first);
        all.push(package);
    }
    Ok(())
}

fn package(key: &str, about: &Node) -> Option<Package> {
    let resolution = about.get("resolution");
    let of = |name: &str| resolution.map(|resolution| resolution.text_of(name)).unwrap_or_default();
    let named = split(key);
    let stated = (about.text_of("name"), about.text_of("version"));
    let name = if stated.0.is_empty() { named?.0 } else { stated.0 };
    let reference = named.map(|(_, reference)| reference).unwrap_or_default();
    let origin = match (of("type"), of("tarball")) {
        ("directory", _) => Origin::Local,
        ("git", _) => Origin::Git { repository: of("repo").into(), commit: of("commit").into() },
        (_, tarball) if !tarball.is_empty() => match hosted(tarball) {
            Some(origin) => origin,
            None => npm::origin(Some(tarball)),
        },
        _ => Origin::Registry,
    };
    let registry = matches!(origin, Origin::Registry);
    let version = if !stated.1.is_empty() {
        stated.1
    } else if registry {
        reference
    } else {
        ""
    };
    let mut package = Package::new(name, version, origin, about.line);
    package.checksums = npm::integrity(of("integrity"));
    Some(package)
}

/// An archive of a commit, by which pnpm gets git dependencies from the large hosts.
fn hosted(tarball: &str) -> Option<Origin> {
    let (repository, commit) = tarball.rsplit_once("/tar.gz/")?;
    let commit = commit.rsplit('/').next().unwrap_or(commit);
    let whole = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| Origin::Git { repository: repository.into(), commit: commit.into() })
}

/// `name@1.0.0(peer@2.0.0)`: the peers only tell apart how a package was put together.
fn without_peers(key: &str) -> &str {
    key.find('(').map_or(key, |at| &key[..at])
}
