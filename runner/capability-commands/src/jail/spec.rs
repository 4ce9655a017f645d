//! What a jail is made of and what runs in it: plain data, complete before anything starts.
//!
//! Deliberately absent: defaults that open something. An empty [`JailSpec`] shows a program nothing but its own `/proc`, six devices
//! and three empty folders.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The home folder inside: empty, writable, in memory, gone with the jail.
pub const HOME: &str = "/home/stage";

/// Everything a jail holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JailSpec {
    /// The executable that is started as `<warden> __warden`; usually `/proc/self/exe`.
    pub warden: PathBuf,
    /// What of the host is visible. Attached parents first, whatever the order here; equal entries count once.
    pub binds: Vec<Bind>,
    /// Paths inside, below a bind, that are covered by something empty and read-only. They must not be symbolic links. A path that
    /// does not exist is left alone and may then be created by a program: create it first if that matters.
    pub hidden: Vec<PathBuf>,
    /// Paths inside, below a writable bind, that stay visible but cannot be written, removed or renamed, and neither can a folder on
    /// the way to them. The same rules as for `hidden`.
    pub read_only: Vec<PathBuf>,
    /// Folders that lie over others which nobody writes.
    pub overlays: Vec<Overlay>,
    /// Names of 127.0.0.1 from the start.
    pub names: Vec<String>,
    /// Variables of every command, over `HOME`, `PATH`, `TMPDIR` and `LANG`, below the command's own. Nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// Size of [`HOME`] in bytes. It is memory, but only what is used of it.
    pub home_bytes: u64,
    /// Size of `/tmp`, and of `/dev/shm`, in bytes.
    pub tmp_bytes: u64,
    pub limits: Limits,
}

impl JailSpec {
    /// A jail with nothing in it.
    pub fn new(warden: impl Into<PathBuf>) -> JailSpec {
        JailSpec {
            warden: warden.into(),
            binds: Vec::new(),
            hidden: Vec::new(),
            read_only: Vec::new(),
            overlays: Vec::new(),
            names: Vec::new(),
            env: Vec::new(),
            path: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).to_vec(),
            home_bytes: 1 << 30,
            tmp_bytes: 1 << 30,
            limits: Limits::default(),
        }
    }
}

/// One piece of the host that is visible inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host, absolute; for a symbolic link, where it points, as it is written into the link.
    pub host: PathBuf,
    /// The path inside, absolute, with no symbolic link on the way.
    pub inside: PathBuf,
    pub writable: bool,
    pub kind: BindKind,
}

/// What a bind is. A bind whose host path has become something else by the time the jail starts is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BindKind {
    /// A directory with everything below it, other file systems mounted there included.
    Directory,
    File,
    /// Made anew inside.
    Symlink,
}

impl Bind {
    /// A directory, read-only.
    pub fn directory(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Bind {
        Bind { host: host.into(), inside: inside.into(), writable: false, kind: BindKind::Directory }
    }

    /// A file, read-only.
    pub fn file(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Bind {
        Bind { host: host.into(), inside: inside.into(), writable: false, kind: BindKind::File }
    }

    /// A symbolic link at `inside` that points to `target`.
    pub fn symlink(target: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Bind {
        Bind { host: target.into(), inside: inside.into(), writable: false, kind: BindKind::Symlink }
    }

    /// The same bind, writable. What programs write belongs to the user who runs the runner.
    pub fn writable(self) -> Bind {
        Bind { writable: true, ..self }
    }

    /// `path`, read-only, at the same place inside, as whatever it is: a symbolic link stays one.
    ///
    /// # Errors
    /// Nothing is there, or it is neither a file nor a directory nor a symbolic link.
    pub fn same(path: &Path) -> io::Result<Bind> {
        let kind = std::fs::symlink_metadata(path)?.file_type();
        if kind.is_symlink() {
            Ok(Bind::symlink(std::fs::read_link(path)?, path))
        } else if kind.is_dir() {
            Ok(Bind::directory(path, path))
        } else if kind.is_file() {
            Ok(Bind::file(path, path))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is neither a file nor a directory", path.display())))
        }
    }
}

/// A folder in which what lies in another can be read, changed and removed, while that other stays as it is: several jails may share it.
/// Needs Linux 5.11 and a file system that takes extended attributes; [`super::can_overlay`] tries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Overlay {
    /// What is shown and never written. On the host, like the next two.
    pub lower: PathBuf,
    /// Where changes go; empty.
    pub upper: PathBuf,
    /// The kernel's; empty, and on the same file system as `upper`.
    pub work: PathBuf,
    /// The path inside, absolute, in the home folder or below a bind that has it.
    pub inside: PathBuf,
}

/// What a service sees differently from the stage's own commands, which see nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// A path below [`SERVICES`] that a bind has: its home folder.
    pub home: PathBuf,
    /// Mount points inside that it may not write.
    pub read_only: Vec<PathBuf>,
    /// Mount points inside that it does not see.
    pub hidden: Vec<PathBuf>,
}

/// Where services' folders are bound. Every command finds it empty, but a service has its own folder as its home.
pub const SERVICES: &str = "/services";

/// Ceilings. Core dumps are always off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads of the whole jail. Enforced by `RLIMIT_NPROC`, which the kernel does not apply to a runner that is
    /// root, and from Linux 6.14 on also by the jail's own `kernel.pid_max` (not below 301), which it applies to everybody.
    pub processes: u64,
    /// Open files of one process; none: what the runner itself may open.
    pub open_files: Option<u64>,
    /// Bytes of the largest file a process may write.
    pub file_size: Option<u64>,
    /// Bytes of address space of one process. Programs that reserve much and use little (node, wasm runtimes) need a lot.
    pub address_space: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { processes: 4096, open_files: None, file_size: None, address_space: None }
    }
}

/// One command.
#[derive(Debug)]
pub struct SpawnSpec {
    /// A path inside if it holds a `/` (relative ones from `dir`), otherwise a name that is looked for on `PATH` inside.
    pub program: String,
    /// Without the program's own name.
    pub args: Vec<String>,
    /// Over the jail's variables; the later of two equal names wins.
    pub env: Vec<(String, String)>,
    /// The working directory inside, absolute.
    pub dir: PathBuf,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// A DNS label: from now on `<name>.stage` is 127.0.0.1 for every command of the jail.
    pub name: Option<String>,
    /// Of a service. It gets none of the jail's variables but `HOME`, `PATH`, `TMPDIR` and `LANG`.
    pub view: Option<View>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code (0 to 255).
    Code(i32),
    /// By this signal. 9 also when the whole jail went away.
    Signal(i32),
}

impl ExitStatus {
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Code(code) => Some(code),
            ExitStatus::Signal(_) => None,
        }
    }

    pub fn signal(self) -> Option<i32> {
        match self {
            ExitStatus::Code(_) => None,
            ExitStatus::Signal(signal) => Some(signal),
        }
    }
}
