//! Folders that a later attempt may have again, by a key.
//!
//! ```text
//! .runner/caches/
//!   tmp/<name>/                     entries on their way in or out
//!   <scope>/<name>/<key>/
//!     entry.json                    what the key was made of; held (flock, shared) by whoever uses the entry; as old as its last use
//!     content/0, content/1, …       a folder for each path of the cache
//! ```
//!
//! An entry is complete from the moment that it is there, and nobody writes into it afterwards: it is put together aside, synced, and renamed.
//! Of two runners that save the same key, the first wins. Who may read which scope is the caller's to say ([`Scopes`]); nothing is ever
//! found in another.
//!
//! What a stage left is not trusted: it is moved and copied, opened beneath descriptors and through no link, and never looked into.
//!
//! Deliberately absent: what a key means, and mounting (`capability-commands`).

mod key;
mod size;

pub use key::{CacheKey, KeySource};
pub use size::{CacheListed, CacheRemoved};

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, chmodat, flock, fstat, futimens, renameat_with, syncfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::beneath::{open, open_directory, open_root};
use crate::copy::{Copied, copy};
use crate::error::{At, Result};
use crate::listing::everything;
use crate::remove::remove_tree;
use crate::state::{State, folder_names, private_folder};

/// All caches of a checkout together; of more, what was not used for longest goes.
pub const CACHE_LIMIT: u64 = 10 << 30;

/// The newest format of `entry.json` that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
const ENTRY: &str = "entry.json";
const CONTENT: &str = "content";
/// Where entries come and go.
const ASIDE: &str = "tmp";
const SAVING: &str = "saving a cache";

/// Whose caches may be read, and written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    /// None: nothing is saved.
    pub own: Option<String>,
    /// After one's own, in this order.
    pub others: Vec<String>,
}

impl Scopes {
    fn readable(&self) -> impl Iterator<Item = &str> {
        self.own.iter().chain(&self.others).map(String::as_str)
    }
}

/// The caches of one state folder.
#[derive(Debug, Clone)]
pub struct CacheStore {
    folder: PathBuf,
}

/// What stands in `entry.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    format: u32,
    /// The key's beginnings, shortest first: digests (see [`CacheKey`]).
    beginnings: Vec<String>,
    /// The parts, for people.
    parts: Vec<String>,
    /// Nanoseconds since 1970.
    saved: u64,
    files: u64,
    bytes: u64,
}

/// An entry that was found. It stays where it is until this is dropped.
#[derive(Debug)]
pub struct CacheEntry {
    folder: PathBuf,
    record: Record,
    _held: OwnedFd,
}

impl CacheEntry {
    /// The folder of the cache's path with this index. Nobody may write there.
    pub fn content(&self, index: usize) -> PathBuf {
        self.folder.join(CONTENT).join(index.to_string())
    }

    /// The entry's own folder: by this it is taken up again.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn bytes(&self) -> u64 {
        self.record.bytes
    }

    /// Copies one of its folders into `to`, which is empty.
    ///
    /// # Errors
    /// The disk; a file in it that can't be read.
    pub fn copy(&self, index: usize, to: &Path) -> Result<Copied> {
        let from = self.content(index);
        copy(&from, to, &everything(&from)?)
    }
}

/// What was found for a key.
#[derive(Debug)]
pub struct CacheFound {
    pub entry: CacheEntry,
    /// How many parts of the key the entry shares; all of them in a hit.
    pub shared: usize,
}

/// A folder that a stage may have filled: below one of the runner's own, by a path whose folders the stage may have replaced with anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub root: PathBuf,
    pub path: PathBuf,
}

/// What became of something that was to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSaved {
    Saved {
        files: u64,
        bytes: u64,
    },
    /// Another runner was first.
    Known,
    /// There is nothing to save.
    Empty,
    /// It is larger than everything that may be kept.
    TooLarge {
        bytes: u64,
    },
}

impl State {
    /// The caches. Nothing is made before the first is saved.
    pub fn caches(&self) -> CacheStore {
        CacheStore { folder: self.path().join("caches") }
    }
}

impl CacheStore {
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The entry with the whole key, or else the one that shares the longest beginning of it: of several, one's own before others', and the
    /// newest.
    ///
    /// # Errors
    /// If the store can't be read. What is broken in it is as if it were not there.
    pub fn find(&self, scopes: &Scopes, name: &str, key: &CacheKey) -> Result<Option<CacheFound>> {
        for shared in (1..=key.len()).rev() {
            for scope in scopes.readable() {
                let folder = self.folder.join(scope).join(name);
                let found = if shared == key.len() { hold(&folder.join(key.name()), key) } else { newest(&folder, key, shared)? };
                if let Some(entry) = found {
                    return Ok(Some(CacheFound { entry, shared }));
                }
            }
        }
        Ok(None)
    }

    /// Whether there is anything under this name, so that a miss has a reason.
    pub fn holds(&self, scopes: &Scopes, name: &str) -> bool {
        let folders = scopes.readable().map(|scope| self.folder.join(scope).join(name));
        folders.into_iter().any(|folder| folder_names(&folder).is_ok_and(|names| !names.is_empty()))
    }

    /// An entry that an attempt had when it was cut off. None: it is gone.
    pub fn again(&self, folder: &Path) -> Option<CacheEntry> {
        let below = folder.strip_prefix(&self.folder).ok()?;
        (below.components().count() == 3).then(|| held(folder)).flatten()
    }

    /// Moves folders into a new entry, one for each path of the cache in its order. A folder that is not there is an empty one.
    ///
    /// # Errors
    /// The disk, or something in the folders that can't be kept. Nothing is left in the store then.
    pub fn save(&self, scope: &str, name: &str, key: &CacheKey, contents: &[Content], limit: u64) -> Result<CacheSaved> {
        let place = self.folder.join(scope).join(name);
        let target = place.join(key.name());
        if target.exists() {
            return Ok(CacheSaved::Known);
        }
        let (mut files, mut bytes) = (0, 0);
        for content in contents {
            let Some((folder, _)) = content.open()? else { continue };
            let size = size::measure(&folder, &content.path)?;
            files += size.files;
            bytes += size.bytes;
        }
        if files == 0 {
            return Ok(CacheSaved::Empty);
        }
        if bytes > limit {
            return Ok(CacheSaved::TooLarge { bytes });
        }
        let aside = self.aside()?;
        let put = || -> Result<bool> {
            let content = aside.join(CONTENT);
            private_folder(&content)?;
            for (index, one) in contents.iter().enumerate() {
                one.take_to(&content.join(index.to_string()))?;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
            let record = Record { format: FORMAT, beginnings: key.beginnings(), parts: key.parts(), saved: now, files, bytes };
            let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from).at(SAVING, &aside)?;
            fs::write(aside.join(ENTRY), text).at(SAVING, &aside)?;
            // one call for all of it: thousands of files, synced one by one, take longer than what they save
            syncfs(File::open(&aside).at(SAVING, &aside)?).at(SAVING, &aside)?;
            private_folder(&place)?;
            match renameat_with(CWD, &aside, CWD, &target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
                other => other.at(SAVING, &target).map(|()| true),
            }
        };
        let put = put();
        if !matches!(put, Ok(true)) {
            // the error that is told is the first one
            let _ = remove_tree(&aside);
        }
        Ok(if put? { CacheSaved::Saved { files, bytes } } else { CacheSaved::Known })
    }

    /// A folder of its own for what comes or goes.
    fn aside(&self) -> Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = self.folder.join(ASIDE).join(format!("{now:x}-{}-{number}", std::process::id()));
        private_folder(&path)?;
        Ok(path)
    }

    /// Every entry's scope, name and folder.
    fn entries(&self) -> Result<Vec<(String, String, PathBuf)>> {
        let mut found = Vec::new();
        for scope in folder_names(&self.folder)?.into_iter().filter(|scope| scope != ASIDE) {
            for name in folder_names(&self.folder.join(&scope))? {
                let folder = self.folder.join(&scope).join(&name);
                found.extend(folder_names(&folder)?.into_iter().map(|key| (scope.clone(), name.clone(), folder.join(key))));
            }
        }
        Ok(found)
    }
}

/// The newest entry of a folder that shares so many parts.
fn newest(folder: &Path, key: &CacheKey, shared: usize) -> Result<Option<CacheEntry>> {
    let beginning = key.beginning(shared);
    let mut fitting: Vec<(u64, PathBuf)> = Vec::new();
    for name in folder_names(folder)? {
        let entry = folder.join(name);
        if let Some(record) = read(&entry).filter(|record| record.beginnings.get(shared - 1) == Some(&beginning)) {
            fitting.push((record.saved, entry));
        }
    }
    fitting.sort();
    // one that is being removed can't be held: then the next
    Ok(fitting.into_iter().rev().find_map(|(_, entry)| held(&entry)))
}

fn read(folder: &Path) -> Option<Record> {
    let text = fs::read(folder.join(ENTRY)).ok()?;
    serde_json::from_slice::<Record>(&text).ok().filter(|record| record.format <= FORMAT)
}

fn hold(folder: &Path, key: &CacheKey) -> Option<CacheEntry> {
    held(folder).filter(|entry| entry.record.beginnings == key.beginnings())
}

/// Takes hold of an entry, so that nobody removes it, and marks it as used.
fn held(folder: &Path) -> Option<CacheEntry> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder.join(ENTRY), flags, Mode::empty()).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    // who removes moves it away first, under its lock
    let record = read(folder)?;
    let _ = futimens(&file, &now());
    Some(CacheEntry { folder: folder.to_owned(), record, _held: file })
}

fn now() -> rustix::fs::Timestamps {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
}

impl Content {
    /// The folder, and the one that it is in; none if there is no such folder, or something else in its place.
    fn open(&self) -> Result<Option<(OwnedFd, OwnedFd)>> {
        let whole = self.root.join(&self.path);
        let root = match open_root(&self.root) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at(SAVING, &self.root)?,
        };
        let above = self.path.parent().unwrap_or(Path::new(""));
        let opened = open_directory(&root, above).and_then(|above| {
            let name = self.path.file_name().unwrap_or_default();
            let pinned = open(&above, Path::new(name), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            if fstat(&pinned)?.st_mode & 0o700 != 0o700 {
                // a directory that its owner may not write can't change its parent
                chmodat(CWD, own_path(&pinned), Mode::from_raw_mode(0o700), AtFlags::empty())?;
            }
            Ok((open_directory(&above, Path::new(name))?, above))
        });
        match opened {
            Ok(both) => Ok(Some(both)),
            // a link or a file, in its place or on the way, is not what was to be kept
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).at(SAVING, whole),
        }
    }

    /// Moves it; copies it where it lies on another file system.
    fn take_to(&self, to: &Path) -> Result<()> {
        let Some((folder, above)) = self.open()? else { return private_folder(to) };
        let name = self.path.file_name().unwrap_or_default();
        match renameat_with(&above, name, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::XDEV) => {
                private_folder(to)?;
                let from = PathBuf::from(own_path(&folder));
                copy(&from, to, &everything(&from)?).map(drop)
            }
            other => other.at(SAVING, self.root.join(&self.path)),
        }
    }
}

/// The way to an open descriptor that no rename changes.
fn own_path(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}
