//! What of a checkout a private copy holds: what a fresh clone would, with the changes that are not committed yet.
//!
//! That is everything but what git ignores (`target/`, `node_modules/`: made from the rest, and big), unless it is tracked all the same. The
//! ignore rules are git's: `.gitignore`, `.git/info/exclude`, `core.excludesFile`. Outside of a repository everything is copied. `.git`
//! itself is copied whole; `.runner` never is.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::beneath::{entries, open_directory, open_root};
use crate::error::{At, Result, WorkspaceError};
use crate::state::STATE_FOLDER;
use crate::tracked::tracked;

const DOING: &str = "listing it for a private copy";

/// Paths relative to the checkout, every directory before what is in it.
#[derive(Debug, Default)]
pub struct Listing {
    pub directories: Vec<PathBuf>,
    /// Files and symbolic links. Sockets, FIFOs and devices are left out.
    pub leaves: Vec<(PathBuf, Leaf)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    File,
    Symlink,
}

/// `checkout` is absolute, with no symbolic link in it.
pub fn list(checkout: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut repositories = Vec::new();
    let walk = ignore::WalkBuilder::new(checkout)
        .standard_filters(false)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(true)
        .parents(true)
        .require_git(true)
        .hidden(false)
        .filter_entry(|entry| {
            entry.depth() == 0 || !(entry.file_name() == ".git" || (entry.depth() == 1 && entry.file_name() == STATE_FOLDER))
        })
        .build();
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => match vanished(error, checkout) {
                Some(error) => return Err(error),
                None => continue,
            },
        };
        let relative = entry.path().strip_prefix(checkout).expect("the walk stays below its start").to_owned();
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if entry.path().join(".git").symlink_metadata().is_ok() {
                repositories.push(relative.join(".git"));
            }
            if entry.depth() > 0 {
                listing.directories.push(relative);
            }
        } else if kind.is_file() {
            listing.leaves.push((relative, Leaf::File));
        } else if kind.is_symlink() {
            listing.leaves.push((relative, Leaf::Symlink));
        }
    }
    for repository in repositories {
        whole(checkout, repository, &mut listing)?;
    }
    forced(checkout, &mut listing);
    Ok(listing)
}

/// What installers put beside the sources, for programs to find.
const INSTALLED: [&str; 3] = ["node_modules", ".venv", "venv"];

/// Adds what installers put into the checkout and git ignores.
pub fn installed(checkout: &Path, listing: &mut Listing) -> Result<()> {
    let known: HashSet<PathBuf> = listing.directories.iter().cloned().collect();
    let folders: Vec<PathBuf> = std::iter::once(PathBuf::new()).chain(listing.directories.iter().cloned()).collect();
    for folder in folders.iter().filter(|folder| !folder.iter().any(|name| name == ".git")) {
        for name in INSTALLED {
            let path = folder.join(name);
            let found = checkout.join(&path).symlink_metadata().is_ok_and(|found| found.is_dir());
            if found && !known.contains(&path) {
                whole(checkout, path, listing)?;
            }
        }
    }
    Ok(())
}

/// Everything in a folder, whatever git thinks of it. Opened beneath it and through no link.
pub fn everything(folder: &Path) -> Result<Listing> {
    const DOING: &str = "listing what is to be copied";
    let root = open_root(folder).at(DOING, folder)?;
    let mut listing = Listing::default();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let directory = open_directory(&root, &path).at(DOING, folder.join(&path))?;
        for (name, kind) in entries(&directory).at(DOING, folder.join(&path))? {
            let inner = path.join(name);
            match kind {
                FileType::Directory => {
                    listing.directories.push(inner.clone());
                    open.push(inner);
                }
                FileType::RegularFile => listing.leaves.push((inner, Leaf::File)),
                FileType::Symlink => listing.leaves.push((inner, Leaf::Symlink)),
                _ => {}
            }
        }
    }
    Ok(listing)
}

/// An error of the walk, unless something was removed while it was looked at.
fn vanished(error: ignore::Error, checkout: &Path) -> Option<WorkspaceError> {
    let path = path_of(&error).unwrap_or(checkout).to_owned();
    match error.into_io_error() {
        Some(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Some(error) => Some(WorkspaceError::io(DOING, path, error)),
        // a `.gitignore` with a line that is no glob: git goes on as well
        None => None,
    }
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}

/// A subtree to which no ignore rule applies.
fn whole(checkout: &Path, start: PathBuf, listing: &mut Listing) -> Result<()> {
    let mut open = vec![start];
    while let Some(path) = open.pop() {
        let full = checkout.join(&path);
        let found = match full.symlink_metadata() {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).at(DOING, full),
        };
        if found.is_dir() {
            for entry in std::fs::read_dir(&full).at(DOING, &full)? {
                open.push(path.join(entry.at(DOING, &full)?.file_name()));
            }
            listing.directories.push(path);
        } else if found.is_file() {
            listing.leaves.push((path, Leaf::File));
        } else if found.is_symlink() {
            listing.leaves.push((path, Leaf::Symlink));
        }
    }
    Ok(())
}

/// Adds what is ignored and tracked all the same.
fn forced(checkout: &Path, listing: &mut Listing) {
    let tracked = tracked(checkout);
    if tracked.is_empty() {
        return;
    }
    let mut known: HashSet<PathBuf> = listing.leaves.iter().map(|(path, _)| path.clone()).collect();
    let mut directories: HashSet<PathBuf> = listing.directories.iter().cloned().collect();
    for path in tracked {
        if known.contains(&path) || path.iter().any(|name| name == OsStr::new(STATE_FOLDER)) {
            continue;
        }
        // an index is a file like any other: its names lead nowhere else
        if !crate::beneath::is_normal(&path) || through_link(checkout, &path) {
            continue;
        }
        let Ok(found) = checkout.join(&path).symlink_metadata() else { continue };
        let leaf = match FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&found)) {
            FileType::RegularFile => Leaf::File,
            FileType::Symlink => Leaf::Symlink,
            _ => continue,
        };
        let mut missing: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty() && !directories.contains(*p)).collect();
        missing.reverse();
        for directory in missing.into_iter().map(Path::to_owned).collect::<Vec<_>>() {
            directories.insert(directory.clone());
            listing.directories.push(directory);
        }
        known.insert(path.clone());
        listing.leaves.push((path, leaf));
    }
}

fn through_link(checkout: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).any(|p| !checkout.join(p).symlink_metadata().is_ok_and(|m| m.is_dir()))
}
