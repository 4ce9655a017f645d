//! Mounts as values: a tree is opened, restricted while nobody can see it, and then attached.
//!
//! This is the file-descriptor interface of Linux 5.2: a source is looked up once, so a path that changes meanwhile changes nothing,
//! and a target is a descriptor that was reached without following a symbolic link. Only restricting is newer (5.12); before that,
//! [`restrict_late`] does it path by path once everything is in place.

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount, open_tree,
    },
};

use super::sys;

/// A mount, or a tree of them, that is attached nowhere yet.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

impl Tree {
    /// What is at `path` on the host, with all that is mounted below it. A user namespace may only copy whole trees: a part would
    /// uncover what its owner has covered.
    pub(super) fn of_host(path: &Path) -> Result<Tree, Errno> {
        Tree::open(CWD, path, OpenTreeFlags::AT_RECURSIVE)
    }

    /// What an open descriptor stands for, again.
    pub(super) fn of_descriptor(fd: impl AsFd) -> Result<Tree, Errno> {
        Tree::open(fd.as_fd(), Path::new(""), OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH)
    }

    fn open(at: BorrowedFd<'_>, path: &Path, flags: OpenTreeFlags) -> Result<Tree, Errno> {
        open_tree(at, path, flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).map(Tree)
    }

    /// An empty file system in memory.
    pub(super) fn in_memory(bytes: u64, mode: &str) -> Result<Tree, Errno> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "size", bytes.to_string())?;
        // One per 4 KiB page, which is what a file takes at least, but enough for a tree of empty folders.
        fsconfig_set_string(&context, "nr_inodes", (bytes / 4096).max(4096).to_string())?;
        fsconfig_set_string(&context, "mode", mode)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Tree)
    }

    /// Folders over one another. Named by descriptors: the option that takes them reads `:` and `,` as its own.
    pub(super) fn over(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd) -> Result<Tree, Errno> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (option, folder) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
            fsconfig_set_string(&context, option, format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
        }
        // what it remembers of removed and replaced folders goes where an ordinary user may write it
        fsconfig_set_flag(&context, "userxattr")?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Tree)
    }

    /// The processes of the pid namespace that the caller is in.
    pub(super) fn processes() -> Result<Tree, Errno> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Tree)
    }

    /// Adds attributes to the whole tree. False if this kernel can only do that later.
    pub(super) fn restrict(&self, attributes: MountAttrFlags) -> Result<bool, Errno> {
        match sys::mount_setattr(self.0.as_fd(), attributes.bits().into(), true) {
            Ok(()) => Ok(true),
            Err(Errno::NOSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Attaches the tree on top of what `target` stands for.
    pub(super) fn attach(&self, target: impl AsFd) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&self.0, "", target, "", flags)
    }

    pub(super) fn kind(&self) -> Result<FileType, Errno> {
        Ok(FileType::from_raw_mode(fstat(&self.0)?.st_mode))
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What to make of the last component of a path that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Nothing,
    Directory,
    File,
}

/// Why a path below a root could not be reached.
pub(super) enum Unreached {
    /// It, or a folder on the way, is not there; and this is the first that is not.
    Missing(PathBuf),
    /// This one, on the way or at the end, is a symbolic link.
    Link(PathBuf),
    System(Errno),
}

impl From<Errno> for Unreached {
    fn from(error: Errno) -> Self {
        Unreached::System(error)
    }
}

/// Opens the place `path` below `root`, following no symbolic link. What is missing is made, but only in file systems whose device
/// number is in `own`: never in somebody's files.
pub(super) fn reach(root: BorrowedFd<'_>, path: &Path, make: Make, own: &[u64]) -> Result<OwnedFd, Unreached> {
    let names: Vec<_> = path.components().filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", flags, Mode::empty())?;
    let mut so_far = PathBuf::from("/");
    for (index, name) in names.iter().enumerate() {
        so_far.push(name);
        let next = match openat(&at, *name, flags, Mode::empty()) {
            Err(Errno::NOENT) if make != Make::Nothing && own.contains(&(fstat(&at)?.st_dev)) => {
                if index + 1 < names.len() || make == Make::Directory {
                    mkdirat(&at, *name, Mode::from_raw_mode(0o755))?;
                } else {
                    openat(&at, *name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
                }
                openat(&at, *name, flags, Mode::empty())?
            }
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Unreached::Missing(so_far)),
            other => other?,
        };
        if FileType::from_raw_mode(fstat(&next)?.st_mode) == FileType::Symlink {
            return Err(Unreached::Link(so_far));
        }
        at = next;
    }
    Ok(at)
}

/// The device number of the file system that a tree shows.
pub(super) fn device(tree: &Tree) -> Result<u64, Errno> {
    Ok(rustix::fs::statat(&tree.0, "", AtFlags::EMPTY_PATH)?.st_dev)
}

/// Opens for writing what an `O_PATH` descriptor stands for. Needs a /proc.
pub(super) fn reopen_for_writing(fd: impl AsFd) -> io::Result<fs::File> {
    fs::File::options().write(true).open(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// For kernels without `mount_setattr`: adds flags to every mount at or below each path, keeping those it has. Needs a /proc.
pub(super) fn restrict_late(wanted: &[(PathBuf, MountFlags)]) -> io::Result<()> {
    // Where mounts are stacked, a remount by path reaches the topmost, which is the one that is seen; it comes last in the list.
    let mut topmost: HashMap<PathBuf, MountFlags> = HashMap::new();
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let mut fields = line.split(' ').skip(4);
        if let (Some(place), Some(options)) = (fields.next(), fields.next()) {
            topmost.insert(unescape(place), flags_of(options));
        }
    }
    for (path, more) in wanted {
        for (place, have) in topmost.iter_mut().filter(|(place, _)| place.starts_with(path)) {
            *have |= *more;
            mount_remount(place, *have | MountFlags::BIND, c"")?;
        }
    }
    Ok(())
}

fn flags_of(options: &str) -> MountFlags {
    options.split(',').fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                "ro" => MountFlags::RDONLY,
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped_and_flags_kept() {
        assert_eq!(unescape(r"/a\040b\134c\n"), Path::new(r"/a b\c\n"));
        assert_eq!(flags_of("ro,nosuid,relatime"), MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::RELATIME);
    }
}
