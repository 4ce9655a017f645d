//! What can go wrong with folders and blobs, in words that say where, what and how to mend it.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("no space is left on the disk of {} ({doing}); free some there, for example by removing old runs from `.runner/runs`", path.display())]
    DiskFull { doing: &'static str, path: PathBuf },

    #[error("{} is on a read-only file system ({doing}); the runner keeps its state in `.runner` beside the pipeline file and must be able to write there", path.display())]
    ReadOnlyDisk { doing: &'static str, path: PathBuf },

    #[error("{} is not accessible ({doing}); its owner or its permissions keep this user out", path.display())]
    NoAccess { doing: &'static str, path: PathBuf },

    #[error(
        "the stage's copy of the workspace, {}, is gone, so it can't go on where it was; run it anew with `runner resume --failed`",
        path.display()
    )]
    Gone { path: PathBuf },

    #[error("{}: {error} ({doing})", path.display())]
    Io { doing: &'static str, path: PathBuf, error: std::io::Error },

    #[error("{} is not a directory; the workspace is the folder of the pipeline file", path.display())]
    NotADirectory { path: PathBuf },

    #[error("{} is not a directory of its own (a symbolic link or a file); remove it, the runner makes it anew", path.display())]
    StateOccupied { path: PathBuf },

    #[error("run {run} is being worked on by another runner; wait for it to end")]
    RunBusy { run: String },

    #[error("`{0}` can't be a run's id: letters, digits, `-` and `_`, 64 at most")]
    BadRunId(String),

    #[error("blob {digest} holds other bytes than its name says; remove {} and run the stage that made it again", path.display())]
    CorruptBlob { digest: String, path: PathBuf },

    #[error("blob {digest} is gone; run the stage that made it again")]
    MissingBlob { digest: String },

    #[error("`{0}` is not a digest: 64 lower-case hexadecimal digits")]
    BadDigest(String),

    #[error("the manifest {digest} can't be used: {reason}")]
    BadManifest { digest: String, reason: String },

    #[error("artifact `{artifact}`: `{glob}` is not a glob: {reason}")]
    BadGlob { artifact: String, glob: String, reason: String },

    #[error("a cache's key: `{glob}` is not a glob: {reason}")]
    BadKeyGlob { glob: String, reason: String },

    #[error("artifact `{artifact}`: nothing matches `{glob}`{}", near.as_ref().map(|near| format!("; {near}")).unwrap_or_default())]
    NothingMatches { artifact: String, glob: String, near: Option<String> },

    #[error("artifact `{artifact}`: `{path}` is {kind}; artifacts hold files, directories and symbolic links")]
    SpecialFile { artifact: String, path: String, kind: &'static str },

    #[error(
        "artifact `{artifact}`: the symbolic link `{path}` leads out of the workspace, to `{target}`; leave it out or copy what it leads to"
    )]
    LinkLeadsOut { artifact: String, path: String, target: String },

    #[error("artifact `{artifact}` holds more than {limit}; narrow its `paths`")]
    TooMuch { artifact: String, limit: String },

    #[error("artifact `{artifact}`: {} has a name that is not UTF-8; rename it or leave it out", path.display())]
    NotUtf8 { artifact: String, path: PathBuf },

    #[error("artifact `{artifact}` would write `{path}`, which is read-only to every stage")]
    Protected { artifact: String, path: String },

    #[error("artifact `{artifact}` can't be put at `{path}`: {reason}")]
    Occupied { artifact: String, path: String, reason: &'static str },
}

impl WorkspaceError {
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        let (path, error) = (path.as_ref().to_owned(), error.into());
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => WorkspaceError::DiskFull { doing, path },
            Some(Errno::ROFS) => WorkspaceError::ReadOnlyDisk { doing, path },
            Some(Errno::ACCESS | Errno::PERM) => WorkspaceError::NoAccess { doing, path },
            _ => WorkspaceError::Io { doing, path, error },
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, WorkspaceError>;

/// Names the place of an error.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| WorkspaceError::io(doing, path, error))
    }
}
