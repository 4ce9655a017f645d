//! Removing what nobody needs any more: runs, and blobs that no run names.
//!
//! Runners store blobs while this happens. A blob is as old as the last time that somebody stored its bytes, also where they were there
//! already ([`BlobStore::put`] touches it); young ones are left alone, because the journal that names them may not be written yet.
//! A blob is first moved aside, then looked at once more: whoever stores it in between either finds it gone and writes it anew, or has
//! touched it, and it is put back; whoever reads it looks there too.
//!
//! Deliberately absent: which runs are to go, and which blobs a run names.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::blob::{BlobStore, Digest};
use crate::error::{At, Result};
use crate::remove::remove_tree;
use crate::state::{State, folder_names, private_folder};

const DOING: &str = "removing what nobody needs";

/// What a run that is being removed is called until it is gone.
const REMOVED: &str = ".removed-";

/// How much was removed, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub files: u64,
    pub bytes: u64,
}

impl Removed {
    fn add(&mut self, other: Removed) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

impl State {
    /// Removes a run with all that lies in its folder. `None`: a runner works on it, so it stays.
    ///
    /// # Errors
    /// If something in it can't be removed; the rest goes when it is tried again.
    pub fn remove_run(&self, run: &str, dry: bool) -> Result<Option<Removed>> {
        let folder = self.run_folder(run);
        let held = fs::File::open(folder.join("lock")).ok();
        if held.as_ref().is_some_and(|lock| flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()) {
            return Ok(None);
        }
        let removed = measure(&folder);
        if !dry {
            // under another name nobody takes it up while it is half gone
            let aside = self.run_folder(&format!("{REMOVED}{run}"));
            fs::rename(&folder, &aside).at(DOING, &folder)?;
            remove_tree(&aside)?;
        }
        Ok(Some(removed))
    }

    /// Removes what an earlier removal left, when it was interrupted.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn remove_leftovers(&self) -> Result<Removed> {
        let runs = self.path().join("runs");
        let mut removed = Removed::default();
        for name in folder_names(&runs)?.into_iter().filter(|name| name.starts_with(REMOVED)) {
            removed.add(measure(&runs.join(&name)));
            remove_tree(&runs.join(&name))?;
        }
        Ok(removed)
    }

    /// Removes files of `.runner/<folder>` whose names are not wanted and that were last changed before `before`.
    ///
    /// # Errors
    /// If one can't be removed.
    pub fn remove_unnamed(&self, folder: &str, wanted: impl Fn(&str) -> bool, before: SystemTime, dry: bool) -> Result<Removed> {
        let folder = self.path().join(folder);
        let mut removed = Removed::default();
        for name in folder_names(&folder)?.into_iter().filter(|name| !wanted(name)) {
            let path = folder.join(name);
            let Some(bytes) = length_if_older(&path, before) else { continue };
            if !dry {
                fs::remove_file(&path).at(DOING, &path)?;
            }
            removed.add(Removed { files: 1, bytes });
        }
        Ok(removed)
    }
}

impl BlobStore {
    /// Removes the blobs that are not named and were last stored before `before`.
    ///
    /// # Errors
    /// If one can't be removed.
    pub fn remove_unnamed(&self, named: &HashSet<Digest>, before: SystemTime, dry: bool) -> Result<Removed> {
        let mut removed = Removed::default();
        for first in folder_names(self.path())?.into_iter().filter(|name| name.len() == 2) {
            let folder = self.path().join(&first);
            for rest in folder_names(&folder)? {
                let Ok(digest) = format!("{first}{rest}").parse::<Digest>() else { continue };
                if named.contains(&digest) {
                    continue;
                }
                let path = folder.join(&rest);
                let Some(bytes) = length_if_older(&path, before) else { continue };
                if dry || self.remove_blob(&path, &digest, before)? {
                    removed.add(Removed { files: 1, bytes });
                }
            }
        }
        Ok(removed)
    }

    fn remove_blob(&self, path: &Path, digest: &Digest, before: SystemTime) -> Result<bool> {
        private_folder(&self.path().join("tmp"))?;
        let aside = self.aside(digest);
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.at(DOING, path)?,
        }
        if length_if_older(&aside, before).is_none() {
            // one that was stored meanwhile stays: it is the younger
            match renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other.at(DOING, path).map(|()| false),
            }
        }
        match fs::remove_file(&aside) {
            // swept with the unfinished blobs
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.at(DOING, &aside)?,
        }
        Ok(true)
    }
}

fn length_if_older(path: &Path, before: SystemTime) -> Option<u64> {
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    (found.modified().ok()? < before).then_some(found.len())
}

/// Files below a folder and their bytes; what can't be looked at is not counted.
fn measure(folder: &Path) -> Removed {
    let mut measured = Removed::default();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => open.push(entry.path()),
                Ok(found) => measured.add(Removed { files: 1, bytes: found.len() }),
                Err(_) => {}
            }
        }
    }
    measured
}
