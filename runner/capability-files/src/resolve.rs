//! Finds what a path leads to without opening it, and where that really is.
//!
//! A path without symbolic links is answered by one `openat2` that refuses them: it then leads where it says. A path with one is walked
//! name by name. Either way every step starts from a descriptor that is already held and none can leave the base, so that whoever swaps a
//! directory for a link meanwhile changes the answer (and with it the decision), never what is acted upon.
//!
//! Deliberately absent: any opinion on what may be seen (`policy`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;

use crate::effect::{Found, Kind, Pins, Resolved};
use crate::errno::error_code;
use crate::host::ErrorCode;
use crate::path::{ROOT, join, lexical, split};

/// As many as Linux follows.
const LINKS_MAX: usize = 40;
/// As long as Linux takes.
const PATH_MAX: usize = 4096;
/// `openat2` gives up with EAGAIN where something was renamed while it looked at a `..`.
const TRIES: usize = 16;

pub fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::Unknown => Kind::Unknown,
    }
}

pub fn kind_of(fd: impl AsFd) -> rustix::io::Result<Kind> {
    Ok(kind(FileType::from_raw_mode(fstat(fd)?.st_mode)))
}

/// Pins what `path` leads to from `base` (whose own path is `base_path`), following no symbolic link at all.
pub fn pin(base: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { ROOT } else { path };
    let mut result = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        result = openat2(base, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// What `path` leads to. `entry`: pin the directory and the last name too.
pub fn resolve(base: BorrowedFd<'_>, base_path: &str, path: &str, follow: bool, entry: bool) -> Resolved {
    if path.is_empty() || path.len() >= PATH_MAX {
        let code = if path.is_empty() { ErrorCode::NoEntry } else { ErrorCode::NameTooLong };
        return failed(base_path.to_owned(), code);
    }
    straight(base, base_path, path, follow, entry).unwrap_or_else(|| Walk::new(base, base_path).walk(path, follow))
}

fn failed(path: String, code: ErrorCode) -> Resolved {
    Resolved { path, passed: Vec::new(), found: Found::Failed(code), pins: Pins::default() }
}

fn failing(path: String, errno: Errno) -> Resolved {
    let found = if errno == Errno::XDEV { Found::Outside } else { Found::Failed(error_code(errno)) };
    Resolved { path, passed: Vec::new(), found, pins: Pins::default() }
}

/// The answer if no symbolic link is on the way.
fn straight(base: BorrowedFd<'_>, base_path: &str, path: &str, follow: bool, entry: bool) -> Option<Resolved> {
    // what leaves the base as text was refused before anybody looked; `normal` is where a path without links leads
    let normal = lexical(base_path, path).ok()?.path;
    let (directory, name, slash) = split(path);
    let object = |found, entry, object| {
        let pins = Pins { object, entry, slash, own: false };
        Some(Resolved { path: normal.clone(), passed: Vec::new(), found, pins })
    };
    let Some(name) = name.filter(|_| entry) else {
        return match pin(base, path, OFlags::NOFOLLOW) {
            Ok(fd) => match kind_of(&fd) {
                Ok(Kind::Symlink) if follow => None,
                Ok(kind) => object(Found::Object(kind), None, Some(Arc::new(fd))),
                Err(errno) => Some(failing(normal, errno)),
            },
            Err(Errno::LOOP) => None,
            Err(errno) => Some(failing(normal, errno)),
        };
    };
    let parent = match pin(base, directory, OFlags::DIRECTORY) {
        Ok(fd) => Arc::new(fd),
        Err(Errno::LOOP) => return None,
        Err(errno) => return Some(failing(lexical(base_path, directory).ok()?.path, errno)),
    };
    let made = Some((parent.clone(), name.to_owned()));
    match pin(parent.as_fd(), name, OFlags::NOFOLLOW) {
        Ok(fd) => match kind_of(&fd) {
            Ok(Kind::Symlink) if follow || slash => None,
            Ok(kind) if slash && kind != Kind::Directory => Some(failed(normal, ErrorCode::NotDirectory)),
            Ok(kind) => object(Found::Object(kind), made, Some(Arc::new(fd))),
            Err(errno) => Some(failing(normal, errno)),
        },
        Err(Errno::NOENT) => object(Found::Missing, made, None),
        Err(errno) => Some(failing(normal, errno)),
    }
}

/// One name after the other.
struct Walk<'a> {
    base: BorrowedFd<'a>,
    base_path: &'a str,
    /// The directory that has been reached; `None`: the base.
    at: Option<Arc<OwnedFd>>,
    names: Vec<String>,
    passed: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(base: BorrowedFd<'a>, base_path: &'a str) -> Self {
        Walk { base, base_path, at: None, names: Vec::new(), passed: Vec::new() }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.at.as_ref().map_or(self.base, |fd| fd.as_fd())
    }

    fn path(&self, name: Option<&str>) -> String {
        let mut path = join(self.base_path, &self.names);
        if let Some(name) = name {
            path = join(&path, &[name]);
        }
        path
    }

    fn end(self, path: String, found: Found, pins: Pins) -> Resolved {
        Resolved { path, passed: self.passed, found, pins }
    }

    fn fail(self, path: String, errno: Errno) -> Resolved {
        self.end(path, Found::Failed(error_code(errno)), Pins::default())
    }

    fn walk(mut self, path: &str, follow: bool) -> Resolved {
        let mut slash = ends_in_directory(path);
        let mut links = 0;
        // the names still to go, the next one last
        let mut todo: Vec<String> = names(path);
        while let Some(name) = todo.pop() {
            if name == ".." {
                self.passed.push(self.path(None));
                if self.names.pop().is_none() {
                    let path = self.path(None);
                    return self.end(path, Found::Outside, Pins::default());
                }
                match pin(self.base, &self.names.join("/"), OFlags::DIRECTORY) {
                    Ok(fd) => self.at = Some(Arc::new(fd)),
                    Err(errno) => {
                        let path = self.path(None);
                        return self.fail(path, errno);
                    }
                }
                continue;
            }
            let last = todo.is_empty();
            let full = self.path(Some(&name));
            let entry = || (self.at.clone(), name.clone());
            let fd = match pin(self.here(), &name, OFlags::NOFOLLOW) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if last => {
                    let Some(entry) = self.entry(entry()) else { return self.fail(full, Errno::NOENT) };
                    return self.end(full, Found::Missing, Pins { object: None, entry: Some(entry), slash, own: false });
                }
                Err(errno) => return self.fail(full, errno),
            };
            let kind = match kind_of(&fd) {
                Ok(kind) => kind,
                Err(errno) => return self.fail(full, errno),
            };
            match kind {
                Kind::Symlink if !last || follow || slash => {
                    links += 1;
                    self.passed.push(full.clone());
                    let target = match readlinkat(&fd, "", Vec::new()) {
                        Ok(target) => target,
                        Err(errno) => return self.fail(full, errno),
                    };
                    let Ok(target) = target.into_string() else { return self.fail(full, Errno::ILSEQ) };
                    if links > LINKS_MAX {
                        return self.fail(full, Errno::LOOP);
                    }
                    if target.starts_with('/') {
                        return self.end(full, Found::Outside, Pins::default());
                    }
                    slash |= last && ends_in_directory(&target);
                    todo.extend(names(&target));
                }
                Kind::Directory if !last => {
                    self.names.push(name);
                    self.at = Some(Arc::new(fd));
                }
                _ if !last || (slash && kind != Kind::Directory) => return self.fail(full, Errno::NOTDIR),
                kind => {
                    let entry = self.entry(entry());
                    return self.end(full, Found::Object(kind), Pins { object: Some(Arc::new(fd)), entry, slash, own: false });
                }
            }
        }
        // it ended in `..` or `.`: the directory that has been reached
        match self.at.clone().or_else(|| pin(self.base, ROOT, OFlags::DIRECTORY).ok().map(Arc::new)) {
            Some(fd) => {
                let path = self.path(None);
                self.end(path, Found::Object(Kind::Directory), Pins { object: Some(fd), entry: None, slash: true, own: false })
            }
            None => self.fail(ROOT.to_owned(), Errno::IO),
        }
    }

    /// The directory of an entry as a descriptor of its own.
    fn entry(&self, (at, name): (Option<Arc<OwnedFd>>, String)) -> Option<(Arc<OwnedFd>, String)> {
        let fd = at.or_else(|| pin(self.base, ROOT, OFlags::DIRECTORY).ok().map(Arc::new))?;
        Some((fd, name))
    }
}

fn ends_in_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == ROOT
}

/// The names of a path, last first.
fn names(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect()
}
