//! `go.sum` and `go.mod`: which versions of modules are selected.
//!
//! `go.sum` holds digests of everything that Go ever looked at, so most of its versions may be in no build. The rule, from
//! <https://go.dev/ref/mod#minimal-version-selection> and <https://go.dev/ref/mod#graph-pruning>:
//!
//! - From `go 1.17` on, `go.mod` names every module that provides a package, indirect ones too, at its selected version. What
//!   else stands in `go.sum` is not built.
//! - Before, `go.mod` names only what the project asks for. Of every other module the selected version is the highest whose
//!   own digest stands in `go.sum` (a line for its `go.mod` alone means that it was looked at, not taken); and a higher one
//!   there also beats the version in `go.mod`.
//! - `replace` decides last: another module in its place, or a folder, which is the project's own.
//!
//! Without the `go.mod`, all modules are judged by the second rule. Deliberately absent: who needs an indirect module (neither
//! file says), the standard library (its version is the toolchain's that builds, not the `go` line), and which packages of a
//! module are used: an advisory about any of them counts for the module.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::{Companions, Format, LockfileError, beside, folder_name};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package};
use crate::version::Version;

/// What `go.mod` says.
#[derive(Default)]
struct Mod {
    name: String,
    /// Whether it names all selected modules: `go 1.17` or later.
    complete: bool,
    required: Vec<Required>,
    replaced: Vec<Replaced>,
}

struct Required {
    name: String,
    version: String,
    indirect: bool,
    line: u32,
}

struct Replaced {
    name: String,
    /// Of all versions if there is none.
    version: Option<String>,
    by: String,
    /// None for a folder.
    by_version: Option<String>,
}

/// Reads the text of a `go.sum`.
pub fn read_sum(path: &str, text: &str, companions: &Companions) -> Result<Lockfile, LockfileError> {
    let listed = sums(path, text)?;
    let place = beside(path, "go.mod");
    let stated = companions.get(&place).map(|text| read_mod_text(&place, text)).transpose()?;
    let mut highest: BTreeMap<&str, (&str, Version)> = BTreeMap::new();
    for (name, version) in listed.keys() {
        let Some(order) = Version::parse(Ecosystem::Go, version) else { continue };
        match highest.get(name.as_str()) {
            Some((_, known)) if *known >= order => {}
            _ => {
                highest.insert(name, (version, order));
            }
        }
    }

    let stated = stated.unwrap_or_default();
    let name = if stated.name.is_empty() { folder_name(path) } else { stated.name.clone() };
    let mut chosen = Chosen { packages: vec![Package::new(name, "", Origin::Local, 1)], replaced: &stated.replaced };
    let line = |name: &str, version: &str| listed.get(&(name.to_owned(), version.to_owned())).copied().unwrap_or(1);
    for required in &stated.required {
        let mut version = required.version.as_str();
        if let Some((higher, order)) = highest.get(required.name.as_str()).filter(|_| !stated.complete)
            && Version::parse(Ecosystem::Go, version).is_none_or(|known| known < *order)
        {
            version = higher;
        }
        chosen.add(&required.name, version, !required.indirect, line);
    }
    if !stated.complete {
        for (name, (version, _)) in &highest {
            let named = |required: &Required| required.name == *name;
            let replacement = |replaced: &Replaced| replaced.by == *name;
            if !stated.required.iter().any(named) && !stated.replaced.iter().any(replacement) {
                chosen.add(name, version, false, line);
            }
        }
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Go, packages: chosen.packages })
}

/// Reads the text of a `go.mod` that has no `go.sum` beside it, as a project without dependencies or with vendored ones.
pub fn read_mod(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    let stated = read_mod_text(path, text)?;
    if !stated.complete && !stated.required.is_empty() {
        return Err(LockfileError {
            path: path.into(),
            line: 0,
            what: "before `go 1.17` it does not name all modules that are built".into(),
            mend: "Name the go.sum beside it in `lockfiles`, or write both anew with `go mod tidy -go=1.17`".into(),
        });
    }
    let mut chosen = Chosen { packages: vec![Package::new(&stated.name, "", Origin::Local, 1)], replaced: &stated.replaced };
    for required in &stated.required {
        chosen.add(&required.name, &required.version, !required.indirect, |_, _| required.line);
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Go, packages: chosen.packages })
}

struct Chosen<'a> {
    /// The first is the project's own module.
    packages: Vec<Package>,
    replaced: &'a [Replaced],
}

impl Chosen<'_> {
    fn add(&mut self, name: &str, version: &str, direct: bool, line: impl Fn(&str, &str) -> u32) {
        let fits = |replaced: &&Replaced| replaced.name == name && replaced.version.as_deref().is_none_or(|only| only == version);
        // One of this very version goes before one of all versions.
        let package = match self.replaced.iter().filter(fits).max_by_key(|replaced| replaced.version.is_some()) {
            None => Package::new(name, version, Origin::Registry, line(name, version)),
            Some(Replaced { by, by_version: Some(by_version), .. }) => {
                let mut package = Package::new(by, by_version, Origin::Registry, line(by, by_version));
                package.alias = (by != name).then(|| name.to_owned());
                package
            }
            Some(Replaced { .. }) => Package::new(name, "", Origin::Local, 1),
        };
        if direct {
            let at = self.packages.len();
            self.packages[0].needs(at);
        }
        self.packages.push(package);
    }
}

/// The modules whose own digest a `go.sum` has, with its line.
fn sums(path: &str, text: &str) -> Result<BTreeMap<(String, String), u32>, LockfileError> {
    let mut sums = BTreeMap::new();
    for (text, line) in text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty()) {
        let mut words = text.split_ascii_whitespace();
        let (Some(name), Some(version), Some(digest), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(Format::GoSum.error(path, line, "a line has a module, a version and a digest, this one has not"));
        };
        // A digest of another kind than `h1:` is left to a later Go, as Go itself does.
        let cut_off = digest
            .strip_prefix("h1:")
            .is_some_and(|digest| base64::engine::general_purpose::STANDARD.decode(digest).ok().is_none_or(|bytes| bytes.len() != 32));
        if cut_off {
            return Err(Format::GoSum.error(path, line, format!("the digest of {name} is not whole")));
        }
        if !version.ends_with("/go.mod") {
            sums.insert((name.to_owned(), version.to_owned()), line);
        }
    }
    Ok(sums)
}

fn read_mod_text(path: &str, text: &str) -> Result<Mod, LockfileError> {
    let mut stated = Mod::default();
    let mut block = String::new();
    for (raw, line) in text.lines().zip(1..) {
        let wrong = || Format::GoMod.error(path, line, format!("`{}` cannot be read", raw.trim()));
        let (code, comment) = raw.split_once("//").unwrap_or((raw, ""));
        let mut words: Vec<&str> = code.split_ascii_whitespace().map(|word| word.trim_matches(['"', '`'])).collect();
        match words.as_slice() {
            [] => continue,
            [")"] if !block.is_empty() => {
                block.clear();
                continue;
            }
            [verb, "("] if block.is_empty() => {
                block = (*verb).to_owned();
                continue;
            }
            _ => {}
        }
        let verb = if block.is_empty() { words.remove(0) } else { &block };
        match (verb, words.as_slice()) {
            ("module", [name]) => stated.name = (*name).to_owned(),
            ("go", [version]) => {
                let mut numbers = version.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
                stated.complete = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (1, 17);
            }
            ("require", [name, version]) => stated.required.push(Required {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                indirect: comment.trim() == "indirect" || comment.trim().starts_with("indirect;"),
                line,
            }),
            ("replace", [from @ .., "=>", by]) | ("replace", [from @ .., "=>", by, _]) if (1..=2).contains(&from.len()) => {
                stated.replaced.push(Replaced {
                    name: from[0].to_owned(),
                    version: from.get(1).map(|version| (*version).to_owned()),
                    by: (*by).to_owned(),
                    by_version: if words.last() == Some(by) { None } else { words.last().map(|version| (*version).to_owned()) },
                });
            }
            ("module" | "require" | "replace", _) => return Err(wrong()),
            _ => {}
        }
    }
    if stated.name.is_empty() {
        return Err(Format::GoMod.error(path, 0, "it has no `module` line"));
    }
    if !block.is_empty() {
        return Err(Format::GoMod.error(path, 0, format!("its `{block}` block does not end: it is cut off")));
    }
    Ok(stated)
}
