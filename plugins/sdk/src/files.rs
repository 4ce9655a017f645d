//! Files of the workspace (`/workspace`, with a `files` grant) and of the stage's own scratch folder (`/scratch`).
//!
//! These are `std::fs`'s functions with two additions: a relative path is taken below `/workspace` (in WASI there is no current
//! directory), and an error names the path, so that `?` makes a useful message of it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Denial, Failure, failure};

/// Where the workspace is, for a stage that has a `files` grant.
pub const WORKSPACE: &str = "/workspace";

/// The stage's own folder, empty at the start and gone after the end.
pub const SCRATCH: &str = "/scratch";

/// Where a path of the settings is: below `/workspace` unless it is absolute.
pub fn resolve(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    // `join` would keep the dot of `./a`, and paths are shown to people.
    Path::new(WORKSPACE).join(path.strip_prefix("./").unwrap_or(path))
}

/// A file's content.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    at("read", path, |path| fs::read(path))
}

/// A file's content, which must be UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String, Error> {
    at("read", path, |path| fs::read_to_string(path))
}

/// A file's content, or none if there is no such file.
pub fn read_optional(path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, Error> {
    match read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File, Error> {
    at("open", path, |path| File::open(path))
}

/// Writes a file and the folders that lead to it.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<(), Error> {
    at("write", path, |path| {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)
    })
}

/// The paths of a folder's entries, sorted, so that a stage does the same every time.
pub fn list(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
    at("list", path, |path| {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    })
}

/// Whether there is a folder at this path.
pub fn is_dir(path: impl AsRef<Path>) -> bool {
    resolve(path).is_dir()
}

fn at<T>(operation: &'static str, path: impl AsRef<Path>, act: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, Error> {
    let path = resolve(path);
    act(&path).map_err(|source| Error { operation, path, source })
}

/// Whether the stage has no `files` grant: then there is no workspace.
fn ungranted() -> bool {
    cfg!(target_arch = "wasm32") && !Path::new(WORKSPACE).exists()
}

/// What went wrong with which file.
#[derive(Debug)]
pub struct Error {
    /// `read`, `write`, …
    pub operation: &'static str,
    /// The absolute path inside the stage.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Error {
    /// The refusal, if it is one. WASI only says "permission denied"; what would allow it, the host has told the user.
    pub fn denial(&self) -> Option<Denial> {
        let subject = self.path.strip_prefix(WORKSPACE).unwrap_or(&self.path).display().to_string();
        match failure::denial_code(&self.source) {
            Some(code) => Some(failure::files_denial(code, &subject)),
            None if self.source.kind() == io::ErrorKind::NotFound && self.path.starts_with(WORKSPACE) && ungranted() => {
                Some(self.no_workspace(subject))
            }
            None => None,
        }
    }

    /// Without any `files` grant the host is never asked, and has told the user nothing.
    fn no_workspace(&self, subject: String) -> Denial {
        let access = if self.operation == "write" { "write" } else { "read" };
        let remedy = format!("files = [{{ path = {}, access = \"{access}\" }}]", serde_json::Value::from(subject.as_str()));
        let (effect, code, reason) = ("files.open".into(), "not-granted".into(), "the stage has no `files` grant".into());
        Denial { effect, subject, code, reason, remedy: Some(remedy) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.strip_prefix(WORKSPACE).unwrap_or(&self.path);
        write!(f, "cannot {} {}: {}", self.operation, path.display(), self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error.denial() {
            Some(denial) => Failure::Denied(denial),
            None => Failure::errored(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_in_the_workspace() {
        for (given, resolved) in [
            ("Cargo.lock", "/workspace/Cargo.lock"),
            ("./a/b", "/workspace/a/b"),
            (".", "/workspace/."),
            ("/scratch/out", "/scratch/out"),
            ("/workspace/x", "/workspace/x"),
        ] {
            assert_eq!(resolve(given), Path::new(resolved), "{given}");
        }
    }

    #[test]
    fn reading_and_writing_name_the_path_when_they_fail() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/file");
        write(&file, "text").unwrap();
        assert_eq!(read_to_string(&file).unwrap(), "text");
        assert_eq!(list(folder.path().join("deep/er")).unwrap(), std::slice::from_ref(&file));
        assert!(is_dir(folder.path().join("deep")) && !is_dir(&file));

        let missing = folder.path().join("missing");
        assert!(read_optional(&missing).unwrap().is_none());
        let error = read(&missing).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot read {}: ", missing.display())), "{error}");
        assert!(matches!(Failure::from(error), Failure::Errored(_)));
    }

    #[test]
    fn a_stage_without_a_workspace_is_told_what_to_grant() {
        let error = Error { operation: "write", path: "/workspace/out/a b".into(), source: io::ErrorKind::NotFound.into() };
        let denial = error.no_workspace("out/a b".into());
        assert_eq!(denial.remedy.as_deref(), Some("files = [{ path = \"out/a b\", access = \"write\" }]"));
        assert!(error.denial().is_none(), "natively there is nothing to grant");
    }

    #[test]
    fn a_denied_file_is_a_denial_that_names_it() {
        let error = Error { operation: "read", path: "/workspace/.git/config".into(), source: io::ErrorKind::PermissionDenied.into() };
        let Failure::Denied(denial) = Failure::from(error) else { panic!("not a denial") };
        assert_eq!((denial.effect.as_str(), denial.subject.as_str()), ("files.open", ".git/config"));
    }
}
