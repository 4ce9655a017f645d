//! Opening what is below a directory, and nothing else: through no symbolic link, and nothing but files and directories.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

const TRIES: usize = 16;

/// Opens a directory by a path of the runner's own, links and all.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` below `root`. Neither waits for anything nor follows any link.
pub fn open(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // openat2 refuses flags that mean nothing with O_PATH
    let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NOCTTY | OFlags::NONBLOCK };
    let path = path.as_ref();
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut result = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        result = openat2(&root, path, flags, mode, resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

pub fn open_directory(root: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// The entries of an open directory, unsorted, without `.` and `..`. `Unknown` is looked up.
pub fn entries(directory: &OwnedFd) -> Result<Vec<(std::ffi::OsString, FileType)>> {
    let mut found = Vec::new();
    // a description of its own, so that reading it twice starts twice at the beginning
    let own = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut dir = Dir::new(own)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            let status = rustix::fs::statat(directory, entry.file_name(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            kind = FileType::from_raw_mode(status.st_mode);
        }
        found.push((OsStr::from_bytes(name).to_owned(), kind));
    }
    Ok(found)
}

/// Whether a path is relative and holds only names.
pub fn is_normal(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && path.components().all(|component| matches!(component, Component::Normal(_)))
        // `a//b`, `a/./b` and `a/` are the same components as `a/b`, but other text
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
}

/// Whether a symbolic link at `link` (relative to the root) stays below the root, as text.
pub fn stays_inside(link: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return false;
    }
    let mut depth = link.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// The path that `path` is or lies below, with letters of either case taken for the same: some file systems do.
pub fn held_by<'a>(path: &str, these: &'a [String]) -> Option<&'a str> {
    let lower = path.to_lowercase();
    these.iter().map(String::as_str).find(|this| {
        let this = this.to_lowercase();
        lower.strip_prefix(&this).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_stay_inside() {
        for (link, target, inside) in [
            ("a", "b", true),
            ("d/a", "../b", true),
            ("a", "../b", false),
            ("d/a", "../../b", false),
            ("d/a", "../d/../x", true),
            ("d/a", "../d/../../x", false),
            ("a", "/etc", false),
            ("a", ".", true),
        ] {
            assert_eq!(stays_inside(Path::new(link), Path::new(target)), inside, "{link} -> {target}");
        }
    }

    #[test]
    fn normal_paths() {
        for (path, normal) in [
            ("a", true),
            ("a/b", true),
            ("", false),
            (".", false),
            ("../a", false),
            ("a/..", false),
            ("/a", false),
            ("a//b", false),
            ("a/", false),
        ] {
            assert_eq!(is_normal(Path::new(path)), normal, "{path}");
        }
    }

    #[test]
    fn either_case() {
        let these = [".git".to_owned(), "pipeline.toml".to_owned()];
        assert_eq!(held_by(".GIT/config", &these), Some(".git"));
        assert_eq!(held_by(".github", &these), None);
        assert_eq!(held_by("Pipeline.toml", &these), Some("pipeline.toml"));
    }
}
