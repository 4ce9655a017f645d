//! What `cargo metadata --format-version 1` knows and `Cargo.lock` does not: licences, and what is for development only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::inventory::{Lockfile, Origin, StatedLicense};

#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    #[serde(default)]
    workspace_members: Vec<String>,
    #[serde(default)]
    resolve: Option<Resolve>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    license_file: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    #[serde(default)]
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    #[serde(default)]
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// `null` for ordinary dependencies, `build` or `dev`.
    kind: Option<String>,
}

impl Metadata {
    /// Reads cargo's output. The error says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|invalid| invalid.to_string())
    }

    /// Completes the packages of a `Cargo.lock`.
    pub fn complete(&self, lockfile: &mut Lockfile) {
        let known: BTreeMap<(&str, &str, bool), &Package> = self
            .packages
            .iter()
            .map(|package| ((package.name.as_str(), package.version.as_str(), package.source.is_some()), package))
            .collect();
        let dev = self.is_of(lockfile).then(|| self.only_for_development()).flatten();
        for package in &mut lockfile.packages {
            let third_party = package.origin != Origin::Local;
            let Some(found) = known.get(&(package.name.as_str(), package.version.as_str(), third_party)) else { continue };
            if let Some(license) = found.license.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
                package.license = StatedLicense::Text(license.into());
            } else if let Some(file) = &found.license_file {
                let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
                package.license = StatedLicense::Text(format!("SEE LICENSE IN {name}"));
            }
            if let Some(dev) = &dev {
                package.dev = third_party && dev.contains(found.id.as_str());
            }
        }
    }

    /// Whether this is the metadata of the lockfile's own workspace: of another one only the licences hold.
    fn is_of(&self, lockfile: &Lockfile) -> bool {
        let members: BTreeSet<&str> = self.workspace_members.iter().map(String::as_str).collect();
        let mut own = self.packages.iter().filter(|package| members.contains(package.id.as_str())).peekable();
        own.peek().is_some()
            && own.all(|member| {
                lockfile
                    .packages
                    .iter()
                    .any(|package| package.origin == Origin::Local && package.name == member.name && package.version == member.version)
            })
    }

    /// The ids that no ordinary or build dependency leads to; `None` without a dependency graph (`--no-deps`).
    fn only_for_development(&self) -> Option<BTreeSet<&str>> {
        let nodes: BTreeMap<&str, &Node> = self.resolve.as_ref()?.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut reached: BTreeSet<&str> = self.workspace_members.iter().map(String::as_str).collect();
        let mut open: Vec<&str> = reached.iter().copied().collect();
        while let Some(node) = open.pop().and_then(|id| nodes.get(id)) {
            for dependency in &node.deps {
                let needed = dependency.dep_kinds.is_empty() || dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"));
                if needed && reached.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
        Some(nodes.into_keys().filter(|id| !reached.contains(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockfile;

    const LOCK: &[u8] = include_bytes!("../fixtures/cargo/v4/Cargo.lock");
    const METADATA: &[u8] = include_bytes!("../fixtures/cargo/v4/metadata.json");

    fn completed(metadata: &[u8]) -> Lockfile {
        let mut lockfile = lockfile::read("Cargo.lock", LOCK, &lockfile::Companions::new()).unwrap();
        Metadata::parse(metadata).unwrap().complete(&mut lockfile);
        lockfile
    }

    fn license_of(lockfile: &Lockfile, name: &str) -> StatedLicense {
        lockfile.packages.iter().find(|package| package.name == name).unwrap().license.clone()
    }

    #[test]
    fn licences_come_from_cargo() {
        let lockfile = completed(METADATA);
        assert_eq!(license_of(&lockfile, "atty"), StatedLicense::Text("MIT".into()));
        assert_eq!(license_of(&lockfile, "chrono"), StatedLicense::Text("MIT/Apache-2.0".into()));
        assert_eq!(license_of(&lockfile, "shop-core"), StatedLicense::Unknown);
    }

    #[test]
    fn what_only_tests_need_is_for_development() {
        let dev: Vec<String> = completed(METADATA).packages.into_iter().filter(|package| package.dev).map(|package| package.name).collect();
        assert_eq!(dev, ["smallvec"]);
    }

    #[test]
    fn metadata_of_another_workspace_gives_licences_only() {
        let other = String::from_utf8(METADATA.to_vec()).unwrap().replace("\"name\":\"shop-core\"", "\"name\":\"other\"");
        assert_ne!(other.as_bytes(), METADATA);
        let lockfile = completed(other.as_bytes());
        assert_eq!(license_of(&lockfile, "atty"), StatedLicense::Text("MIT".into()));
        assert!(lockfile.packages.iter().all(|package| !package.dev));
    }

    #[test]
    fn a_licence_in_a_file_is_said_to_be_there() {
        let metadata = r#"{ "packages": [{ "id": "x", "name": "atty", "version": "0.2.14", "source": "registry+x", "license": null, "license_file": "LICENSE.txt" }] }"#;
        assert_eq!(license_of(&completed(metadata.as_bytes()), "atty"), StatedLicense::Text("SEE LICENSE IN LICENSE.txt".into()));
        assert!(Metadata::parse(b"error: no Cargo.toml").is_err());
    }
}
