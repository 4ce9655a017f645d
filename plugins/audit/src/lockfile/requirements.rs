//! pip's requirements files (<https://pip.pypa.io/en/stable/reference/requirements-file-format/>).
//!
//! A line names a package and what its version may be. Only `==` and `===` say which one it is; for anything else pip decides
//! when it installs, so such a package has no version here and cannot be audited. Files that a file includes (`-r`) are read as
//! lockfiles of their own, so that findings stand in the file that has the line.
//! The comments of pip-compile and uv (`# via requests`) say who needs a package, and are read. Deliberately absent:
//! constraints (`-c`), which do not install anything, and environment markers, since a lockfile is audited for all platforms.

use super::{Format, LockfileError, beside, checksum, folder_name};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package};

/// Another file that a line includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// Relative to the workspace.
    pub path: String,
    pub line: u32,
}

/// One line of the file, with those that it goes on in.
struct Line {
    number: u32,
    text: String,
    /// Of the comments on it and after it: who needs what it names.
    via: Vec<String>,
}

/// Whether a file of this name is one, going by the names that people give them.
pub(super) fn is_named(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(stem) = name.strip_suffix(".txt") else { return false };
    let marked = |mark: char| stem.starts_with(&format!("requirements{mark}")) || stem.ends_with(&format!("{mark}requirements"));
    stem == "requirements" || ['-', '_', '.'].into_iter().any(marked) || folder.rsplit('/').next() == Some("requirements")
}

/// The files that a file includes.
pub(super) fn includes(path: &str, text: &str) -> Result<Vec<Include>, LockfileError> {
    let mut includes = Vec::new();
    for line in lines(path, text)? {
        let Some(file) = option(&line.text, &["-r", "--requirement"]) else { continue };
        if file.contains("://") {
            return Err(Format::Requirements.error(path, line.number, format!("it includes {file}, which is not in the workspace")));
        }
        let place = resolve(&beside(path, file.strip_prefix("./").unwrap_or(file))).ok_or_else(|| {
            Format::Requirements.error(path, line.number, format!("it includes {file}, which does not stay in the workspace"))
        })?;
        includes.push(Include { path: place, line: line.number });
    }
    Ok(includes)
}

/// Reads the text of a requirements file.
pub fn read(path: &str, text: &str) -> Result<Lockfile, LockfileError> {
    let lines = lines(path, text)?;
    let mut packages = vec![Package::new(folder_name(path), "", Origin::Local, 1)];
    let mut via = vec![Vec::new()];
    for line in lines {
        let package = match option(&line.text, &["-e", "--editable"]) {
            Some(place) => Some(elsewhere(place, line.number)),
            None if line.text.starts_with('-') => None,
            None => Some(
                requirement(&line.text, line.number)
                    .ok_or_else(|| Format::Requirements.error(path, line.number, format!("`{}` is no requirement", line.text)))?,
            ),
        };
        if let Some(package) = package {
            packages.push(package);
            via.push(line.via);
        }
    }
    for (at, via) in via.iter().enumerate().skip(1) {
        let by_name = |name: &String| packages.iter().position(|package| package.is_third_party() && package.name == *name);
        let needed: Vec<usize> = via.iter().filter_map(by_name).collect();
        // Without a comment, or with one that names another file, it is the project that asks for it.
        if needed.len() < via.len() || needed.is_empty() {
            packages[0].needs(at);
        }
        needed.into_iter().filter(|&by| by != at).for_each(|by| packages[by].needs(at));
    }
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::PyPi, packages })
}

/// Joins the lines that end in `\`, and takes comments off.
fn lines(path: &str, text: &str) -> Result<Vec<Line>, LockfileError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut open: Option<Line> = None;
    let mut listed = false;
    for (raw, number) in text.lines().zip(1..) {
        let comment = if raw.starts_with('#') { Some(0) } else { raw.find(" #").or_else(|| raw.find("\t#")) };
        let (code, comment) = comment.map_or((raw, ""), |at| (&raw[..at], raw[at..].trim().trim_start_matches('#').trim()));
        let (code, goes_on) = code.trim_end().strip_suffix('\\').map_or((code, false), |code| (code, true));
        let code = code.trim();
        if !code.is_empty() || open.is_some() {
            let line = open.get_or_insert(Line { number, text: String::new(), via: Vec::new() });
            if !line.text.is_empty() && !code.is_empty() {
                line.text.push(' ');
            }
            line.text.push_str(code);
            listed = false;
        }
        if !goes_on {
            lines.extend(open.take().filter(|line| !line.text.is_empty()));
        }
        let by = match comment.strip_prefix("via") {
            Some(by) if by.is_empty() || by.starts_with(' ') => {
                listed = by.trim().is_empty();
                by.trim()
            }
            _ if listed => comment,
            _ => "",
        };
        if let Some(line) = lines.last_mut() {
            line.via.extend(by.split(',').map(str::trim).filter(|by| !by.is_empty()).map(canonical_name));
        }
    }
    match open {
        Some(line) => Err(Format::Requirements.error(path, line.number, "its last line goes on (`\\`), but the file ends: it is cut off")),
        None => Ok(lines),
    }
}

/// The value of an option that a line consists of: `-r file`, `-rfile`, `--requirement=file`.
fn option<'a>(line: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        let value = rest.trim_start_matches(['=', ' ']).trim();
        (!value.is_empty() && (!name.starts_with("--") || rest.starts_with(['=', ' ']))).then_some(value)
    })
}

fn requirement(text: &str, line: u32) -> Option<Package> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if rest.starts_with(':') || rest.starts_with('/') || rest.starts_with('+') || name.is_empty() || name.starts_with('.') {
        let place = text.split_ascii_whitespace().next()?;
        let known = place.contains("://") || place.starts_with('.') || place.contains('/') || place.ends_with(".whl");
        return known.then(|| elsewhere(place, line));
    }
    if name.ends_with(".whl") || name.ends_with(".tar.gz") {
        return Some(elsewhere(name, line));
    }
    let mut package = Package::new(canonical_name(name), "", Origin::Registry, line);
    rest = rest.trim_start();
    if let Some(extras) = rest.strip_prefix('[') {
        rest = extras.split_once(']')?.1.trim_start();
    }
    for hash in rest.split_ascii_whitespace().filter_map(|word| word.strip_prefix("--hash")) {
        package.checksums.extend(checksum(hash.trim_start_matches(['=', ' '])));
    }
    if let Some(place) = rest.strip_prefix('@') {
        let place = elsewhere(place.split_ascii_whitespace().next()?, line);
        return Some(Package { name: package.name, ..place });
    }
    let specifier = rest.find(" --").map_or(rest, |at| &rest[..at]);
    let specifier = specifier.split_once(';').map_or(specifier, |(specifier, _)| specifier).trim();
    let specifier = specifier.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(specifier);
    let operators = ['=', '<', '>', '!', '~'];
    if !specifier.is_empty() && !specifier.split(',').all(|one| one.trim().starts_with(operators)) && !specifier.starts_with("--") {
        return None;
    }
    let pinned = specifier.split(',').find_map(|one| {
        let version = one.trim().strip_prefix("==")?;
        let version = version.strip_prefix('=').unwrap_or(version).trim();
        (!version.is_empty() && !version.contains('*')).then_some(version)
    });
    package.version = pinned.unwrap_or_default().into();
    Some(package)
}

/// A package by its address: a git repository, an archive, or a folder.
fn elsewhere(place: &str, line: u32) -> Package {
    let (address, fragment) = place.split_once('#').unwrap_or((place, ""));
    let egg = fragment.split('&').find_map(|one| one.strip_prefix("egg=")).map(|egg| egg.split('[').next().unwrap_or(egg));
    let last = address.trim_end_matches('/').rsplit('/').next().unwrap_or(address);
    let (origin, version) = if let Some(git) = address.strip_prefix("git+") {
        // A user may stand before the host; the revision follows the path.
        let (repository, revision) = match git.rsplit_once('@') {
            Some((repository, revision)) if repository.contains("://") && !revision.contains('/') => (repository, revision),
            _ => (git, ""),
        };
        let commit = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        (Origin::Git { repository: repository.into(), commit: if commit { revision.into() } else { String::new() } }, String::new())
    } else if address.contains("://") || [".whl", ".tar.gz", ".zip"].iter().any(|end| address.ends_with(end)) {
        // `name-version-….whl`: the name of a wheel says what it is.
        let version = last.strip_suffix(".whl").and_then(|wheel| wheel.split('-').nth(1)).unwrap_or_default();
        (Origin::Archive(address.into()), version.to_owned())
    } else {
        (Origin::Local, String::new())
    };
    let name = egg.unwrap_or_else(|| if last.ends_with(".whl") { last.split('-').next().unwrap_or(last) } else { last });
    let name = name.trim_end_matches(".git").split('@').next().unwrap_or(name);
    Package::new(canonical_name(name), version, origin, line)
}

fn canonical_name(name: &str) -> String {
    Ecosystem::PyPi.canonical(name).into_owned()
}

/// Takes `.` and `..` out of a path; `None` if it leaves the workspace.
fn resolve(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
