//! The file system that programs see.
//!
//! Everything is opened on the host first, put together in a file system in memory, and then the root is pivoted to it and the old one
//! detached: from then on no path, with or without `..`, leads to anything that was not granted. The kernel, not a check of ours, does
//! the refusing.
//!
//! Deliberately absent: /sys, a terminal (`/dev/tty`, `/dev/pts`), `/etc/resolv.conf`, the machine's id and its user list.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, symlinkat},
    io::Errno,
    mount::{MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount},
    process::{chdir, fchdir, pivot_root},
};

use super::{
    error::{During, SetupError, Step},
    mounts::{Make, Tree, Unreached, device, reach, reopen_for_writing, restrict_late},
    spec::{Bind, BindKind, HOME, JailSpec, Overlay, SERVICES},
};

/// A root that has been entered.
pub(super) struct Root {
    /// `/etc/hosts`, which is read-only for everybody but the holder of this.
    pub hosts: File,
    /// Directories and files that programs may write, for the second layer.
    pub writable: Vec<PathBuf>,
    /// Some binds are services' own.
    pub services: bool,
    /// Top-level entries of /proc that every command's own /proc must cover.
    pub covered: Vec<(PathBuf, Cover)>,
}

/// What an entry of /proc is covered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing: it stays, but read-only.
    ReadOnly,
    EmptyDirectory,
    EmptyFile,
}

/// Files and folders of the root itself are few and small.
const ROOT_BYTES: u64 = 4 << 20;

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// Builds the root and enters it. Must run in a mount namespace of its own.
pub(super) fn enter(spec: &JailSpec) -> Result<Root, SetupError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).during_at(Step::Mount, Path::new("/"))?;
    // Before the new root covers a folder of the host's.
    let sources = open_sources(&spec.binds)?;
    let overlays = open_overlays(&spec.overlays)?;
    let devices = open_devices()?;

    let mut builder = Builder::new()?;
    builder.skeleton(spec)?;
    for (path, tree) in &devices {
        builder.place(path, Make::File, tree)?;
    }
    for (bind, source) in &sources {
        builder.bind(bind, source.as_ref())?;
    }
    for (path, tree) in &overlays {
        builder.place(path, Make::Directory, tree)?;
    }
    builder.protect(spec)?;
    for name in &spec.names {
        builder.hosts.write_all(format!("127.0.0.1 {name}\n").as_bytes()).during_at(Step::Mount, Path::new("/etc/hosts"))?;
    }
    let hosts = builder.pivot()?;

    let writable = [HOME, "/tmp", "/dev/shm"].map(PathBuf::from);
    let bound = spec.binds.iter().filter(|bind| bind.writable && bind.kind != BindKind::Symlink).map(|bind| bind.inside.clone());
    let over = spec.overlays.iter().map(|overlay| overlay.inside.clone());
    let services = spec.binds.iter().any(|bind| bind.inside.starts_with(SERVICES));
    Ok(Root { hosts, writable: writable.into_iter().chain(bound).chain(over).collect(), covered: list_covered()?, services })
}

type Source<'a> = (&'a Bind, Option<Tree>);

/// Opens what is granted, parents before what is inside them.
fn open_sources(binds: &[Bind]) -> Result<Vec<Source<'_>>, SetupError> {
    let mut seen = HashSet::new();
    let mut sources = Vec::new();
    for bind in binds.iter().filter(|bind| seen.insert(*bind)) {
        let plain =
            bind.inside.is_absolute() && bind.inside.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !plain || bind.inside == Path::new("/") {
            return Err(SetupError::refused(Step::Bind, &bind.inside, "not an absolute path inside without `..`"));
        }
        if bind.kind == BindKind::Symlink {
            sources.push((bind, None));
            continue;
        }
        let tree = Tree::of_host(&bind.host).during_at(Step::Bind, &bind.host)?;
        let wanted = if bind.kind == BindKind::Directory { FileType::Directory } else { FileType::RegularFile };
        let found = tree.kind().during_at(Step::Bind, &bind.host)?;
        if found != wanted {
            return Err(SetupError::refused(Step::Bind, &bind.host, format!("it was granted as a {:?} and is a {found:?}", bind.kind)));
        }
        sources.push((bind, Some(tree)));
    }
    sources.sort_by_key(|(bind, _)| bind.inside.components().count());
    Ok(sources)
}

/// Outer ones first.
fn open_overlays(overlays: &[Overlay]) -> Result<Vec<(PathBuf, Tree)>, SetupError> {
    let mut trees = Vec::new();
    for overlay in overlays {
        let open = |path: &Path| open_directory(path);
        let tree = Tree::over(&open(&overlay.lower)?, &open(&overlay.upper)?, &open(&overlay.work)?);
        trees.push((overlay.inside.clone(), tree.during_at(Step::Overlay, &overlay.inside)?));
    }
    trees.sort_by_key(|(inside, _)| inside.components().count());
    Ok(trees)
}

fn open_devices() -> Result<Vec<(PathBuf, Tree)>, SetupError> {
    let mut devices = Vec::new();
    for name in ["null", "zero", "full", "random", "urandom"] {
        let path = Path::new("/dev").join(name);
        match Tree::of_host(&path) {
            // A container may lack some; what a shell cannot do without is null.
            Err(Errno::NOENT) if name != "null" => {}
            tree => {
                let tree = tree.during_at(Step::Bind, &path)?;
                tree.restrict(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC).during_at(Step::Mount, &path)?;
                devices.push((path, tree));
            }
        }
    }
    Ok(devices)
}

struct Builder {
    root: OwnedFd,
    /// Device numbers of the file systems in memory, where mount points may be made.
    own: Vec<u64>,
    /// An empty directory and an empty file, to cover things with.
    covers: (OwnedFd, OwnedFd),
    hosts: File,
    late: Vec<(PathBuf, MountFlags)>,
}

/// Where the covers are while the root is being built.
const COVERS: &str = "/.covers";

impl Builder {
    fn new() -> Result<Builder, SetupError> {
        let slash = Path::new("/");
        let tree = Tree::in_memory(ROOT_BYTES, "0755").during_at(Step::Mount, slash)?;
        let mut own = vec![device(&tree).during_at(Step::Mount, slash)?];
        // Anything that is a directory will do: it is covered for a moment, and only for us.
        let place = ["/tmp", "/dev", "/var"].into_iter().map(Path::new).find(|path| path.is_dir()).unwrap_or(Path::new("/proc"));
        tree.attach(open_directory(place)?).during_at(Step::Mount, place)?;
        let root = open_directory(place)?;
        let get = |path: &Path, make, own: &[u64]| reach(root.as_fd(), path, make, own).map_err(|error| unreached(path, error));

        // Apart from the root, so that they vanish from it once they are no longer needed, while what they cover stays covered.
        let covers = Tree::in_memory(1 << 16, "0755").during_at(Step::Mount, Path::new(COVERS))?;
        own.push(device(&covers).during_at(Step::Mount, Path::new(COVERS))?);
        covers.attach(get(Path::new(COVERS), Make::Directory, &own)?).during_at(Step::Mount, Path::new(COVERS))?;
        let covers =
            (get(&Path::new(COVERS).join("directory"), Make::Directory, &own)?, get(&Path::new(COVERS).join("file"), Make::File, &own)?);

        // Through a mount of its own, which stays writable when the root no longer is.
        let path = Path::new("/etc/hosts");
        let hosts = Tree::of_descriptor(get(path, Make::File, &own)?).during_at(Step::Mount, path)?;
        let mut hosts = reopen_for_writing(&hosts).during_at(Step::Mount, path)?;
        hosts.write_all(HOSTS.as_bytes()).during_at(Step::Mount, path)?;
        Ok(Builder { root, own, covers, hosts, late: Vec::new() })
    }

    /// Everything that is there whatever is granted.
    fn skeleton(&mut self, spec: &JailSpec) -> Result<(), SetupError> {
        for (path, bytes, mode) in [(HOME, spec.home_bytes, "0755"), ("/tmp", spec.tmp_bytes, "1777"), ("/dev/shm", spec.tmp_bytes, "1777")]
        {
            let path = Path::new(path);
            let tree = Tree::in_memory(bytes, mode).during_at(Step::Mount, path)?;
            self.own.push(device(&tree).during_at(Step::Mount, path)?);
            self.place(path, Make::Directory, &tree)?;
        }
        // While the host's /proc is still in sight: without one that is fully visible, the kernel gives out no other.
        let place = self.reach(Path::new("/proc"), Make::Directory)?;
        Tree::processes().and_then(|tree| tree.attach(&place)).during(Step::Proc)?;

        let devices = self.reach(Path::new("/dev"), Make::Directory)?;
        for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            symlinkat(target, &devices, link).during_at(Step::Mount, &Path::new("/dev").join(link))?;
        }
        for (name, content) in [
            ("passwd", "stage:x:1000:1000:stage:/home/stage:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            ("group", "stage:x:1000:\nnogroup:x:65534:\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n"),
        ] {
            let path = Path::new("/etc").join(name);
            let place = self.reach(&path, Make::File)?;
            reopen_for_writing(&place).and_then(|mut file| file.write_all(content.as_bytes())).during_at(Step::Mount, &path)?;
        }
        Ok(())
    }

    fn reach(&self, path: &Path, make: Make) -> Result<OwnedFd, SetupError> {
        reach(self.root.as_fd(), path, make, &self.own).map_err(|error| unreached(path, error))
    }

    fn place(&self, path: &Path, make: Make, tree: &Tree) -> Result<(), SetupError> {
        let place = self.reach(path, make)?;
        tree.attach(&place).during_at(Step::Mount, path)
    }

    fn bind(&mut self, bind: &Bind, source: Option<&Tree>) -> Result<(), SetupError> {
        let Some(tree) = source else { return self.link(bind) };
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if !bind.writable {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        self.restrict(tree, &bind.inside, attributes)?;
        self.place(&bind.inside, if bind.kind == BindKind::Directory { Make::Directory } else { Make::File }, tree)
    }

    fn restrict(&mut self, tree: &Tree, inside: &Path, attributes: MountAttrFlags) -> Result<(), SetupError> {
        if !tree.restrict(attributes).during_at(Step::Mount, inside)? {
            let read_only = if attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) { MountFlags::RDONLY } else { MountFlags::empty() };
            self.late.push((inside.to_owned(), MountFlags::NOSUID | MountFlags::NODEV | read_only));
        }
        Ok(())
    }

    fn link(&self, bind: &Bind) -> Result<(), SetupError> {
        let (Some(parent), Some(name)) = (bind.inside.parent(), bind.inside.file_name()) else {
            return Err(SetupError::refused(Step::Bind, &bind.inside, "no place for a symbolic link"));
        };
        let at = self.reach(parent, Make::Directory)?;
        let made = symlinkat(&bind.host, &at, name);
        if made.is_ok() {
            return Ok(());
        }
        // A directory that is bound here may hold it already.
        match rustix::fs::readlinkat(&at, name, Vec::new()) {
            Ok(there) if there.to_bytes() == bind.host.as_os_str().as_encoded_bytes() => Ok(()),
            Ok(_) => Err(SetupError::refused(Step::Bind, &bind.inside, "a symbolic link to somewhere else is there already")),
            Err(_) => made.during_at(Step::Bind, &bind.inside),
        }
    }

    /// Covers what is hidden, and makes read-only what must not be written.
    fn protect(&mut self, spec: &JailSpec) -> Result<(), SetupError> {
        let mut pinned = HashSet::new();
        let mut paths: Vec<(&Path, bool)> = spec.hidden.iter().map(|path| (path.as_path(), true)).collect();
        paths.extend(spec.read_only.iter().map(|path| (path.as_path(), false)));
        paths.sort_by_key(|(path, _)| path.components().count());
        for (path, hide) in paths {
            match reach(self.root.as_fd(), path, Make::Nothing, &self.own) {
                Err(Unreached::Missing(_)) => continue,
                Err(error) => return Err(unprotected(path, error)),
                Ok(_) => self.pin_folders_above(path, &spec.binds, &mut pinned)?,
            }
            // Anew, through the pins: a mount on what was opened before them would lie below them.
            let place = reach(self.root.as_fd(), path, Make::Nothing, &self.own).map_err(|error| unprotected(path, error))?;
            let tree = if hide {
                let mode = rustix::fs::fstat(&place).during_at(Step::Protect, path)?.st_mode;
                let directory = FileType::from_raw_mode(mode) == FileType::Directory;
                Tree::of_descriptor(if directory { &self.covers.0 } else { &self.covers.1 })
            } else {
                Tree::of_descriptor(&place)
            };
            let tree = tree.during_at(Step::Protect, path)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            self.restrict(&tree, path, attributes)?;
            tree.attach(&place).during_at(Step::Protect, path)?;
        }
        Ok(())
    }

    /// A mount point cannot be renamed, but a folder above it can, and then something else can be put in its place. So every folder
    /// between the bind and the protected path becomes a mount point too, of itself.
    fn pin_folders_above(&self, path: &Path, binds: &[Bind], pinned: &mut HashSet<PathBuf>) -> Result<(), SetupError> {
        let around = binds.iter().filter(|bind| bind.kind == BindKind::Directory && path.starts_with(&bind.inside));
        let Some(bind) = around.max_by_key(|bind| bind.inside.components().count()).filter(|bind| bind.writable) else { return Ok(()) };
        let mut between: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| *folder != bind.inside).collect();
        between.reverse();
        for folder in between {
            if pinned.insert(folder.to_owned()) {
                let place = reach(self.root.as_fd(), folder, Make::Nothing, &self.own).map_err(|error| unprotected(folder, error))?;
                Tree::of_descriptor(&place).and_then(|tree| tree.attach(&place)).during_at(Step::Protect, folder)?;
            }
        }
        Ok(())
    }

    /// Makes the new root the only one.
    fn pivot(self) -> Result<File, SetupError> {
        fchdir(&self.root).during(Step::Pivot)?;
        // The old root ends up on top of the new one, and "." is it.
        pivot_root(".", ".").during(Step::Pivot)?;
        unmount(".", UnmountFlags::DETACH).during(Step::Pivot)?;
        chdir("/").during(Step::Pivot)?;
        unmount(COVERS, UnmountFlags::DETACH).and_then(|()| rustix::fs::rmdir(COVERS)).during_at(Step::Mount, Path::new(COVERS))?;
        restrict_late(&self.late).during(Step::Mount)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount_remount("/", flags, c"").during_at(Step::Mount, Path::new("/"))?;
        Ok(self.hosts)
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, SetupError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during_at(Step::Mount, path)
}

fn unreached(path: &Path, error: Unreached) -> SetupError {
    match error {
        Unreached::Missing(first) if first == path => {
            SetupError::refused(Step::Bind, path, "there is no such mount point in the folder bound above it")
        }
        Unreached::Missing(first) => {
            SetupError::refused(Step::Bind, path, format!("`{}` is missing in the folder bound above it", first.display()))
        }
        Unreached::Link(link) => SetupError::refused(Step::Bind, path, format!("`{}` is a symbolic link", link.display())),
        Unreached::System(errno) => Err::<(), _>(errno).during_at(Step::Mount, path).unwrap_err(),
    }
}

fn unprotected(path: &Path, error: Unreached) -> SetupError {
    match error {
        Unreached::Link(link) => SetupError::refused(
            Step::Protect,
            path,
            format!("`{}` is a symbolic link, which cannot be protected: put the real file or folder there", link.display()),
        ),
        Unreached::Missing(first) => SetupError::refused(Step::Protect, path, format!("`{}` vanished", first.display())),
        Unreached::System(errno) => Err::<(), _>(errno).during_at(Step::Protect, path).unwrap_err(),
    }
}

/// What of the top level of /proc programs may read; everything else is covered. A list of what to show, not of what to hide: kernels
/// add files, and a runner that is root owns them all, so that their modes refuse nothing.
const SHOWN: [&str; 17] = [
    "cgroups",
    "cpuinfo",
    "devices",
    "filesystems",
    "loadavg",
    "meminfo",
    "misc",
    "mounts",
    "net",
    "partitions",
    "self",
    "stat",
    "swaps",
    "thread-self",
    "uptime",
    "version",
    "vmstat",
];

fn list_covered() -> Result<Vec<(PathBuf, Cover)>, SetupError> {
    let proc = Path::new("/proc");
    let mut covered = Vec::new();
    for entry in std::fs::read_dir(proc).during(Step::Proc)? {
        let entry = entry.during(Step::Proc)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if SHOWN.contains(&&*name) || name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let kind = entry.file_type().during_at(Step::Proc, &entry.path())?;
        let cover = match &*name {
            "sys" | "sysvipc" => Cover::ReadOnly,
            _ if kind.is_dir() => Cover::EmptyDirectory,
            // Links at the top level lead to a process's own folder.
            _ if kind.is_symlink() => continue,
            _ => Cover::EmptyFile,
        };
        covered.push((entry.path(), cover));
    }
    Ok(covered)
}
