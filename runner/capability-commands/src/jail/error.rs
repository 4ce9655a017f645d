//! What can go wrong with a jail, as values. Errors that arise on the far side of the socket travel over it, hence serde.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::probe::Unsupported;

/// Why a jail could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    /// This machine does not let the runner make one at all.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The machine could, but not this jail: a bind that is not there, a protected path that is a symbolic link.
    #[error("cannot set up the confinement: {0}")]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot start the warden `{}`: {source}", warden.display())]
    Warden { warden: PathBuf, source: io::Error },
    #[error("the confinement did not come up within {} seconds", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// A path or a variable that cannot be passed on.
    #[error("invalid confinement: {0}")]
    Invalid(String),
    /// The warden has ended, and everything inside with it.
    #[error("the confinement has ended{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Gone(Option<String>),
    #[error("cannot listen on port {port} inside the confinement: {source}")]
    Listen { port: u16, source: io::Error },
    #[error("cannot connect to port {port} inside the confinement: {source}")]
    Connect { port: u16, source: io::Error },
}

pub(super) const NOT_A_WARDEN: &str = "the warden said nothing; is its executable a runner that calls `warden_main`?";

/// What the warden was doing when the system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    UserNamespace,
    MapUser,
    Namespaces,
    Loopback,
    Bind,
    Mount,
    Overlay,
    Proc,
    Pivot,
    Protect,
    Landlock,
    Seccomp,
    Protocol,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::UserNamespace => "create a user namespace",
            Step::MapUser => "map the user into its namespace",
            Step::Namespaces => "create the mount, network, ipc, uts and pid namespaces",
            Step::Loopback => "bring up the loopback interface",
            Step::Bind => "show",
            Step::Mount => "mount",
            Step::Overlay => "lay folders over one another",
            Step::Proc => "mount a /proc of its own",
            Step::Pivot => "change the root directory",
            Step::Protect => "protect",
            Step::Landlock => "make the Landlock rules",
            Step::Seccomp => "make the system call filter",
            Step::Protocol => "talk to the runner",
        })
    }
}

/// A step of the set-up that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetupError {
    pub step: Step,
    /// What it was done to, where there is such a thing.
    pub path: Option<PathBuf>,
    /// The system's error number; 0 if the reason is in `detail` alone.
    pub errno: i32,
    pub detail: Option<String>,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        if let Some(path) = &self.path {
            write!(f, " `{}`", path.display())?;
        }
        match (&self.detail, self.errno) {
            (Some(detail), 0) => write!(f, ": {detail}"),
            (Some(detail), errno) => write!(f, ": {detail} ({})", io::Error::from_raw_os_error(errno)),
            (None, errno) => write!(f, ": {}", io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for SetupError {}

impl SetupError {
    pub(super) fn refused(step: Step, path: &Path, detail: impl Into<String>) -> SetupError {
        SetupError { step, path: Some(path.to_owned()), errno: 0, detail: Some(detail.into()) }
    }
}

/// Gives a system error the step, and the path, that it belongs to.
pub(super) trait During<T> {
    fn during(self, step: Step) -> Result<T, SetupError>;
    fn during_at(self, step: Step, path: &Path) -> Result<T, SetupError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: Step) -> Result<T, SetupError> {
        self.map_err(|error| of(step, None, error.into()))
    }

    fn during_at(self, step: Step, path: &Path) -> Result<T, SetupError> {
        self.map_err(|error| of(step, Some(path.to_owned()), error.into()))
    }
}

fn of(step: Step, path: Option<PathBuf>, error: io::Error) -> SetupError {
    match error.raw_os_error() {
        Some(errno) => SetupError { step, path, errno, detail: None },
        None => SetupError { step, path, errno: 0, detail: Some(error.to_string()) },
    }
}

/// Why a program did not start, although the jail stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No such program inside. `looked` are the places, in order.
    #[error("no program `{program}` inside the confinement; looked at {}", list(looked))]
    NotFound { program: String, looked: Vec<PathBuf> },
    /// It is there, but is not a program: not executable, a directory, or of no known format.
    #[error("`{}` cannot be executed: {reason}", path.display())]
    NotExecutable { path: PathBuf, reason: String },
    /// It is there and executable, but what runs it (the interpreter of a script's first line, or the dynamic loader) is not.
    #[error("`{}` is there, but its interpreter or loader is not inside the confinement", path.display())]
    Interpreter { path: PathBuf },
    #[error("cannot enter the working directory `{}`: {reason}", dir.display())]
    Directory { dir: PathBuf, reason: String },
    /// A NUL byte, an empty program, a name that is no DNS label or is taken.
    #[error("{0}")]
    Invalid(String),
    /// The jail is at its ceiling of processes.
    #[error("the confinement is at its limit of processes")]
    Processes,
    #[error("cannot {doing}: {}", io::Error::from_raw_os_error(*errno))]
    System { doing: String, errno: i32 },
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "an empty PATH".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
