//! How much the caches take, and removing what was not used for longest.
//!
//! An entry that somebody uses is held by a lock and stays. One that goes is renamed away first, so that nobody finds half of it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, flock, statat};
use rustix::io::Errno;

use crate::beneath::{entries, open_directory};
use crate::copy::Copied;
use crate::error::{At, Result};
use crate::remove::remove_tree;
use crate::state::folder_names;

use super::{ASIDE, CacheStore, ENTRY, read};

const DOING: &str = "measuring a cache";
const REMOVING: &str = "removing a cache";
/// What a runner that was killed left half-way is this old before it goes.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// An entry as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheListed {
    pub scope: String,
    pub name: String,
    /// The parts of its key.
    pub parts: Vec<String>,
    pub files: u64,
    pub bytes: u64,
    pub used: SystemTime,
    folder: PathBuf,
}

/// How much went, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheRemoved {
    pub entries: Vec<CacheListed>,
    pub bytes: u64,
}

impl CacheStore {
    /// Every entry, the one that was used last first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn list(&self) -> Result<Vec<CacheListed>> {
        let mut listed = Vec::new();
        for (scope, name, folder) in self.entries()? {
            // one without a record is on its way out
            let (Some(record), Ok(found)) = (read(&folder), fs::metadata(folder.join(ENTRY))) else { continue };
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            listed.push(CacheListed { scope, name, parts: record.parts, files: record.files, bytes: record.bytes, used, folder });
        }
        listed.sort_by(|one, other| other.used.cmp(&one.used).then_with(|| one.folder.cmp(&other.folder)));
        Ok(listed)
    }

    /// Removes entries that were last used before `before`, and then those that were not used for longest until no more than `limit` bytes
    /// are left. What is in use stays.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn shrink(&self, limit: u64, before: SystemTime, dry: bool) -> Result<CacheRemoved> {
        let listed = self.list()?;
        let mut left: u64 = listed.iter().map(|entry| entry.bytes).sum();
        let mut removed = CacheRemoved::default();
        for entry in listed.into_iter().rev() {
            if left <= limit && entry.used >= before {
                break;
            }
            if self.remove(&entry, dry)? {
                left -= entry.bytes;
                removed.bytes += entry.bytes;
                removed.entries.push(entry);
            }
        }
        if !dry {
            self.sweep_aside()?;
        }
        Ok(removed)
    }

    /// False if somebody uses it.
    fn remove(&self, entry: &CacheListed, dry: bool) -> Result<bool> {
        let record = entry.folder.join(ENTRY);
        let file = match fs::File::open(&record) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).at(REMOVING, &record),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        if !dry {
            let aside = self.aside()?;
            fs::rename(&entry.folder, aside.join("gone")).at(REMOVING, &entry.folder)?;
            remove_tree(&aside)?;
            if let Some(name) = entry.folder.parent() {
                // a folder that is not empty stays
                let _ = fs::remove_dir(name);
                let _ = name.parent().map(fs::remove_dir);
            }
        }
        Ok(true)
    }

    /// What runners that were killed left half-way.
    fn sweep_aside(&self) -> Result<()> {
        let folder = self.path().join(ASIDE);
        for name in folder_names(&folder)? {
            let path = folder.join(name);
            let made = fs::symlink_metadata(&path).and_then(|found| found.modified()).ok();
            if made.and_then(|made| SystemTime::now().duration_since(made).ok()).is_some_and(|age| age > STALE) {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// Files below a folder and the bytes that they take. Looks at nothing but names and sizes, and follows no link.
pub(super) fn measure(root: &OwnedFd, folder: &Path) -> Result<Copied> {
    let mut measured = Copied::default();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let directory = match open_directory(root, &path) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno).at(DOING, folder.join(&path)),
        };
        for (name, kind) in entries(&directory).at(DOING, folder.join(&path))? {
            if kind == FileType::Directory {
                open.push(path.join(&name));
                continue;
            }
            let status = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).at(DOING, folder.join(&path).join(&name))?;
            measured.files += 1;
            // a file with holes takes what is in it
            measured.bytes += (status.st_size as u64).min(status.st_blocks as u64 * 512);
        }
    }
    Ok(measured)
}
