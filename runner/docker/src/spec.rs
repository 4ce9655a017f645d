//! What a container is to be. There is no way to say `privileged`, a host namespace, a device, the engine's socket or one more capability.

use std::path::PathBuf;

/// Empty lists and None mean what the image says.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// For people: the engine makes one up otherwise. Unique in the engine.
    pub name: Option<String>,
    /// A reference, or better the id of an [`crate::Image`].
    pub image: String,
    /// None: the image's own.
    pub entrypoint: Option<Vec<String>>,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    /// `uid` or `uid:gid`
    pub user: Option<String>,
    pub mounts: Vec<Mount>,
    pub network: NetworkMode,
    pub limits: Ceilings,
    pub read_only_root: bool,
    pub keep_capabilities: Vec<Kept>,
    /// A process 1 that forwards signals and takes the dead away, for programs that don't.
    pub init: bool,
    /// What it is asked to end with: `SIGINT`. None: what the image says.
    pub stop_signal: Option<String>,
    /// Fed to its standard input, which is empty otherwise.
    pub stdin: Vec<u8>,
    /// The position of the effect that makes it, for [`crate::Engine::find`].
    pub effect: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Of this machine. It has to exist. The engine follows links in it: whoever could plant one must not be able to while this is resolved.
    Bind {
        from: PathBuf,
        to: String,
        writable: bool,
    },
    /// Made with [`crate::Engine::volume`].
    Volume {
        name: String,
        to: String,
        writable: bool,
    },
    Tmpfs {
        to: String,
        bytes: u64,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// Loopback alone.
    #[default]
    None,
    /// The loopback that a pod's containers share: the id of its holder.
    Pod(String),
    /// The engine's bridge: whatever this machine reaches.
    Full,
}

/// None: no ceiling but the engine's own, for processes 4096.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// In bytes; nothing of it is swapped. Docker's least is 6 MiB.
    pub memory: Option<u64>,
    /// In thousandths of a processor.
    pub cpus: Option<u32>,
    pub pids: Option<u32>,
}

/// Capabilities that a container may keep: those that entrypoints need to give up root, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    Setuid,
    Setgid,
    Kill,
    NetBindService,
}

impl Kept {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kept::Chown => "CHOWN",
            Kept::DacOverride => "DAC_OVERRIDE",
            Kept::Fowner => "FOWNER",
            Kept::Fsetid => "FSETID",
            Kept::Setuid => "SETUID",
            Kept::Setgid => "SETGID",
            Kept::Kill => "KILL",
            Kept::NetBindService => "NET_BIND_SERVICE",
        }
    }
}

/// A further program in a running container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    /// None: the container's.
    pub user: Option<String>,
    pub stdin: Vec<u8>,
}
