//! Removing a tree that strangers made: read-only directories, any depth, links to anywhere.
//!
//! No recursion: a directory inside a directory is first moved up to the top, so that the work is never more than two levels deep,
//! however deep the tree is (paths in it may well be longer than the kernel takes).

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, chmodat, openat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use crate::beneath::{entries, open_root};
use crate::error::{At, Result};

/// How often a directory that fills up again while it is emptied is tried.
const TRIES: usize = 8;

/// Removes `path` and everything below it. A symbolic link is removed, not followed. Nothing there is fine.
///
/// # Errors
/// What can't be removed stays, with what lies around it: files of another user, mount points.
pub fn remove_tree(path: &Path) -> Result<()> {
    let doing = "removing it";
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL).at(doing, path);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = match open_root(parent) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).at(doing, path),
    };
    match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at(doing, path),
        Ok(status) if FileType::from_raw_mode(status.st_mode) != FileType::Directory => {
            unlinkat(&parent, name, AtFlags::empty()).at(doing, path)
        }
        Ok(_) => {
            let top = enter(&parent, name).at(doing, path)?;
            Emptier { top: &top, moved: 0 }.run().at(doing, path)?;
            unlinkat(&parent, name, AtFlags::REMOVEDIR).at(doing, path)
        }
    }
}

struct Emptier<'a> {
    top: &'a OwnedFd,
    moved: u64,
}

impl Emptier<'_> {
    fn run(&mut self) -> rustix::io::Result<()> {
        // names that could not be told apart from ours are handled like all others
        let mut left: Vec<(OsString, FileType)> = entries(self.top)?;
        loop {
            while let Some((name, kind)) = left.pop() {
                if kind == FileType::Directory {
                    self.directory(&name, &mut left)?
                } else {
                    gone(unlinkat(self.top, &name, AtFlags::empty()))?
                }
            }
            left = entries(self.top)?;
            if left.is_empty() {
                return Ok(());
            }
        }
    }

    /// Removes a directory of the top; the directories in it become directories of the top.
    fn directory(&mut self, name: &OsStr, left: &mut Vec<(OsString, FileType)>) -> rustix::io::Result<()> {
        for _ in 0..TRIES {
            let directory = match enter(self.top, name) {
                Err(Errno::NOENT) => return Ok(()),
                other => other?,
            };
            for (inner, kind) in entries(&directory)? {
                if kind == FileType::Directory {
                    let up = self.lift(&directory, &inner)?;
                    left.push((up, kind));
                } else {
                    gone(unlinkat(&directory, &inner, AtFlags::empty()))?;
                }
            }
            match unlinkat(self.top, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => {}
                other => return gone(other),
            }
        }
        Err(Errno::NOTEMPTY)
    }

    fn lift(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<OsString> {
        loop {
            self.moved += 1;
            let up = OsString::from(format!(".removing-{}", self.moved));
            match renameat_with(directory, name, self.top, &up, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(up),
                Err(Errno::EXIST) => {}
                // a directory that can't be written can't change its `..`
                Err(Errno::ACCESS) => drop(enter(directory, name)?),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Opens a directory for emptying, whatever its permissions are.
fn enter(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let pinned = openat(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let mode = rustix::fs::fstat(&pinned)?.st_mode & 0o777;
    if mode & 0o700 != 0o700 {
        // by its descriptor: the name could have become a link to something else
        chmodat(CWD, format!("/proc/self/fd/{}", pinned.as_raw_fd()), Mode::from_raw_mode(0o700), AtFlags::empty())?;
    }
    openat(&pinned, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn gone(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
