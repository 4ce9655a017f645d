//! What happened to a private copy while a stage worked in it, for learning which grants the stage needs.
//!
//! The copy is marked: every access time is set to the beginning of time. File systems that keep access times in the usual way (`relatime`)
//! set it anew at the first reading or listing, whichever program does it. Whether this one does is tried on a file first. What was changed shows
//! in the inode and its change time, which no program can set.
//!
//! Deliberately absent: looking at what a file holds, and watching while the stage runs: nothing of it needs rights or can miss an event.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, statat, utimensat};

use crate::beneath::{entries, open, open_directory, open_root};
use crate::error::{At, Result};

const DOING: &str = "looking what a stage did with its copy of it";
/// A name that no project has.
const PROBE: &str = ".runner-access-times";

/// What happened. Paths are relative to the copy, with `/`; `.` is the copy itself. Names that are no UTF-8 are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    pub read: BTreeSet<String>,
    /// Directories whose entries were listed, and those of links that were followed.
    pub listed: BTreeSet<String>,
    /// Files that were changed where they stood.
    pub changed: BTreeSet<String>,
    /// What was not there before, without what is below it.
    pub made: BTreeSet<String>,
    /// What is gone, without what was below it, and what was replaced.
    pub removed: BTreeSet<String>,
    /// The names in the copy itself, before.
    pub top: BTreeSet<String>,
    /// The file system keeps no access times: `read` and `listed` are empty.
    pub reads_unknown: bool,
}

/// A copy as it was marked.
#[derive(Debug)]
pub struct Marked {
    folder: PathBuf,
    before: BTreeMap<PathBuf, Entry>,
    keeps_access_times: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    inode: u64,
    changed: (i64, u64),
    accessed: (i64, u64),
    kind: FileType,
}

impl Entry {
    fn of(status: &Stat) -> Entry {
        Entry {
            inode: status.st_ino,
            changed: (status.st_ctime, status.st_ctime_nsec),
            accessed: (status.st_atime, status.st_atime_nsec),
            kind: FileType::from_raw_mode(status.st_mode),
        }
    }

    fn was_accessed(&self) -> bool {
        self.accessed != (0, 0)
    }
}

impl Marked {
    /// Marks a copy that nobody works in yet.
    ///
    /// # Errors
    /// The disk.
    pub fn new(folder: &Path) -> Result<Marked> {
        let root = open_root(folder).at(DOING, folder)?;
        let keeps_access_times = keeps_access_times(&root).at(DOING, folder)?;
        let mut before = BTreeMap::new();
        // a folder after what is in it: listing it to mark its entries would unmark it
        walk(&root, folder, &mut |directory, name, path, _| {
            mark(directory, name).at(DOING, folder.join(path))?;
            let status = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).at(DOING, folder.join(path))?;
            before.insert(path.to_owned(), Entry::of(&status));
            Ok(())
        })?;
        mark(&root, ".".as_ref()).at(DOING, folder)?;
        Ok(Marked { folder: folder.to_owned(), before, keeps_access_times })
    }

    /// What happened since. Nobody works in the copy any more. To be asked once: looking is an access too.
    ///
    /// # Errors
    /// The disk.
    pub fn touched(&self) -> Result<Touched> {
        let root = open_root(&self.folder).at(DOING, &self.folder)?;
        let mut now: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        let status = rustix::fs::fstat(&root).at(DOING, &self.folder)?;
        let listed = Entry::of(&status).was_accessed();
        // a folder before what is in it: what is looked at here is no use of it
        look(&root, &self.folder, &mut now)?;
        let mut touched = Touched { reads_unknown: !self.keeps_access_times, ..Touched::default() };
        let top = self.before.keys().filter(|path| path.components().count() == 1);
        touched.top = top.filter_map(|path| text(path)).collect();
        if listed && self.keeps_access_times {
            touched.listed.insert(".".to_owned());
        }
        for (path, entry) in &now {
            let Some(name) = text(path) else { continue };
            let known = self.before.get(path);
            let accessed = entry.was_accessed() && self.keeps_access_times;
            let into = match known {
                None if within(&touched.made, path) => continue,
                None => &mut touched.made,
                Some(known) if known.inode != entry.inode || known.kind != entry.kind => &mut touched.removed,
                // its entries tell what was changed in a folder
                Some(known) if known.changed != entry.changed && entry.kind != FileType::Directory => &mut touched.changed,
                Some(_) if accessed && entry.kind == FileType::Symlink => {
                    // no grant can name a link: its folder is what is needed
                    touched.listed.insert(path.parent().and_then(text).filter(|above| !above.is_empty()).unwrap_or_else(|| ".".to_owned()));
                    continue;
                }
                Some(_) if accessed && entry.kind == FileType::Directory => &mut touched.listed,
                Some(_) if accessed => &mut touched.read,
                Some(_) => continue,
            };
            into.insert(name);
        }
        for path in self.before.keys().filter(|path| !now.contains_key(*path)) {
            if let Some(name) = text(path).filter(|_| !within(&touched.removed, path)) {
                touched.removed.insert(name);
            }
        }
        Ok(touched)
    }
}

/// Whether one of `paths` holds `path`.
fn within(paths: &BTreeSet<String>, path: &Path) -> bool {
    path.ancestors().skip(1).filter_map(Path::to_str).any(|above| paths.contains(above))
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

/// Every entry below `root`, what is in a folder before the folder.
fn walk(root: &OwnedFd, folder: &Path, each: &mut dyn FnMut(&OwnedFd, &OsStr, &Path, FileType) -> Result<()>) -> Result<()> {
    /// A folder that is walked, and what of it is left to do.
    struct Level {
        directory: OwnedFd,
        path: PathBuf,
        left: Vec<(OsString, FileType)>,
    }
    let mut levels = vec![Level {
        directory: open_directory(root, ".").at(DOING, folder)?,
        path: PathBuf::new(),
        left: entries(root).at(DOING, folder)?,
    }];
    while let Some(level) = levels.last_mut() {
        match level.left.pop() {
            Some((name, FileType::Directory)) => {
                let path = level.path.join(&name);
                let directory = open_directory(&level.directory, &name).at(DOING, folder.join(&path))?;
                let left = entries(&directory).at(DOING, folder.join(&path))?;
                levels.push(Level { directory, path, left });
            }
            Some((name, kind)) => each(&level.directory, &name, &level.path.join(&name), kind)?,
            None => {
                let done = levels.pop();
                if let (Some(done), Some(above)) = (done, levels.last())
                    && let Some(name) = done.path.file_name()
                {
                    each(&above.directory, name, &done.path, FileType::Directory)?;
                }
            }
        }
    }
    Ok(())
}

/// Notes every entry below a folder, each folder before it is listed.
fn look(root: &OwnedFd, folder: &Path, now: &mut BTreeMap<PathBuf, Entry>) -> Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = || folder.join(&path);
        let directory = match open_directory(root, &path) {
            Ok(directory) => directory,
            // what a program shut is not looked into
            Err(rustix::io::Errno::ACCESS) => continue,
            Err(errno) => return Err(errno).at(DOING, full()),
        };
        for (name, kind) in entries(&directory).at(DOING, full())? {
            let status = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).at(DOING, full())?;
            let below = path.join(&name);
            now.insert(below.clone(), Entry::of(&status));
            if kind == FileType::Directory {
                open.push(below);
            }
        }
    }
    Ok(())
}

fn mark(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let times =
        Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: 0 }, last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Finds out by doing it.
fn keeps_access_times(root: &OwnedFd) -> rustix::io::Result<bool> {
    let file = open(root, PROBE, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o600))?;
    let tried = (|| {
        crate::copy::write_all(&file, b"read me")?;
        mark(root, PROBE.as_ref())?;
        let mut again = std::fs::File::from(open(root, PROBE, OFlags::RDONLY, Mode::empty())?);
        let _ = again.read(&mut [0; 8]);
        let status = statat(root, PROBE, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Entry::of(&status).was_accessed())
    })();
    rustix::fs::unlinkat(root, PROBE, AtFlags::empty())?;
    tried
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_was_read_listed_written_and_removed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["read/me", "read/not", "listed/a", "gone/a", "changed", "replaced", "src/lib.rs"] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), path).unwrap();
        }
        let marked = Marked::new(folder.path()).unwrap();
        let touched = marked.touched().unwrap();
        assert_eq!(touched, Touched { top: touched.top.clone(), ..Touched::default() }, "nothing yet");
        let marked = Marked::new(folder.path()).unwrap();
        fs::read(at("read/me")).unwrap();
        assert_eq!(fs::read_dir(at("listed")).unwrap().count(), 1);
        fs::remove_dir_all(at("gone")).unwrap();
        fs::write(at("changed"), "anew").unwrap();
        fs::write(at("new"), "x").unwrap();
        fs::rename(at("new"), at("replaced")).unwrap();
        fs::create_dir_all(at("target/debug")).unwrap();
        fs::write(at("target/debug/x"), "x").unwrap();
        let touched = marked.touched().unwrap();
        assert!(!touched.reads_unknown, "this machine's temporary folder keeps access times");
        assert_eq!(names(&touched.read), ["read/me"]);
        assert_eq!(names(&touched.listed), ["listed"]);
        assert_eq!(names(&touched.changed), ["changed"]);
        assert_eq!(names(&touched.made), ["target"]);
        assert_eq!(names(&touched.removed), ["gone", "replaced"]);
        assert_eq!(names(&touched.top), ["changed", "gone", "listed", "read", "replaced", "src"]);
    }

    #[test]
    fn links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
        let marked = Marked::new(folder.path()).unwrap();
        fs::read(folder.path().join("out/secret")).unwrap();
        let touched = marked.touched().unwrap();
        assert_eq!(
            (names(&touched.read), names(&touched.listed)),
            (vec![], vec!["."]),
            "the link was followed, and nothing behind it is told"
        );
    }
}
