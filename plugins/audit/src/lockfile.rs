//! Lockfile formats: which file name means which format, and the one kind of error that reading them ends with.
//!
//! A lockfile that cannot be read whole is an error, never a shorter list: what an audit does not see, it cannot report.

pub mod cargo;
pub mod composer;
pub mod gemfile;
pub mod go;
pub mod npm;
mod npm_v1;
pub mod pnpm;
pub mod poetry;
pub mod requirements;
pub mod uv;
mod yaml;
pub mod yarn;
mod yarn_v1;

use std::collections::BTreeMap;
use std::fmt;

pub use self::requirements::Include;
use crate::inventory::{Checksum, Lockfile};

/// Files that say what a lockfile leaves out (manifests, mostly), by their path. Each may be missing.
pub type Companions = BTreeMap<String, String>;

/// Why a lockfile could not be read. `Display` gives `path:line: what. How to mend it.`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockfileError {
    pub path: String,
    /// 1-based; 0 if it is about the file.
    pub line: u32,
    pub what: String,
    pub mend: String,
}

impl fmt::Display for LockfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}. {}", self.path, self.what, self.mend),
            line => write!(f, "{}:{line}: {}. {}", self.path, self.what, self.mend),
        }
    }
}

impl std::error::Error for LockfileError {}

/// A lockfile format, known by its file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Npm,
    Yarn,
    Pnpm,
    Cargo,
    Requirements,
    Poetry,
    Uv,
    GoSum,
    GoMod,
    Gemfile,
    Composer,
    /// A lockfile of this tool, which this plugin cannot read.
    Unsupported(&'static str),
}

/// Lockfiles that mean: here are dependencies that this plugin does not see.
const UNSUPPORTED: [(&str, &str); 8] = [
    ("bun.lock", "Bun"),
    ("bun.lockb", "Bun"),
    ("deno.lock", "Deno"),
    ("pdm.lock", "PDM"),
    ("Pipfile.lock", "Pipenv"),
    ("mix.lock", "Mix"),
    ("pubspec.lock", "Dart"),
    ("gradle.lockfile", "Gradle"),
];

/// The supported names, for messages.
pub const NAMES: &str = "package-lock.json, npm-shrinkwrap.json, yarn.lock, pnpm-lock.yaml, Cargo.lock, requirements.txt, poetry.lock, uv.lock, go.sum, \
                         Gemfile.lock or composer.lock";

impl Format {
    /// The format of a file of this name, or `None` if it is no lockfile.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name {
            "package-lock.json" | "npm-shrinkwrap.json" => Some(Self::Npm),
            "yarn.lock" => Some(Self::Yarn),
            "pnpm-lock.yaml" => Some(Self::Pnpm),
            "Cargo.lock" => Some(Self::Cargo),
            "poetry.lock" => Some(Self::Poetry),
            "uv.lock" => Some(Self::Uv),
            "go.sum" => Some(Self::GoSum),
            "go.mod" => Some(Self::GoMod),
            "Gemfile.lock" | "gems.locked" => Some(Self::Gemfile),
            "composer.lock" => Some(Self::Composer),
            _ if requirements::is_named(path) => Some(Self::Requirements),
            _ => UNSUPPORTED.iter().find(|(known, _)| *known == name).map(|(_, tool)| Self::Unsupported(tool)),
        }
    }

    /// The command that writes such a lockfile anew.
    fn command(self) -> &'static str {
        match self {
            Self::Npm => "npm install --package-lock-only",
            Self::Yarn => "yarn install",
            Self::Pnpm => "pnpm install --lockfile-only",
            Self::Cargo => "cargo generate-lockfile",
            Self::Requirements => "pip-compile",
            Self::Poetry => "poetry lock",
            Self::Uv => "uv lock",
            Self::GoSum | Self::GoMod => "go mod tidy",
            Self::Gemfile => "bundle lock",
            Self::Composer => "composer update --lock",
            Self::Unsupported(_) => "the tool that it is of",
        }
    }

    /// An error that writing the file anew mends.
    pub(crate) fn error(self, path: &str, line: u32, what: impl Into<String>) -> LockfileError {
        LockfileError { path: path.into(), line, what: what.into(), mend: format!("Write it anew with `{}`", self.command()) }
    }

    /// A file of a version that this reader does not know.
    pub(crate) fn newer(self, path: &str, line: u32, what: impl Into<String>) -> LockfileError {
        let mend = format!("Write it with a version of the tool that this runner knows (`{}`), or update the runner", self.command());
        LockfileError { path: path.into(), line, what: what.into(), mend }
    }
}

/// The files that [`read`] can use beside this lockfile.
pub fn companions(path: &str, bytes: &[u8]) -> Vec<String> {
    match Format::of(path) {
        Some(Format::Npm) if npm::is_version_1(bytes) => vec![beside(path, "package.json")],
        Some(Format::Yarn) => yarn::companions(path, &String::from_utf8_lossy(bytes)),
        Some(Format::Poetry) => vec![beside(path, "pyproject.toml")],
        Some(Format::GoSum) => vec![beside(path, "go.mod")],
        Some(Format::Composer) => vec![beside(path, "composer.json")],
        _ => Vec::new(),
    }
}

/// The lockfiles that this one includes: they belong to what is audited.
/// `included` says that another one includes it, whatever its name.
pub fn includes(path: &str, bytes: &[u8], included: bool) -> Result<Vec<Include>, LockfileError> {
    if !included && Format::of(path) != Some(Format::Requirements) {
        return Ok(Vec::new());
    }
    requirements::includes(path, text(Format::Requirements, path, bytes)?)
}

/// Reads the lockfile at `path` (relative to the workspace) from its bytes.
pub fn read(path: &str, bytes: &[u8], companions: &Companions) -> Result<Lockfile, LockfileError> {
    read_as(Format::of(path), path, bytes, companions)
}

/// The same for a file that another one includes, whatever its name.
pub fn read_included(path: &str, bytes: &[u8]) -> Result<Lockfile, LockfileError> {
    read_as(Some(Format::Requirements), path, bytes, &Companions::new())
}

fn read_as(format: Option<Format>, path: &str, bytes: &[u8], companions: &Companions) -> Result<Lockfile, LockfileError> {
    let error = |what: String, mend: String| LockfileError { path: path.into(), line: 0, what, mend };
    let Some(format) = format else {
        return Err(error("this is no lockfile that audit knows".into(), format!("Name a {NAMES} in `lockfiles`")));
    };
    let text = if matches!(format, Format::Unsupported(_)) { "" } else { text(format, path, bytes)? };
    match format {
        Format::Npm => npm::read(path, text, companions),
        Format::Yarn => yarn::read(path, text, companions),
        Format::Pnpm => pnpm::read(path, text),
        Format::Cargo => cargo::read(path, text),
        Format::Requirements => requirements::read(path, text),
        Format::Poetry => poetry::read(path, text, companions),
        Format::Uv => uv::read(path, text),
        Format::GoSum => go::read_sum(path, text, companions),
        Format::GoMod => go::read_mod(path, text),
        Format::Gemfile => gemfile::read(path, text),
        Format::Composer => composer::read(path, text, companions),
        Format::Unsupported(tool) => Err(error(
            format!("lockfiles of {tool} are not supported"),
            "List the ones to audit in `lockfiles`, or leave this one out with `exclude`".into(),
        )),
    }
}

/// The text of a lockfile, if it is one that a tool could have written.
fn text<'a>(format: Format, path: &str, bytes: &'a [u8]) -> Result<&'a str, LockfileError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(invalid) => return Err(format.error(path, line_of(bytes, invalid.valid_up_to()), "it is not UTF-8 text")),
    };
    match conflict_marker(text) {
        Some(line) => Err(LockfileError {
            mend: format!("Resolve the merge, then write the file anew with `{}`", format.command()),
            ..format.error(path, line, "it holds the conflict markers of an unfinished merge")
        }),
        None => Ok(text),
    }
}

/// The line of git's `<<<<<<<` (or of `>>>>>>>`, where only that one was left), which makes most parsers complain about something
/// else.
fn conflict_marker(text: &str) -> Option<u32> {
    text.lines().zip(1..).find(|(line, _)| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")).map(|(_, number)| number)
}

/// The 1-based line of a byte offset.
pub(crate) fn line_of(text: &[u8], offset: usize) -> u32 {
    let before = &text[..offset.min(text.len())];
    u32::try_from(before.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u32::MAX - 1) + 1
}

/// A file in the lockfile's folder.
pub(crate) fn beside(lockfile: &str, name: &str) -> String {
    lockfile.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

/// What the project is called where nothing says its name: after its folder.
fn folder_name(path: &str) -> String {
    path.rsplit('/').nth(1).unwrap_or("(root)").to_owned()
}

/// `sha256:…` or `sha256=…`, in hexadecimal; anything else says nothing.
fn checksum(text: &str) -> Option<Checksum> {
    let (kind, hex) = text.trim().split_once([':', '='])?;
    let (algorithm, length) = match kind {
        "sha1" => ("SHA-1", 40),
        "sha256" => ("SHA-256", 64),
        "sha384" => ("SHA-384", 96),
        "sha512" => ("SHA-512", 128),
        _ => return None,
    };
    let valid = hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| Checksum { algorithm, hex: hex.to_ascii_lowercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_file_name() {
        assert_eq!(Format::of("web/package-lock.json"), Some(Format::Npm));
        assert_eq!(Format::of("npm-shrinkwrap.json"), Some(Format::Npm));
        assert_eq!(Format::of("a/b/Cargo.lock"), Some(Format::Cargo));
        assert_eq!(Format::of("bun.lock"), Some(Format::Unsupported("Bun")));
        for none in ["package.json", "requirements.in", "docs/my-requirements.md", "my_requirements_list.txt", "notes.txt"] {
            assert_eq!(Format::of(none), None, "{none}");
        }
        for name in ["requirements.txt", "requirements-dev.txt", "requirements_test.txt", "dev-requirements.txt", "a/requirements/base.txt"]
        {
            assert_eq!(Format::of(name), Some(Format::Requirements), "{name}");
        }
    }

    #[test]
    fn companions_are_asked_for_where_they_say_more() {
        let none: [&str; 0] = [];
        assert_eq!(companions("package-lock.json", br#"{ "lockfileVersion": 1 }"#), ["package.json"]);
        assert_eq!(companions("a/npm-shrinkwrap.json", b"{}"), ["a/package.json"]);
        assert_eq!(companions("package-lock.json", br#"{ "lockfileVersion": 3, "packages": {} }"#), none);
        assert_eq!(companions("package-lock.json", b"["), none);
        assert_eq!(companions("Cargo.lock", b"{}"), none);
        assert_eq!(companions("a/go.sum", b""), ["a/go.mod"]);
        let yarn = b"\"shop@workspace:.\":\n  resolution: \"shop@workspace:.\"\n\"ui@workspace:packages/ui\":\n  resolution: \"ui@workspace:packages/ui\"\n";
        assert_eq!(companions("web/yarn.lock", yarn), ["web/package.json", "web/packages/ui/package.json"]);
    }

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        let merge = "{\n<<<<<<< HEAD\n}\n";
        let error = read("web/package-lock.json", merge.as_bytes(), &Companions::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "web/package-lock.json:2: it holds the conflict markers of an unfinished merge. Resolve the merge, then write the file anew with \
             `npm install --package-lock-only`"
        );
        let error = read("Cargo.lock", b"version = 4\n\xff\n", &Companions::new()).unwrap_err();
        assert_eq!(error.line, 2);
        let error = read("bun.lock", b"", &Companions::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bun.lock: lockfiles of Bun are not supported. List the ones to audit in `lockfiles`, or leave this one out with `exclude`"
        );
    }
}
