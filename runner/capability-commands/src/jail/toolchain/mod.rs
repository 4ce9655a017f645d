//! What `toolchain = "rust"` means on this machine: exact read-only binds, variables and `PATH` folders, before anything runs.
//!
//! Found by looking, never by executing: `plan` calls this, and a version manager's shim is somebody's program. A toolchain shows its own
//! folder and the system's; nothing else of the home folder, and of cargo's only the registry: credentials and configuration stay out.
//!
//! The threat: the project's own files (`rust-toolchain.toml`, `.python-version`, `package.json`) come from whoever wrote the commit. They may
//! choose among what is installed, and can neither name a folder to be shown nor a file to be quoted in an error.

mod languages;
mod system;

use std::{
    io,
    path::{Path, PathBuf},
};

use super::spec::Bind;

/// The names that [`expand`] knows.
pub const NAMES: [&str; 4] = ["system", "rust", "node", "python"];

/// What a toolchain adds to a jail. All binds are read-only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    pub binds: Vec<Bind>,
    pub env: Vec<(String, String)>,
    /// Folders for the front of `PATH`, inside.
    pub path: Vec<PathBuf>,
}

/// Why a toolchain cannot be had here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolchainError {
    #[error("there is no toolchain `{0}`; there are `system`, `rust`, `node` and `python`")]
    Unknown(String),
    #[error("toolchain `{toolchain}`: no `{program}` on this machine's PATH")]
    NotFound { toolchain: &'static str, program: &'static str },
    #[error("toolchain `rust`: `{name}` is not installed in `{}`; run `rustup toolchain install {name}`", folder.display())]
    RustNotInstalled { name: String, folder: PathBuf },
    #[error("toolchain `rust`: rustup has no default toolchain; run `rustup default stable`, or name one in rust-toolchain.toml")]
    RustNoDefault,
    #[error("toolchain `{toolchain}`: `{}` starts another program, which cannot be told without running it; put the folder of the real one first on PATH", path.display())]
    Shim { toolchain: &'static str, path: PathBuf },
    #[error("`{}` does not name a toolchain by a plain name or version; a path is taken only inside the project", path.display())]
    BadName { path: PathBuf },
    #[error("toolchain `{toolchain}`: `{}` is in a folder that holds more than the toolchain; install it in a folder of its own", path.display())]
    TooWide { toolchain: &'static str, path: PathBuf },
    #[error("toolchain `{toolchain}`: version `{version}` is not in `{}`", folder.display())]
    NotInstalled { toolchain: &'static str, version: String, folder: PathBuf },
    #[error("`{}`: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
}

/// Works out a toolchain. `directory` is the project's root on the host (where `rust-toolchain.toml` or `.python-version` are looked
/// for, and above it); `host_env` answers for the runner's environment variables.
///
/// # Errors
/// The toolchain is unknown, not installed, hidden behind a shim, or in a folder that must not be shown.
pub fn expand(name: &str, directory: &Path, host_env: &dyn Fn(&str) -> Option<String>) -> Result<Toolchain, ToolchainError> {
    let host = Host { directory, env: host_env };
    match name {
        "system" => Ok(system::toolchain()),
        "rust" => languages::rust(&host),
        "node" => languages::node(&host),
        "python" => languages::python(&host),
        other => Err(ToolchainError::Unknown(other.to_owned())),
    }
}

/// The machine, as far as toolchains look at it.
struct Host<'a> {
    directory: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
}

impl Host<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn folder(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let own = self.variable(variable).map(PathBuf::from);
        own.or_else(|| self.home().map(|home| home.join(below_home))).filter(|path| path.is_absolute())
    }

    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// The first executable of that name on the runner's own PATH.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self.variable("PATH")?;
        path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_absolute() && is_executable(path))
    }

    /// The first that `look` finds in the project's root or a folder above it.
    fn above<T>(&self, look: impl Fn(&Path) -> Option<T>) -> Option<T> {
        self.directory.ancestors().find_map(look)
    }

    /// True for a folder that shows more than a toolchain: the root and what is directly below it (`/opt`), the home folder and what is
    /// above it, and the home folder's own hidden ones (`~/.local` holds keyrings, `~/.cargo` credentials).
    fn too_wide(&self, folder: &Path) -> bool {
        let shallow = folder.components().count() <= 2;
        let Some(home) = self.home().map(|home| home.canonicalize().unwrap_or(home)) else { return shallow };
        let hidden = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        shallow || home.starts_with(folder) || (hidden && folder.parent() == Some(&home))
    }
}

/// A file of the project: a regular one of a reasonable size, since a link may lead anywhere.
fn project_file(path: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if metadata.is_file() && metadata.len() < 1 << 20 { std::fs::read_to_string(path).ok() } else { None }
}

/// A version or a toolchain's name as it may become one folder's name, and be shown.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A program of the machine's own format, not a script that starts one.
fn is_native(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic)).is_ok() && magic == *b"\x7fELF"
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> ToolchainError {
    ToolchainError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
