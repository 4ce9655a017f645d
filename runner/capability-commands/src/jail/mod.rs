//! The confinement that `commands` with `in = "process"` runs programs in.
//!
//! One [`Jail`] serves one attempt of one stage. It is a set of Linux namespaces (user, mount, pid, net, ipc, uts, cgroup) whose file
//! system holds the granted [`Bind`]s and nothing else, and whose network is a loopback interface that nobody else has. A re-executed
//! runner, the *warden* ([`warden_main`]), is process 1 of that pid namespace, so that its end is the end of everything inside; it dies
//! with the runner that started it. Each command then gets one more pid namespace of its own, so that what it leaves behind dies
//! with it and commands cannot see or signal each other, while all commands of the stage share files and loopback.
//!
//! ```text
//! runner ──(socket pair: frames and descriptors)──► warden, pid 1 of the jail
//!   Jail, JailProcess   [handle, keeper]              [warden, root, mounts]
//!                                                       └─► init, pid 1 of one command  [init, privileges, paths, syscalls]
//!                                                             └─► the program
//! ```
//!
//! The namespaces and the pivoted root carry the confinement. Dropped capabilities, `no_new_privs`, Landlock (`paths`) and seccomp
//! (`syscalls`) stand behind them: Landlock alone lets `connect()` reach a Unix socket by its path, and `chmod` any file.
//!
//! Deliberately absent: deciding (which program, which bind: the policy's), naming what a grant means (the plan's), reading output
//! (the caller owns the pipes), any network but loopback (what listens there for the outside is the caller's), and cgroup limits (they need rights that an ordinary user lacks).

mod error;
mod handle;
mod init;
mod keeper;
mod mounts;
mod overlay;
mod owner;
mod paths;
mod privileges;
mod probe;
mod root;
mod spec;
mod sys;
mod syscalls;
pub mod toolchain;
mod view;
mod warden;
mod wire;

pub use error::{JailError, SetupError, SpawnError, Step};
pub use handle::{Jail, JailProcess};
pub use overlay::can_overlay;
pub use probe::{Reason, Support, Unsupported, probe, probe_with};
pub use spec::{Bind, BindKind, ExitStatus, HOME, JailSpec, Limits, Overlay, SERVICES, SpawnSpec, View};
pub use warden::warden_main;

/// The first argument that tells the executable to become a warden: the command line must call [`warden_main`] before it does
/// anything else when it sees it.
pub const WARDEN_ARGUMENT: &str = "__warden";
