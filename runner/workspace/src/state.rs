//! `.runner`: where the runner keeps what it must not lose and what it throws away.
//!
//! ```text
//! .runner/                    0700
//!   .gitignore                `*`: the folder ignores itself
//!   blobs/ab/cdef…            by BLAKE3 (blob.rs)
//!   caches/<scope>/<name>/<key>/  folders that later attempts may have again (cache.rs)
//!   plugins/<digest>.wasm     components of runs that were imported
//!   gc.lock                   held by the one that removes what nobody needs (garbage.rs)
//!   runs/<id>/
//!     lock                    held (flock) by the runner that works on the run
//!     logs/<stage>.<attempt>.log
//!     work/<stage>.<attempt>/{workspace,scratch}      gone when the stage ends
//! ```
//!
//! A run whose lock nobody holds is not being worked on. Its `work` is what an attempt that was cut off goes on in; [`State::sweep`] removes it
//! when the run is old.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::blob::BlobStore;
use crate::error::{At, Result, WorkspaceError};
use crate::remove::remove_tree;

/// The folder's name, beside the pipeline file.
pub const STATE_FOLDER: &str = ".runner";

/// Temporary blobs older than this belong to nobody.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// The folders of a run that was cut off are kept so long: it may be gone on with (`runner resume`).
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The runner's folder of one checkout.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// Opens, and makes if need be, `.runner` in the checkout (the folder of the pipeline file).
    ///
    /// # Errors
    /// If it can't be made, or is a link or a file.
    pub fn open(checkout: &Path) -> Result<State> {
        let root = checkout.join(STATE_FOLDER);
        match std::fs::symlink_metadata(&root) {
            Ok(found) if !found.is_dir() => return Err(WorkspaceError::StateOccupied { path: root }),
            // whoever can read here can read logs, and whoever can write here decides what the next stage runs
            Ok(found) if found.mode() & 0o077 != 0 => {
                std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).at("closing it to others", &root)?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => private_folder(&root)?,
            Err(error) => return Err(error).at("looking at it", &root),
        }
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").at("writing it", &ignore)?;
        }
        Ok(State { root })
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The blobs. Nothing is made before the first is stored.
    pub fn blobs(&self) -> BlobStore {
        BlobStore::at(self.root.join("blobs"))
    }

    /// The folder of a run, which need not exist.
    pub fn run_folder(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    /// The ids of the runs, oldest first.
    ///
    /// # Errors
    /// If they can't be listed.
    pub fn runs(&self) -> Result<Vec<String>> {
        let mut names = folder_names(&self.root.join("runs"))?;
        // on its way in or out
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    /// Whether a runner works on it.
    pub fn is_running(&self, run: &str) -> bool {
        let lock = std::fs::File::open(self.run_folder(run).join("lock"));
        // shared, so that two who look at once do not take each other for a runner
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Begins a run, or takes one up again: its folder exists and is locked for as long as the [`Run`] lives.
    ///
    /// # Errors
    /// If another runner works on it.
    pub fn begin(&self, run: &str) -> Result<Run> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if run.is_empty() || run.len() > 64 || !run.chars().all(fits) {
            return Err(WorkspaceError::BadRunId(run.to_owned()));
        }
        let folder = self.run_folder(run);
        private_folder(&folder)?;
        let path = folder.join("lock");
        let lock = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).at("opening it", &path)?;
        let lock = OwnedFd::from(lock);
        // somebody who sweeps holds it for an instant
        for _ in 0..50 {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Run { id: run.to_owned(), folder, _lock: lock }),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
                Err(errno) => return Err(errno).at("locking it", &path),
            }
        }
        Err(WorkspaceError::RunBusy { run: run.to_owned() })
    }

    /// Removes the private copies and scratch folders of runs that nobody works on any more, once they are so old that nobody will go on
    /// with them either ([`ABANDONED`]), and blobs that were never finished. Answers the runs that left something behind.
    ///
    /// # Errors
    /// The first that could not be removed; the others are removed all the same.
    pub fn sweep(&self) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        let mut failed = None;
        for run in folder_names(&self.root.join("runs"))? {
            let work = self.run_folder(&run).join("work");
            if !older_than(&work, ABANDONED) {
                continue;
            }
            let path = self.run_folder(&run).join("lock");
            let Ok(lock) = std::fs::File::open(&path) else { continue };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            match remove_tree(&work) {
                Ok(()) => swept.push(run),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let unfinished = self.root.join("blobs").join("tmp");
        for name in folder_names(&unfinished)? {
            let path = unfinished.join(name);
            if older_than(&path, STALE) {
                let _ = std::fs::remove_file(&path);
            }
        }
        failed.map_or(Ok(swept), Err)
    }
}

/// A run that this process works on.
#[derive(Debug)]
pub struct Run {
    id: String,
    folder: PathBuf,
    _lock: OwnedFd,
}

impl Run {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Where an attempt of a stage keeps its things. Nothing is made.
    pub fn attempt(&self, stage: &str, attempt: u32) -> AttemptFolders {
        let name = attempt_name(stage, attempt);
        let work = self.folder.join("work").join(&name);
        AttemptFolders {
            workspace: work.join("workspace"),
            scratch: work.join("scratch"),
            work,
            log: self.folder.join("logs").join(name + ".log"),
        }
    }

    /// Removes every private copy and scratch folder of the run.
    ///
    /// # Errors
    /// If something in them can't be removed.
    pub fn clear(&self) -> Result<()> {
        remove_tree(&self.folder.join("work"))
    }
}

/// The places of one attempt of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFolders {
    /// Holds the two folders below; remove it (`remove_tree`) when the attempt is over.
    pub work: PathBuf,
    /// For a private copy of the checkout.
    pub workspace: PathBuf,
    pub scratch: PathBuf,
    pub log: PathBuf,
}

/// What the files of an attempt are called.
pub fn attempt_name(stage: &str, attempt: u32) -> String {
    format!("{}.{attempt}", file_name(stage))
}

/// A stage's id as a file name: what is not a letter, a digit, `-` or `_` becomes `-`, and a piece of its digest keeps different ids apart.
fn file_name(stage: &str) -> String {
    let kept: String = stage.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).take(80).collect();
    if kept == stage {
        return kept;
    }
    let digest = blake3::hash(stage.as_bytes()).to_hex();
    format!("{}-{}", kept.trim_end_matches('-'), &digest[..8])
}

/// Whether it is there and was last changed so long ago.
fn older_than(path: &Path, age: Duration) -> bool {
    let changed = std::fs::symlink_metadata(path).and_then(|found| found.modified());
    changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|since| since > age)
}

/// Makes a folder, and those that it is in, for this user alone.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("making it", path)
}

/// The names in a folder; none if it does not exist.
pub(crate) fn folder_names(path: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("listing it", path),
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}
