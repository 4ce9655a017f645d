//! Lockfile formats: which file name means which format, and the one kind of error that reading them ends with.
//!
//! A lockfile that cannot be read whole is an error, never a shorter list: what an audit does not see, it cannot report.

pub mod cargo;
pub mod npm;
mod npm_v1;

use std::fmt;

use crate::inventory::Lockfile;

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
    Cargo,
    /// A lockfile of this tool, which this plugin cannot read.
    Unsupported(&'static str),
}

/// Lockfiles that mean: here are dependencies that this plugin does not see.
const UNSUPPORTED: [(&str, &str); 15] = [
    ("yarn.lock", "Yarn"),
    ("pnpm-lock.yaml", "pnpm"),
    ("bun.lock", "Bun"),
    ("bun.lockb", "Bun"),
    ("deno.lock", "Deno"),
    ("poetry.lock", "Poetry"),
    ("uv.lock", "uv"),
    ("pdm.lock", "PDM"),
    ("Pipfile.lock", "Pipenv"),
    ("Gemfile.lock", "Bundler"),
    ("composer.lock", "Composer"),
    ("go.sum", "Go"),
    ("mix.lock", "Mix"),
    ("pubspec.lock", "Dart"),
    ("gradle.lockfile", "Gradle"),
];

impl Format {
    /// The format of a file of this name, or `None` if it is no lockfile.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name {
            "package-lock.json" | "npm-shrinkwrap.json" => Some(Self::Npm),
            "Cargo.lock" => Some(Self::Cargo),
            _ => UNSUPPORTED.iter().find(|(known, _)| *known == name).map(|(_, tool)| Self::Unsupported(tool)),
        }
    }
}

/// Whether [`read`] can use the `package.json` beside this lockfile.
pub fn wants_manifest(path: &str, bytes: &[u8]) -> bool {
    Format::of(path) == Some(Format::Npm) && npm::is_version_1(bytes)
}

/// Reads the lockfile at `path` (relative to the workspace) from its bytes. `manifest` is the `package.json` beside it, if
/// there is one: npm's first format does not say which packages the project itself asks for.
pub fn read(path: &str, bytes: &[u8], manifest: Option<&str>) -> Result<Lockfile, LockfileError> {
    let error = |line, what: String, mend: &str| LockfileError { path: path.into(), line, what, mend: mend.into() };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(invalid) => {
            let line = line_of(bytes, invalid.valid_up_to());
            return Err(error(line, "it is not UTF-8 text".into(), "Restore it from version control, or write it anew"));
        }
    };
    if let Some(line) = conflict_marker(text) {
        return Err(error(
            line,
            "it holds the conflict markers of an unfinished merge".into(),
            "Resolve the merge with `npm install` or `cargo metadata`, which write it anew",
        ));
    }
    match Format::of(path) {
        Some(Format::Npm) => npm::read(path, text, manifest),
        Some(Format::Cargo) => cargo::read(path, text),
        Some(Format::Unsupported(tool)) => Err(error(
            0,
            format!("lockfiles of {tool} are not supported"),
            "List the ones to audit in `lockfiles`, or leave this one out with `exclude`",
        )),
        None => Err(error(
            0,
            "this is no lockfile that audit knows".into(),
            "Name a package-lock.json, npm-shrinkwrap.json or Cargo.lock in `lockfiles`",
        )),
    }
}

/// The line of git's `<<<<<<<`, which makes most parsers complain about something else.
fn conflict_marker(text: &str) -> Option<u32> {
    text.lines().zip(1..).find(|(line, _)| line.starts_with("<<<<<<< ")).map(|(_, number)| number)
}

/// The 1-based line of a byte offset.
pub(crate) fn line_of(text: &[u8], offset: usize) -> u32 {
    let before = &text[..offset.min(text.len())];
    u32::try_from(before.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_file_name() {
        assert_eq!(Format::of("web/package-lock.json"), Some(Format::Npm));
        assert_eq!(Format::of("npm-shrinkwrap.json"), Some(Format::Npm));
        assert_eq!(Format::of("a/b/Cargo.lock"), Some(Format::Cargo));
        assert_eq!(Format::of("yarn.lock"), Some(Format::Unsupported("Yarn")));
        assert_eq!(Format::of("package.json"), None);
    }

    #[test]
    fn only_npms_first_format_wants_the_manifest() {
        assert!(wants_manifest("package-lock.json", br#"{ "lockfileVersion": 1 }"#));
        assert!(wants_manifest("npm-shrinkwrap.json", b"{}"));
        assert!(!wants_manifest("package-lock.json", br#"{ "lockfileVersion": 3, "packages": {} }"#));
        assert!(!wants_manifest("package-lock.json", b"["));
        assert!(!wants_manifest("Cargo.lock", b"{}"));
    }

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        let merge = "{\n<<<<<<< HEAD\n}\n";
        let error = read("web/package-lock.json", merge.as_bytes(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "web/package-lock.json:2: it holds the conflict markers of an unfinished merge. Resolve the merge with `npm install` or \
             `cargo metadata`, which write it anew"
        );
        let error = read("Cargo.lock", b"version = 4\n\xff\n", None).unwrap_err();
        assert_eq!(error.line, 2);
        let error = read("yarn.lock", b"", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "yarn.lock: lockfiles of Yarn are not supported. List the ones to audit in `lockfiles`, or leave this one out with `exclude`"
        );
    }
}
