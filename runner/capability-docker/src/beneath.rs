//! The stage's files from outside: opened beneath the folder that they are in, and through no link.
//!
//! By the time the host looks, a container of the stage may be writing there: whatever is opened is opened by the kernel's `openat2`, once, and
//! used by its descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use capability::Setting;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use crate::effect::Sight;
use crate::places::{Place, Root};

const TRIES: usize = 16;

/// The folder on the host that a place lies in.
pub fn folder(setting: &Setting, root: Root) -> io::Result<PathBuf> {
    match root {
        Root::Workspace => match &setting.workspace {
            Some(workspace) => workspace.canonicalize(),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the stage has no workspace")),
        },
        Root::Scratch => setting.scratch.path()?.canonicalize(),
    }
}

pub fn root(setting: &Setting, root: Root) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder(setting, root)?, flags, Mode::empty())?)
}

/// Opens `path` below `root`. Neither waits for anything nor follows a link.
pub fn open(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NOCTTY | OFlags::NONBLOCK };
    let mut result = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        result = openat2(&root, path.as_ref(), flags, mode, resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// What is at a place.
pub fn sight(setting: &Setting, place: &Place) -> Sight {
    let found = root(setting, place.root).ok().map(|root| open(root, &place.path, OFlags::PATH, Mode::empty()));
    match found {
        Some(Ok(found)) => match fstat(&found).map(|status| FileType::from_raw_mode(status.st_mode)) {
            Ok(FileType::Directory) => Sight::Folder,
            Ok(FileType::RegularFile) => Sight::File,
            Ok(FileType::Symlink) => Sight::Link,
            _ => Sight::Other,
        },
        Some(Err(Errno::LOOP | Errno::XDEV)) => Sight::Link,
        Some(Err(Errno::NOENT)) | None => Sight::Missing,
        Some(Err(_)) => Sight::Other,
    }
}

/// An entry of a folder.
pub struct Entry {
    pub name: std::ffi::OsString,
    pub kind: FileType,
}

/// In the order of their names, without `.` and `..`.
pub fn entries(folder: &OwnedFd) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let own = open(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut dir = Dir::new(own)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            let status = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            kind = FileType::from_raw_mode(status.st_mode);
        }
        found.push(Entry { name: OsStr::from_bytes(name).to_owned(), kind });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A file that is not there yet.
pub fn create(folder: &OwnedFd, name: impl AsRef<Path>, mode: u32) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    Ok(open(folder, name, flags, Mode::from_raw_mode(mode & 0o777))?.into())
}
