//! The folder that a stage works in.

use std::path::{Path, PathBuf};

use crate::blob::BlobStore;
use crate::copy::{Copied, copy};
use crate::error::{At, Result, WorkspaceError};
use crate::listing::{installed, list};
use crate::remove::remove_tree;
use crate::state::private_folder;

/// What a stage may do with the checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It reads the checkout itself. If it consumes artifacts it gets a private copy, because nobody else shall see them (an overlay
    /// would do, but can't be mounted without privileges everywhere).
    ReadOnly,
    /// It gets a copy of its own: what a fresh clone has, with the changes that are not committed (see `listing`).
    Private,
    /// Like `Private`, with what installers put into the checkout (`node_modules`, virtual environments), ignored or not: a stage that is
    /// watched to find out what it needs sees what it would see of the checkout itself.
    Learning,
    /// It works in the checkout itself, and so do the artifacts that it consumes. The caller lets it run alone.
    Shared,
}

/// An artifact to put in place.
#[derive(Debug, Clone, Copy)]
pub struct Consumed<'a> {
    /// As in `consumes`, for errors: `build.dist`.
    pub name: &'a str,
    pub digest: &'a str,
}

#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub mode: Mode,
    /// The folder of the pipeline file.
    pub checkout: &'a Path,
    /// Where a private copy goes: `AttemptFolders::workspace`. It must not exist.
    pub folder: &'a Path,
    /// In the order in which they are put in place: of two that hold the same path, the later wins.
    pub consumed: &'a [Consumed<'a>],
    pub store: &'a BlobStore,
    /// Paths that no artifact may write: `.git`, `.runner`, the pipeline file, plugins.
    pub protected: &'a [String],
}

/// A folder that is ready for a stage.
#[derive(Debug)]
pub struct StageWorkspace {
    /// Absolute, with no symbolic link in it.
    pub folder: PathBuf,
    /// How much was copied for it; none where it is the checkout itself.
    pub copied: Option<Copied>,
}

impl StageWorkspace {
    /// Removes a private copy. The checkout stays.
    ///
    /// # Errors
    /// If something in it can't be removed.
    pub fn remove(&self) -> Result<()> {
        if self.copied.is_some() { remove_tree(&self.folder) } else { Ok(()) }
    }
}

/// The folder of an attempt that was cut off and goes on: as it was left. `private`: it had a copy of its own.
///
/// # Errors
/// If the copy is gone.
pub fn taken_up(checkout: &Path, folder: &Path, private: bool) -> Result<StageWorkspace> {
    if !private {
        return Ok(StageWorkspace { folder: checkout.canonicalize().at("opening the workspace", checkout)?, copied: None });
    }
    match folder.canonicalize() {
        Ok(folder) => Ok(StageWorkspace { folder, copied: Some(Copied::default()) }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(WorkspaceError::Gone { path: folder.to_owned() }),
        Err(error) => Err(error).at("opening the stage's copy", folder),
    }
}

/// Makes the folder for one attempt of a stage.
///
/// # Errors
/// The disk; artifacts that are gone or don't fit. A private copy that could not be finished is removed.
pub fn prepare(request: &Request<'_>) -> Result<StageWorkspace> {
    // the checkout may be named through links; nothing below it is
    let checkout = request.checkout.canonicalize().at("opening the workspace", request.checkout)?;
    if !checkout.is_dir() {
        return Err(WorkspaceError::NotADirectory { path: checkout });
    }
    let private = match request.mode {
        Mode::ReadOnly => !request.consumed.is_empty(),
        Mode::Private | Mode::Learning => true,
        Mode::Shared => false,
    };
    if !private {
        restore(request, &checkout)?;
        return Ok(StageWorkspace { folder: checkout, copied: None });
    }
    private_folder(request.folder)?;
    let folder = request.folder.canonicalize().at("opening the private copy", request.folder)?;
    let filled = (|| {
        let mut listing = list(&checkout)?;
        if request.mode == Mode::Learning {
            installed(&checkout, &mut listing)?;
        }
        let copied = copy(&checkout, &folder, &listing)?;
        restore(request, &folder)?;
        Ok(copied)
    })();
    match filled {
        Ok(copied) => Ok(StageWorkspace { folder, copied: Some(copied) }),
        Err(error) => {
            // the error that is told is the first one
            let _ = remove_tree(&folder);
            Err(error)
        }
    }
}

fn restore(request: &Request<'_>, folder: &Path) -> Result<()> {
    for consumed in request.consumed {
        request.store.restore(consumed.name, consumed.digest, folder, request.protected)?;
    }
    Ok(())
}
