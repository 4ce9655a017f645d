//! `Cargo.lock`, versions 1 to 4.
//!
//! The format is Cargo's own (`src/cargo/core/resolver/encode.rs` in rust-lang/cargo describes the versions): packages without
//! a `source` are the workspace's own; dependencies are named by as much of `name version (source)` as makes them unambiguous.
//! Cargo drops a dependency that the file does not hold, and so does this reader: packages are all listed anyway.
//! Deliberately absent: which dependencies are for development or one platform only. The file does not say; `cargo metadata` does.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{LockfileError, line_of};
use crate::inventory::{Checksum, Ecosystem, Lockfile, Origin, Package};

/// How Cargo writes the public registry, whatever protocol or mirror it was read through.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NEWEST: i64 = 4;

#[derive(Deserialize)]
struct File {
    version: Option<Spanned<i64>>,
    #[serde(default)]
    package: Vec<Spanned<Entry>>,
    /// Cargo before 1.0 kept the root package here.
    root: Option<Spanned<Entry>>,
    /// Format 1 kept checksums apart: `"checksum name version (source)" = "…"`.
    #[serde(default)]
    metadata: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    /// The package that `[replace]` put in this one's place.
    replace: Option<String>,
}

/// Reads the text of a `Cargo.lock`.
pub fn read(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    const ANEW: &str = "Write it anew with `cargo generate-lockfile`";
    let error = |line, what: String, mend: &str| LockfileError { path: path.into(), line, what, mend: mend.into() };
    let file: File = toml::from_str(text).map_err(|invalid| {
        let line = invalid.span().map_or(0, |span| line_of(text.as_bytes(), span.start));
        error(line, format!("it is no Cargo.lock: {}", invalid.message()), ANEW)
    })?;
    if let Some(version) = &file.version
        && !(1..=NEWEST).contains(version.as_ref())
    {
        let line = line_of(text.as_bytes(), version.span().start);
        let what = format!("lockfile version {} is not supported, 1 to {NEWEST} are", version.as_ref());
        return Err(error(line, what, "Write it with a Cargo that this runner knows, or update the runner"));
    }

    let entries: Vec<Spanned<Entry>> = file.root.into_iter().chain(file.package).collect();
    let mut packages = Vec::with_capacity(entries.len());
    for entry in &entries {
        let line = line_of(text.as_bytes(), entry.span().start);
        let entry = entry.as_ref();
        if entry.name.is_empty() {
            return Err(error(line, "a package has an empty name".into(), ANEW));
        }
        let mut package = Package::new(&entry.name, &entry.version, origin(entry.source.as_deref()), line);
        let checksum = entry.checksum.as_deref().or_else(|| {
            let key = format!("checksum {} {} ({})", entry.name, entry.version, entry.source.as_deref()?);
            file.metadata.get(&key)?.as_str()
        });
        package.checksums.extend(checksum.and_then(sha256));
        packages.push(package);
    }

    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        by_name.entry(entry.as_ref().name.as_str()).or_default().push(index);
    }
    for (index, entry) in entries.iter().enumerate() {
        let entry = entry.as_ref();
        for wanted in entry.dependencies.iter().chain(&entry.replace) {
            let (name, version, source) = dependency(wanted);
            for &candidate in by_name.get(name).into_iter().flatten() {
                let found = entries[candidate].as_ref();
                let fits = version.is_none_or(|version| version == found.version)
                    && source.is_none_or(|source| found.source.as_deref().map(without_commit) == Some(without_commit(source)));
                if fits && candidate != index {
                    packages[index].needs(candidate);
                }
            }
        }
    }
    // A replaced package is named, but not built: its replacement is.
    for (package, entry) in packages.iter_mut().zip(&entries) {
        if entry.as_ref().replace.is_some() {
            package.origin = Origin::Local;
        }
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::CratesIo, packages })
}

fn origin(source: Option<&str>) -> Origin {
    let Some(source) = source else { return Origin::Local };
    if source == CRATES_IO {
        return Origin::Registry;
    }
    match source.strip_prefix("git+") {
        Some(git) => {
            let (repository, commit) = git.split_once('#').unwrap_or((git, ""));
            let repository = repository.split_once('?').map_or(repository, |(plain, _)| plain);
            Origin::Git { repository: repository.into(), commit: commit.into() }
        }
        None => Origin::OtherRegistry(source.into()),
    }
}

/// `name`, `name version` or `name version (source)`.
fn dependency(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let mut parts = text.splitn(3, ' ');
    let name = parts.next().unwrap_or_default();
    let version = parts.next();
    let source = parts.next().and_then(|source| source.strip_prefix('(')?.strip_suffix(')'));
    (name, version, source)
}

/// Dependencies name a git source with or without the commit, depending on the format's version.
fn without_commit(source: &str) -> &str {
    source.split_once('#').map_or(source, |(plain, _)| plain)
}

/// Cargo's checksums are SHA-256; anything else (`<none>` in format 1) says nothing.
fn sha256(text: &str) -> Option<Checksum> {
    let valid = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| Checksum { algorithm: "SHA-256", hex: text.to_ascii_lowercase() })
}
