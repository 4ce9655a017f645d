//! `composer.lock`.
//!
//! Packages for development are a list of their own. What the project itself asks for stands in the `composer.json` beside it;
//! without one it is whatever nothing else needs. A package locked at a branch (`dev-main`) is known by its commit alone.
//! Deliberately absent: requirements of the platform (`php`, `ext-*`, `lib-*`), which are no packages.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Companions, Format, LockfileError, beside, folder_name, line_of};
use crate::inventory::{Checksum, Ecosystem, Lockfile, Origin, Package, StatedLicense};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File<'a> {
    #[serde(borrow)]
    packages: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    packages_dev: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<Place>,
    dist: Option<Place>,
    /// PHP writes an empty object as a list.
    #[serde(default)]
    require: Value,
    #[serde(default)]
    replace: Value,
    #[serde(default)]
    provide: Value,
    #[serde(default)]
    license: Value,
}

#[derive(Deserialize)]
struct Place {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    shasum: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Manifest {
    name: Option<String>,
    require: Value,
    require_dev: Value,
}

/// Reads the text of a `composer.lock`.
pub fn read(path: &str, text: &str, companions: &Companions) -> Result<Lockfile, LockfileError> {
    let error = |line, what: String| Format::Composer.error(path, line, what);
    let number = |invalid: &serde_json::Error| u32::try_from(invalid.line()).unwrap_or(0);
    let file: File<'_> =
        serde_json::from_str(text).map_err(|invalid| error(number(&invalid), format!("it is no composer.lock: {invalid}")))?;
    let mut packages = vec![Package::new(folder_name(path), "", Origin::Local, 1)];
    let mut entries = Vec::new();
    let dev = file.packages_dev.unwrap_or_default();
    for (raw, dev) in file.packages.iter().map(|raw| (raw, false)).chain(dev.iter().map(|raw| (raw, true))) {
        let line = line_of(text.as_bytes(), raw.get().as_ptr() as usize - text.as_ptr() as usize);
        let entry: Entry = serde_json::from_str(raw.get())
            .map_err(|invalid| error(line + number(&invalid).saturating_sub(1), format!("a package cannot be read: {invalid}")))?;
        let mut package = Package::new(Ecosystem::Packagist.canonical(&entry.name), &entry.version, origin(&entry), line);
        package.dev = dev;
        package.license = license(&entry.license);
        let shasum = entry.dist.as_ref().and_then(|dist| dist.shasum.as_deref()).unwrap_or_default();
        if shasum.len() == 40 && shasum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            package.checksums.push(Checksum { algorithm: "SHA-1", hex: shasum.to_ascii_lowercase() });
        }
        packages.push(package);
        entries.push(entry);
    }
    // A package can stand in for others.
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        for name in keys(&entry.replace).chain(keys(&entry.provide)) {
            by_name.entry(name).or_insert(at + 1);
        }
    }
    for (at, package) in packages.iter().enumerate().skip(1) {
        by_name.insert(package.name.clone(), at);
    }
    let mut needed = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate().map(|(at, entry)| (at + 1, entry)) {
        for next in keys(&entry.require).filter_map(|name| by_name.get(&name).copied()).filter(|&next| next != at) {
            packages[at].needs(next);
            needed.insert(next);
        }
    }
    let place = beside(path, "composer.json");
    match companions.get(&place) {
        Some(text) => {
            let manifest: Manifest = serde_json::from_str(text).map_err(|invalid| LockfileError {
                path: place.clone(),
                line: number(&invalid),
                what: "it cannot be read".into(),
                mend: "It says which packages of the lockfile the project itself asks for: mend it".into(),
            })?;
            for next in keys(&manifest.require).chain(keys(&manifest.require_dev)).filter_map(|name| by_name.get(&name).copied()) {
                packages[0].needs(next);
            }
            if let Some(name) = manifest.name {
                packages[0].name = name;
            }
        }
        None => (1..packages.len()).filter(|at| !needed.contains(at)).for_each(|at| packages[0].needs(at)),
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Packagist, packages })
}

fn origin(entry: &Entry) -> Origin {
    if entry.dist.as_ref().is_some_and(|dist| dist.kind == "path") {
        return Origin::Local;
    }
    let branch = entry.version.starts_with("dev-") || entry.version.ends_with("-dev");
    match &entry.source {
        Some(source) if branch && source.kind == "git" => {
            Origin::Git { repository: source.url.clone(), commit: source.reference.clone().unwrap_or_default() }
        }
        _ => Origin::Registry,
    }
}

/// A list of licences means any of them, says Composer's documentation of `license`.
fn license(stated: &Value) -> StatedLicense {
    let each: Vec<&str> = match stated {
        Value::String(one) => vec![one.as_str()],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let each: Vec<&str> =
        each.into_iter().map(|one| if one == "proprietary" { "UNLICENSED" } else { one }).filter(|one| !one.is_empty()).collect();
    match each.as_slice() {
        [] => StatedLicense::Unknown,
        [one] => StatedLicense::Text((*one).to_owned()),
        several => StatedLicense::Text(format!("({})", several.join(" OR "))),
    }
}

/// The names in an object of requirements, as they are compared.
fn keys(value: &Value) -> impl Iterator<Item = String> {
    value.as_object().into_iter().flatten().map(|(name, _)| Ecosystem::Packagist.canonical(name).into_owned())
}
