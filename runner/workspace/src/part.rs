//! Parts of the checkout, copied for somebody who sees nothing else of it: a container's mounts.
//!
//! An engine follows the links of a path that it is to mount, so whoever plants one in the checkout could have anything of the machine mounted.
//! What is copied is opened beneath the checkout and through no link; links inside of it are copied as links.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use crate::beneath::{entries, open, open_directory, open_root};
use crate::copy::{Copied, copy};
use crate::error::{At, Result, WorkspaceError};
use crate::listing::{Leaf, Listing};
use crate::state::private_folder;

const DOING: &str = "copying it for a service";

/// Copies files and folders of the checkout, each by its path below it, to the same paths below `to`, which is made.
///
/// # Errors
/// One of them is not there, or is neither; the disk.
pub fn copy_parts<'a>(checkout: &Path, parts: impl IntoIterator<Item = &'a str>, to: &Path) -> Result<Copied> {
    let mut wanted = Wanted { listing: Listing::default(), met: HashSet::new() };
    let root = open_root(checkout).at(DOING, checkout)?;
    for part in parts.into_iter().map(Path::new) {
        let at = || checkout.join(part);
        let found = open(&root, part, OFlags::PATH, Mode::empty()).and_then(fstat).at(DOING, at())?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let above: Vec<&Path> = part.ancestors().skip(1).filter(|folder| *folder != Path::new("")).collect();
        above.into_iter().rev().for_each(|folder| wanted.add(folder, FileType::Directory));
        if !matches!(kind, FileType::Directory | FileType::RegularFile) {
            let error = std::io::Error::other("it is neither a file nor a folder");
            return Err(WorkspaceError::io(DOING, at(), error));
        }
        wanted.add(part, kind);
        let mut open_folders: Vec<PathBuf> = if kind == FileType::Directory { vec![part.to_owned()] } else { Vec::new() };
        while let Some(folder) = open_folders.pop() {
            let directory = open_directory(&root, &folder).at(DOING, checkout.join(&folder))?;
            for (name, kind) in entries(&directory).at(DOING, checkout.join(&folder))? {
                let path = folder.join(name);
                wanted.add(&path, kind);
                open_folders.extend((kind == FileType::Directory).then_some(path));
            }
        }
    }
    private_folder(to)?;
    copy(checkout, to, &wanted.listing)
}

struct Wanted {
    listing: Listing,
    met: HashSet<PathBuf>,
}

impl Wanted {
    fn add(&mut self, path: &Path, kind: FileType) {
        if !self.met.insert(path.to_owned()) {
            return;
        }
        match kind {
            FileType::Directory => self.listing.directories.push(path.to_owned()),
            FileType::RegularFile => self.listing.leaves.push((path.to_owned(), Leaf::File)),
            FileType::Symlink => self.listing.leaves.push((path.to_owned(), Leaf::Symlink)),
            _ => {}
        }
    }
}
