//! Putting an artifact into a stage's folder.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, mkdirat, openat, statat, symlinkat, unlinkat};
use rustix::io::Errno;

use crate::artifact::Entry;
use crate::beneath::{held_by, open, open_root};
use crate::blob::BlobStore;
use crate::error::{At, Result, WorkspaceError};

const DOING: &str = "restoring an artifact";

/// How much was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub files: u64,
    pub bytes: u64,
}

impl BlobStore {
    /// Puts the artifact `digest`, called `name` in errors, into `folder`. Files and links that are there already are replaced, directories
    /// are kept. Nothing is written through a symbolic link, and nothing at or below `protected`.
    ///
    /// # Errors
    /// Gone or corrupt blobs, protected paths, something else in the way. What was restored before the error stays.
    pub fn restore(&self, name: &str, digest: &str, folder: &Path, protected: &[String]) -> Result<Restored> {
        let manifest = self.manifest(digest)?;
        if let Some(entry) = manifest.entries.iter().find(|entry| held_by(entry.path(), protected).is_some()) {
            return Err(WorkspaceError::Protected { artifact: name.to_owned(), path: entry.path().to_owned() });
        }
        let root = open_root(folder).at(DOING, folder)?;
        let mut target = Target { artifact: name, store: self, folder, root, at: None };
        let mut restored = Restored::default();
        let mut modes = Vec::new();
        for entry in &manifest.entries {
            match entry {
                Entry::Directory { path, mode } => {
                    target.directory(path)?;
                    modes.push((path, *mode));
                }
                Entry::Symlink { path, target: to } => {
                    target.replace(path)?;
                    let (parent, last) = target.parent(path)?;
                    symlinkat(to.as_str(), parent, last).at(DOING, folder.join(path))?;
                    restored.files += 1;
                }
                Entry::File { path, mode, digest, .. } => {
                    restored.bytes += target.file(path, *mode, digest)?;
                    restored.files += 1;
                }
            }
        }
        // last, so that a directory that can't be written can be filled
        for (path, mode) in modes.into_iter().rev() {
            let directory = open(&target.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).at(DOING, folder.join(path))?;
            fchmod(directory, Mode::from_raw_mode(mode & 0o777)).at(DOING, folder.join(path))?;
        }
        Ok(restored)
    }
}

struct Target<'a> {
    artifact: &'a str,
    store: &'a BlobStore,
    folder: &'a Path,
    root: OwnedFd,
    /// The directory that was last written to: most paths share theirs with the one before.
    at: Option<(PathBuf, OwnedFd)>,
}

impl Target<'_> {
    fn occupied(&self, path: &str, reason: &'static str) -> WorkspaceError {
        WorkspaceError::Occupied { artifact: self.artifact.to_owned(), path: path.to_owned(), reason }
    }

    /// The directory of `path`, made if it is not there, and the last name.
    fn parent<'p>(&mut self, path: &'p str) -> Result<(&OwnedFd, &'p str)> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.at.as_ref().is_none_or(|(at, _)| at != Path::new(directory)) {
            let fd = self.directory(directory)?;
            self.at = Some((PathBuf::from(directory), fd));
        }
        let (_, fd) = self.at.as_ref().expect("it was just set");
        Ok((fd, name))
    }

    fn directory(&mut self, path: &str) -> Result<OwnedFd> {
        let full = self.folder.join(path);
        let mut made = 0;
        loop {
            match open(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => return Ok(fd),
                Err(Errno::NOENT) if made < path.len() + 1 => {}
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(self.occupied(path, "a symbolic link or a file is in the way")),
                Err(errno) => return Err(errno).at(DOING, full),
            }
            made += 1;
            // the first that is missing; what is above it was opened on the way and is no link
            let ancestors: Vec<&Path> = Path::new(path).ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
            for ancestor in ancestors.into_iter().rev() {
                let above = ancestor.parent().unwrap_or(Path::new(""));
                let fd = match open(&self.root, above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                    Ok(fd) => fd,
                    Err(_) => break,
                };
                let name = ancestor.file_name().expect("an ancestor has a name");
                match mkdirat(&fd, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).at(DOING, self.folder.join(ancestor)),
                }
            }
        }
    }

    /// Removes a file or link that is in the way.
    fn replace(&mut self, path: &str) -> Result<()> {
        let full = self.folder.join(path);
        let (parent, name) = self.parent(path)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).at(DOING, full),
            Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
                Err(self.occupied(path, "there is a directory of that name"))
            }
            Ok(_) => unlinkat(parent, name, AtFlags::empty()).at(DOING, full),
        }
    }

    fn file(&mut self, path: &str, mode: u32, digest: &crate::blob::Digest) -> Result<u64> {
        self.replace(path)?;
        let full = self.folder.join(path);
        let store = self.store;
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::from_raw_mode(0o600)).at(DOING, &full)?;
        let written = match store.write_to(digest, &file, &full) {
            Ok(written) => written,
            Err(error) => {
                // nobody shall find half a file under this name
                let _ = unlinkat(parent, name, AtFlags::empty());
                return Err(error);
            }
        };
        fchmod(&file, Mode::from_raw_mode(mode & 0o777)).at(DOING, &full)?;
        Ok(written)
    }
}
