//! `Gemfile.lock` and `gems.locked` of Bundler.
//!
//! Sections with two blanks of indentation a level: sources (`GEM`, `GIT`, `PATH`) with their `specs`, and `DEPENDENCIES`, which
//! is what the Gemfile asks for. A gem for several platforms is one package. Deliberately absent: groups such as development,
//! which only the Gemfile knows, and that is a program.

use std::collections::BTreeMap;

use super::{Format, LockfileError, checksum, folder_name};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package};

/// Reads the text of a `Gemfile.lock`.
pub fn read(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    let mut packages = vec![Package::new(folder_name(path), "", Origin::Local, 1)];
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let mut needs: Vec<(usize, String, u32)> = Vec::new();
    let (mut section, mut remote, mut revision) = ("", String::new(), String::new());
    let mut current = None;
    let mut asked = false;
    for (raw, line) in text.lines().zip(1..).filter(|(raw, _)| !raw.trim().is_empty()) {
        let wrong = || Format::Gemfile.error(path, line, format!("`{}` does not belong there", raw.trim()));
        let indent = raw.len() - raw.trim_start().len();
        let text = raw.trim();
        match (section, indent) {
            (_, 0) => {
                section = text;
                asked |= section == "DEPENDENCIES";
                (remote, revision) = (String::new(), String::new());
                current = None;
            }
            ("GEM" | "GIT" | "PATH" | "PLUGIN SOURCE", 2) => match text.split_once(": ") {
                Some(("remote", value)) => remote = value.to_owned(),
                Some(("revision", value)) => revision = value.to_owned(),
                _ => {}
            },
            ("GEM" | "GIT" | "PATH" | "PLUGIN SOURCE", 4) => {
                let (name, version) =
                    text.split_once(" (").and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?))).ok_or_else(wrong)?;
                // `1.11.0-x86_64-linux`: the platform follows the version.
                let version = version.split_once('-').map_or(version, |(version, _)| version);
                let known = by_name.get(name).copied().filter(|&known| packages[known].version == version);
                let at = known.unwrap_or(packages.len());
                if known.is_none() {
                    let origin = match section {
                        "GIT" => Origin::Git { repository: remote.clone(), commit: revision.clone() },
                        "PATH" => Origin::Local,
                        _ => Origin::Registry,
                    };
                    packages.push(Package::new(name, version, origin, line));
                    by_name.insert(name.to_owned(), at);
                }
                current = Some(at);
            }
            ("GEM" | "GIT" | "PATH" | "PLUGIN SOURCE", 6) => needs.push((current.ok_or_else(wrong)?, name_of(text).to_owned(), line)),
            ("DEPENDENCIES", 2) => needs.push((0, name_of(text).trim_end_matches('!').to_owned(), line)),
            ("CHECKSUMS", 2) => {
                let (gem, digests) = text.split_once(") ").unwrap_or((text, ""));
                let known = gem.split_once(" (").and_then(|(name, version)| Some((*by_name.get(name)?, version)));
                if let Some((at, version)) = known
                    && packages[at].version == version
                {
                    packages[at].checksums.extend(digests.split(',').filter_map(checksum));
                }
            }
            ("" | "GEM" | "GIT" | "PATH", _) => return Err(wrong()),
            _ => {}
        }
    }
    if !asked {
        return Err(Format::Gemfile.error(path, 0, "it has no DEPENDENCIES: it is no Gemfile.lock, or it is cut off"));
    }
    for (at, name, line) in needs {
        match by_name.get(&name) {
            Some(&next) if next != at => packages[at].needs(next),
            Some(_) => {}
            // Bundler does not lock itself.
            None if name == "bundler" => {}
            None => return Err(Format::Gemfile.error(path, line, format!("{name} is needed, but has no entry"))),
        }
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::RubyGems, packages })
}

/// `name (>= 1.0)`
fn name_of(text: &str) -> &str {
    text.split_once(" (").map_or(text, |(name, _)| name)
}
