//! Yarn 1's own format: entries of descriptors, with `key value` lines and nested blocks below them. It only looks like YAML.
//!
//! The project's own packages are not in it: the `package.json` beside it says what they ask for. Of workspaces only the
//! root's manifest is read, so whatever nobody is known to ask for is taken as the project's own wish, and not as for
//! development.

use std::collections::BTreeSet;

use super::npm_v1::Manifest;
use super::yarn::{Descriptors, split};
use super::{Companions, Format, LockfileError, beside, folder_name, npm};
use crate::inventory::{Origin, Package, mark_development};

/// An entry, as it is written.
struct Entry {
    line: u32,
    descriptors: Vec<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    /// Name, range, line.
    needs: Vec<(String, String, u32)>,
    optional: BTreeSet<String>,
}

pub(super) fn read(path: &str, text: &str, companions: &Companions) -> Result<Vec<Package>, LockfileError> {
    let error = |line, what: String| Format::Yarn.error(path, line, what);
    if !text.lines().take(5).any(|line| line.trim() == "# yarn lockfile v1") {
        return Err(error(1, "it does not say `# yarn lockfile v1`, nor is it of a later Yarn".into()));
    }
    // Nothing else tells a file that was cut off from a shorter one.
    if !text.ends_with('\n') {
        return Err(error(u32::try_from(text.lines().count()).unwrap_or(0), "its last line does not end: it is cut off".into()));
    }
    let entries = entries(path, text)?;
    let place = beside(path, "package.json");
    let manifest = companions.get(&place).map(|text| Manifest::read(&place, text)).transpose()?;

    let name = manifest.as_ref().and_then(|manifest| manifest.name.clone()).unwrap_or_else(|| folder_name(path));
    let mut packages = vec![Package::new(name, "", Origin::Local, 1)];
    let mut index = Descriptors::default();
    for entry in &entries {
        for descriptor in &entry.descriptors {
            index.add(descriptor, packages.len());
        }
        packages.push(package(entry).ok_or_else(|| error(entry.line, format!("the entry `{}` has no version", entry.descriptors[0])))?);
    }
    let mut asked_for = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate().map(|(at, entry)| (at + 1, entry)) {
        for (name, range, line) in &entry.needs {
            let found = index.find(name, range);
            if found.is_empty() && !range.starts_with("link:") {
                return Err(error(*line, format!("{} needs {name}, which has no entry", packages[at].name)));
            }
            for next in found.into_iter().filter(|&next| next != at) {
                packages[at].needs(next);
                packages[next].optional |= entry.optional.contains(name);
                asked_for.insert(next);
            }
        }
    }
    let mut dev = BTreeSet::new();
    if let Some(manifest) = &manifest {
        let lists = [&manifest.dependencies, &manifest.optional_dependencies, &manifest.dev_dependencies];
        for (name, range) in lists.into_iter().flatten() {
            for next in index.find(name, range.as_str().unwrap_or_default()) {
                packages[0].needs(next);
                packages[next].optional |= manifest.optional_dependencies.contains_key(name);
                if manifest.is_dev(name) {
                    dev.insert((0, next));
                }
            }
        }
    }
    for next in index.names().flat_map(|(_, entries)| entries.iter().copied()).collect::<BTreeSet<_>>() {
        if !asked_for.contains(&next) {
            packages[0].needs(next);
        }
    }
    mark_development(&mut packages, &dev);
    Ok(packages)
}

fn package(entry: &Entry) -> Option<Package> {
    let (installed, range) = split(entry.descriptors.first()?)?;
    let version = entry.version.clone()?;
    let alias = range.strip_prefix("npm:").and_then(|target| Some(split(target)?.0));
    let directory = range.starts_with("file:") && entry.resolved.is_none() || range.starts_with("link:");
    let origin = if directory { Origin::Local } else { npm::origin(entry.resolved.as_deref()) };
    let mut package = Package::new(alias.unwrap_or(installed), version, origin, entry.line);
    package.alias = alias.is_some_and(|name| name != installed).then(|| installed.to_owned());
    package.checksums = entry.integrity.as_deref().map(npm::integrity).unwrap_or_default();
    Some(package)
}

fn entries(path: &str, text: &str) -> Result<Vec<Entry>, LockfileError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut block = "";
    for (text, line) in text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty() && !text.starts_with('#')) {
        let wrong = || Format::Yarn.error(path, line, format!("`{}` does not belong there", text.trim()));
        let indent = text.len() - text.trim_start().len();
        let words = words(text.trim()).ok_or_else(wrong)?;
        if indent == 0 {
            let descriptors = text.strip_suffix(':').and_then(|_| list(&words)).filter(|list| list.iter().all(|one| split(one).is_some()));
            let descriptors = descriptors.ok_or_else(wrong)?;
            entries.push(Entry {
                line,
                descriptors,
                version: None,
                resolved: None,
                integrity: None,
                needs: Vec::new(),
                optional: BTreeSet::new(),
            });
            block = "";
            continue;
        }
        let entry = entries.last_mut().ok_or_else(wrong)?;
        match (indent, words.as_slice()) {
            (2, [key]) if key.ends_with(':') => block = if key == "optionalDependencies:" { "optional" } else { "other" },
            (2, [key, value]) => {
                block = "";
                match key.as_str() {
                    "version" => entry.version = Some(value.clone()),
                    "resolved" => entry.resolved = Some(value.clone()),
                    "integrity" => entry.integrity = Some(value.clone()),
                    _ => {}
                }
            }
            // A digest may be written as several, separated by spaces.
            (2, [key, values @ ..]) if key == "integrity" => entry.integrity = Some(values.join(" ")),
            (4, [name, range]) if !block.is_empty() => {
                entry.needs.push((name.clone(), range.clone(), line));
                if block == "optional" {
                    entry.optional.insert(name.clone());
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(entries)
}

/// Words between spaces; a quoted one may hold any. A comma or colon after a quote stays with its word.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut word = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            word.push_str(&quoted[..end]);
            rest = &quoted[end + 1..];
        }
        let end = rest.find(' ').unwrap_or(rest.len());
        word.push_str(&rest[..end]);
        rest = rest[end..].trim_start();
        words.push(word);
    }
    Some(words)
}

/// `a@1, "b@2 || 3":` as its members.
fn list(words: &[String]) -> Option<Vec<String>> {
    let (last, others) = words.split_last()?;
    let mut list: Vec<String> = others.iter().map(|word| word.strip_suffix(',').map(str::to_owned)).collect::<Option<_>>()?;
    list.push(last.strip_suffix(':')?.to_owned());
    Some(list)
}
