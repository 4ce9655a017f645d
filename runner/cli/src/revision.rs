//! `--pipeline-from REV`: the pipeline file, what it includes and its local plugins as they are in another revision.
//!
//! Whoever opens a pull request can change every file of it. With this, nothing that says what may happen is read from the checkout: it comes
//! out of git's objects, and the checkout is only what the stages work on. Deliberately not covered: what a stage reads or runs in the
//! workspace is the checkout's, and bounded by the grants of that other revision.

use std::path::{Component, Path, PathBuf};

use pipeline::compose::Files;
use pipeline::facts;

use crate::error::CliError;
use crate::git::{self, ask::Git};

/// A folder of the repository, as it is in a commit.
pub struct Revision {
    git: Git,
    /// Of the repository.
    top: PathBuf,
    /// Of the pipeline file, relative to the repository's.
    folder: PathBuf,
    revision: facts::Revision,
}

impl Revision {
    /// The folder `root` as it is in the revision that `name` stands for now.
    ///
    /// # Errors
    /// There is no such revision, or no repository.
    pub fn named(root: &Path, name: &str) -> Result<Revision, CliError> {
        let top = top(root).ok_or_else(|| {
            CliError::usage(
                format!("--pipeline-from {name}: {} is in no git repository", root.display()),
                "run it in a clone, or leave the flag out",
            )
        })?;
        let commit = Git::at(&top).commit(name).map_err(|error| {
            CliError::usage(
                format!("--pipeline-from {name}: {error}"),
                format!("fetch it (`git fetch origin {}`), or name another", name.trim_start_matches("origin/")),
            )
        })?;
        Revision::of(root, &facts::Revision { name: name.to_owned(), commit })
    }

    /// The folder as it was when the revision was looked up.
    ///
    /// # Errors
    /// There is no repository any more.
    pub fn of(root: &Path, revision: &facts::Revision) -> Result<Revision, CliError> {
        let Some(top) = top(root) else {
            let message = format!("the pipeline is that of {revision}, and {} is in no git repository", root.display());
            return Err(CliError::usage(message, "go on where the run was started"));
        };
        let folder = root.strip_prefix(&top).unwrap_or(Path::new("")).to_owned();
        Ok(Revision { git: Git::at(&top), top, folder, revision: revision.clone() })
    }

    pub fn facts(&self) -> &facts::Revision {
        &self.revision
    }

    /// A file by its path, relative to the folder.
    ///
    /// # Errors
    /// Why it can't be read, for people.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>, String> {
        let inside = match path.strip_prefix(&self.top) {
            Ok(inside) => Some(inside.to_owned()),
            // what lies outside of the repository is the machine's own, and nothing that a revision brings
            Err(_) if path.is_absolute() => return std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
            Err(_) => normal(&self.folder.join(path)),
        };
        let Some(inside) = inside.as_deref().and_then(Path::to_str) else {
            return Err(format!("{} leads out of the repository", path.display()));
        };
        self.git
            .file(&self.revision.commit, inside)
            .map_err(|error| format!("{error}; it is read from {} because of `--pipeline-from`", self.revision))
    }
}

impl Files for Revision {
    fn read(&self, path: &str) -> Result<String, String> {
        let bytes = self.bytes(Path::new(path))?;
        pipeline::raw::decode(bytes).map_err(|mistake| mistake.message)
    }
}

fn top(root: &Path) -> Option<PathBuf> {
    git::top(root)?.canonicalize().ok()
}

/// Without `.` and `..`; none if it leads out.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => normal.push(part),
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop().then_some(())?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}
