//! `yarn.lock`: what both of Yarn's formats share, and the newer one (Yarn 2 and later, "Berry").
//!
//! In both, an entry is found by the descriptors that asked for it (`minimist@^1.2.5`). Berry's entries are YAML with a
//! `resolution` that says what they became, and the project's own folders are entries too (`shop@workspace:.`). Neither says
//! what is for development only: the `package.json` of the project and, for Berry, of each workspace do.
//! Deliberately absent: Berry's checksums, which are of its own cache archives and not of the published ones.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;

use super::npm_v1::Manifest;
use super::yaml::{self, Node};
use super::{Companions, Format, LockfileError, beside, npm, yarn_v1};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package, mark_development};

/// Berry's `__metadata.version`, as of Yarn 4.
const NEWEST: u64 = 10;

/// The manifests that make the lockfile's reading exact.
pub(super) fn companions(path: &str, text: &str) -> Vec<String> {
    let folders =
        text.lines().filter_map(|line| line.trim().strip_prefix("resolution:")?.trim().trim_matches('"').split_once("@workspace:"));
    let mut paths = vec![beside(path, "package.json")];
    paths.extend(folders.filter(|(_, folder)| *folder != ".").map(|(_, folder)| beside(path, &format!("{folder}/package.json"))));
    paths
}

/// Reads the text of a `yarn.lock` of either format.
pub fn read(path: &str, text: &str, companions: &Companions) -> Result<Lockfile, LockfileError> {
    let berry = text.lines().any(|line| line.starts_with("__metadata:"));
    let packages = if berry { read_berry(path, text, companions)? } else { yarn_v1::read(path, text, companions)? };
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Npm, packages })
}

fn read_berry(path: &str, text: &str, companions: &Companions) -> Result<Vec<Package>, LockfileError> {
    let error = |line, what: String| Format::Yarn.error(path, line, what);
    let documents = yaml::read(path, text, Format::Yarn)?;
    let Some(root) = documents.first() else { return Err(error(0, "it is empty".into())) };
    let metadata = root.get("__metadata");
    let version = metadata.map(|metadata| metadata.text_of("version")).unwrap_or_default();
    match version.parse::<u64>() {
        Ok(known) if (1..=NEWEST).contains(&known) => {}
        _ => {
            let line = metadata.map_or(0, |metadata| metadata.line);
            return Err(Format::Yarn.newer(path, line, format!("lockfile version {version} is not supported, 1 to {NEWEST} are")));
        }
    }

    let mut packages = Vec::new();
    let mut index = Descriptors::default();
    let mut read: Vec<(usize, &Node)> = Vec::new();
    for (key, node) in root.entries().iter().filter(|(key, _)| key != "__metadata") {
        let resolution = node.text_of("resolution");
        let Some((name, reference)) = split(resolution) else {
            return Err(error(node.line, format!("the entry `{key}` has no `resolution` that can be read")));
        };
        let at = packages.len();
        for descriptor in key.split(", ") {
            index.add(descriptor, at);
        }
        packages.push(package(name, reference, node, key));
        read.push((at, node));
    }
    let mut dev = BTreeSet::new();
    for (at, node) in read {
        let folder = split(node.text_of("resolution")).and_then(|(_, reference)| reference.strip_prefix("workspace:"));
        let manifest = match folder {
            Some(folder) => {
                let place = beside(path, &if folder == "." { "package.json".into() } else { format!("{folder}/package.json") });
                companions.get(&place).map(|text| Manifest::read(&place, text)).transpose()?
            }
            None => None,
        };
        let meta = node.get("dependenciesMeta");
        for (name, range) in node.get("dependencies").map(Node::entries).unwrap_or_default() {
            let found = index.find(name, range.text().unwrap_or_default());
            if found.is_empty() {
                return Err(error(range.line, format!("{} needs {name}, which has no entry", packages[at].name)));
            }
            for next in found.into_iter().filter(|&next| next != at) {
                packages[at].needs(next);
                if manifest.as_ref().is_some_and(|manifest| manifest.is_dev(name)) {
                    dev.insert((at, next));
                }
                let optional = meta.and_then(|meta| meta.get(name)).is_some_and(|meta| meta.text_of("optional") == "true");
                packages[next].optional |= optional;
            }
        }
    }
    mark_development(&mut packages, &dev);
    Ok(packages)
}

fn package(name: &str, reference: &str, node: &Node, key: &str) -> Package {
    let plain = reference.split_once("::").map_or(reference, |(plain, _)| plain);
    let mut version = node.text_of("version").to_owned();
    let origin = match plain.split_once(':') {
        Some(("workspace" | "link" | "portal", _)) => {
            version.clear();
            Origin::Local
        }
        Some(("npm", _)) => Origin::Registry,
        // A patch is the published package with changes, so what is said of that holds; its source stands inside, encoded.
        Some(("patch", patched)) => {
            let source = patch_source(patched);
            split(&source).map_or(Origin::Registry, |(_, reference)| origin(reference))
        }
        _ => origin(plain),
    };
    let alias = split(key.split(", ").next().unwrap_or_default()).map(|(name, _)| name);
    let mut package = Package::new(name, version, origin, node.line);
    package.alias = alias.filter(|alias| *alias != name).map(str::to_owned);
    package
}

/// `name@npm%3A1.0.0#how` without the how.
fn patch_source(patched: &str) -> String {
    let source = patched.split_once('#').map_or(patched, |(source, _)| source);
    percent_decode_str(source).decode_utf8_lossy().into_owned()
}

/// Where something comes from that is in neither the registry nor a folder of the project.
fn origin(reference: &str) -> Origin {
    if reference.starts_with("npm:") {
        return Origin::Registry;
    }
    if let Some(file) = reference.strip_prefix("file:") {
        let file = file.split_once(['#', ':']).map_or(file, |(file, _)| file);
        let archive = [".tgz", ".tar.gz", ".tar"].iter().any(|end| file.ends_with(end));
        return if archive { Origin::Archive(format!("file:{file}")) } else { Origin::Local };
    }
    if let Some((repository, commit)) = reference.split_once("#commit=") {
        let commit = commit.split_once('&').map_or(commit, |(commit, _)| commit);
        return Origin::Git { repository: repository.trim_start_matches("git+").into(), commit: commit.into() };
    }
    npm::git(reference).unwrap_or_else(|| Origin::Archive(reference.into()))
}

/// `@scope/name@reference`: the first `@` after the name's own.
pub(super) fn split(descriptor: &str) -> Option<(&str, &str)> {
    let at = descriptor.get(1..)?.find('@')? + 1;
    Some((&descriptor[..at], &descriptor[at + 1..]))
}

/// Entries by what asked for them.
#[derive(Default)]
pub(super) struct Descriptors {
    exact: BTreeMap<String, usize>,
    /// Patched forms by the descriptor of what they patch. Yarn itself patches some packages for all who ask for them.
    patched: BTreeMap<String, usize>,
    by_name: BTreeMap<String, Vec<usize>>,
}

impl Descriptors {
    pub fn add(&mut self, descriptor: &str, package: usize) {
        self.exact.insert(descriptor.into(), package);
        if let Some((name, reference)) = split(descriptor) {
            if let Some(patched) = reference.strip_prefix("patch:") {
                self.patched.insert(patch_source(patched), package);
            }
            let known = self.by_name.entry(name.into()).or_default();
            if !known.contains(&package) {
                known.push(package);
            }
        }
    }

    /// What `name` with this range became. Where `resolutions` put another range in its place, all
    /// entries of the name may be it.
    pub fn find(&self, name: &str, range: &str) -> Vec<usize> {
        let exact = [format!("{name}@{range}"), format!("{name}@npm:{range}")];
        let known = |descriptor: &String| [self.exact.get(descriptor), self.patched.get(descriptor)];
        let found: Vec<usize> = exact.iter().flat_map(known).flatten().copied().collect();
        if found.is_empty() { self.by_name.get(name).cloned().unwrap_or_default() } else { found }
    }

    pub fn names(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.by_name.iter().map(|(name, entries)| (name.as_str(), entries.as_slice()))
    }
}
