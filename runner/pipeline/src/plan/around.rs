//! What stands around a stage: the secrets that it may use, its services, its caches, the group that it takes turns in.

use std::time::Duration;

use crate::ceilings::Ceilings;
use crate::diagnostic::Span;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    /// `env:NAME`, `file:/path`, `cmd:…` or `oidc:…` as written.
    pub from: String,
    /// The only places it may be put.
    pub to: Vec<String>,
    /// For `oidc:`: whom the token is for.
    pub audience: Option<String>,
    /// For `oidc:`: what the exchanged token may do.
    pub scope: Option<String>,
    /// For `oidc:`: where the CI puts its own token, as in `from`; none for GitHub Actions.
    pub token: Option<String>,
}

/// A secret that a stage may use. What the stage sees of it is the placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// `[secret.<name>]`, or the one of that name in the stage's environment.
    pub secret: Secret,
    /// Unlike any other text, the same whenever the attempt is run again.
    pub placeholder: String,
    /// The stage may have the bytes themselves.
    pub read: bool,
}

/// `[service.<name>]`: started by the host for each attempt of a stage that names it, gone after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub name: String,
    /// Of its name in the file.
    pub span: Span,
    pub source: ServiceSource,
    pub env: Vec<(String, String)>,
    /// Toolchains that its command runs with, as in a `commands` grant.
    pub toolchains: Vec<String>,
    /// Hosts that it may reach, as in a `commands` grant.
    pub network: Vec<String>,
    /// When it counts as started; none: at once.
    pub ready: Option<Ready>,
    /// Services that have to be ready before it starts, as indexes into `Plan::services`.
    pub needs: Vec<usize>,
    /// A stage goes on without it, with a warning.
    pub optional: bool,
    /// Between asking it to end and ending it.
    pub grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a pipeline has a handful")]
pub enum ServiceSource {
    /// A confined process: the program and its arguments.
    Command(Vec<String>),
    Image(ImageService),
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageService {
    pub image: String,
    /// Instead of the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's own; none: its own.
    pub arguments: Option<Vec<String>>,
    /// Besides those that the image exposes: ports that the stage's confined programs reach.
    pub ports: Vec<u16>,
    /// Folders in memory, empty at the start.
    pub tmpfs: Vec<String>,
    pub mounts: Vec<ServiceMount>,
    /// Instead of the image's own: a name or a number, with or without a group.
    pub user: Option<String>,
    /// Instead of the image's own: where its program starts.
    pub directory: Option<String>,
    /// Nothing can be written but in `tmpfs` and `mounts`.
    pub read_only: bool,
    /// A process 1 before its program, that takes the dead away.
    pub init: bool,
    /// Instead of the image's own: what it is asked to end with.
    pub stop_signal: Option<String>,
    pub ceilings: Ceilings,
}

/// What stands at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceMount {
    pub from: MountSource,
    /// In the container.
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A folder on the disk, made for each attempt; the services of a stage that name the same one share it.
    Volume { name: String, writable: bool },
    /// A file or folder of the checkout, as it was when the attempt began. It can't be written.
    Checkout(String),
}

/// A health gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub probe: Probe,
    /// From the service's start; then it counts as failed.
    pub timeout: Duration,
    /// Between two tries.
    pub interval: Duration,
    /// Of one try.
    pub try_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A program that runs where the service runs and exits with 0.
    Command(Vec<String>),
    /// The service's port takes connections.
    Tcp(u16),
    /// `GET` of a URL with the service's name as its host answers with 200 to 399.
    Http(String),
    /// A line of its output holds this text.
    Log(String),
    /// It ends by itself, with this code: a job that others wait for.
    Exit(u8),
}

/// `[cache.<name>]`, with the key's references filled in for one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUse {
    pub name: String,
    /// Of the stage's mention of it.
    pub span: Span,
    /// Below the home folder of the stage's programs (`~/.npm`) or the workspace (`.venv`), normalised.
    pub paths: Vec<String>,
    /// The most general part first: where the whole key is not found, the longest beginning of it that is, is restored.
    pub key: Vec<KeyPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    Text(String),
    /// The content of the files of the workspace that fit these globs.
    Files(Vec<String>),
}

/// Runs on this machine take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    pub group: String,
    pub on_busy: OnBusy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBusy {
    /// Wait until the other is done.
    Queue,
    /// Have the other stopped, and wait until it is.
    CancelOlder,
    /// Give up at once.
    Fail,
}
