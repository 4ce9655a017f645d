//! Containers, images and builds of a Docker engine, as far as `[stage.<name>.grants.docker]` allows.
//!
//! A stage never has the engine's socket: each operation is decided by itself, and there is no way to ask for a privileged container, a device
//! or a folder of the host's. What a stage makes is gone when it ends, but for images that it tagged or pulled.
//!
//! ```no_run
//! # use runner_sdk::{Failure, docker};
//! # fn main() -> Result<(), Failure> {
//! let exit = docker::Container::new("node:20-alpine").args(["npm", "test"]).mount("/workspace", "/app", false).dir("/app").run()?;
//! let built = docker::Build::new("/workspace").tag("ghcr.io/acme/shop:1.4").run()?;
//! let pushed = docker::images::push("ghcr.io/acme/shop:1.4")?;
//! # Ok(()) }
//! ```

use std::fmt::{self, Display};
use std::time::Duration;

use crate::bindings::runner::docker::builds as wit_builds;
use crate::bindings::runner::docker::containers as wit;
use crate::bindings::runner::docker::types as wit_types;
use crate::commands::{Captured, Output};
use crate::{Denial, Failure};

pub mod images;

/// How a container reaches others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Loopback alone.
    #[default]
    None,
    /// The stage's own containers and services.
    Stage,
    /// What the grant's `network` gives: nothing more, nothing less.
    Granted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    source: String,
    target: String,
    writable: bool,
}

/// A container to start: no network, the user that the runner runs as, the grant's ceilings, output into the stage's log.
///
/// The image has to be there: [`images::pull`] brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    image: String,
    entrypoint: Vec<String>,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<String>,
    user: Option<String>,
    mounts: Vec<Mount>,
    network: Network,
    read_only_root: bool,
    memory: Option<u64>,
    cpus: Option<u32>,
    pids: Option<u32>,
    stdin: Vec<u8>,
    stdout: Output,
    stderr: Output,
    timeout: Duration,
    name: String,
}

impl Container {
    /// A container of this image, with the image's own entry point and arguments.
    pub fn new(image: impl Into<String>) -> Container {
        Container {
            image: image.into(),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            env: Vec::new(),
            directory: None,
            user: None,
            mounts: Vec::new(),
            network: Network::None,
            read_only_root: false,
            memory: None,
            cpus: None,
            pids: None,
            stdin: Vec::new(),
            stdout: Output::Log,
            stderr: Output::Log,
            timeout: Duration::ZERO,
            name: String::new(),
        }
    }

    /// The program that is started, with its first arguments, instead of the image's entry point.
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Container {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Adds arguments; without any, the image's own stand.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Container {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, on top of the image's.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Container {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where it runs: an absolute path in the container.
    pub fn dir(mut self, directory: impl Into<String>) -> Container {
        self.directory = Some(directory.into());
        self
    }

    /// `uid` or `uid:gid`.
    pub fn user(mut self, user: impl Into<String>) -> Container {
        self.user = Some(user.into());
        self
    }

    /// Shows a folder or file of the stage (`/workspace/…`, `/scratch/…`) at an absolute path in the container.
    pub fn mount(mut self, source: impl Into<String>, target: impl Into<String>, writable: bool) -> Container {
        self.mounts.push(Mount { source: source.into(), target: target.into(), writable });
        self
    }

    /// Says how it reaches others.
    pub fn network(mut self, network: Network) -> Container {
        self.network = network;
        self
    }

    /// Only mounts and `/tmp` can be written.
    pub fn read_only_root(mut self) -> Container {
        self.read_only_root = true;
        self
    }

    /// Memory in bytes, below the grant's ceiling.
    pub fn memory(mut self, bytes: u64) -> Container {
        self.memory = Some(bytes);
        self
    }

    /// Thousandths of a processor, below the grant's ceiling.
    pub fn cpus(mut self, thousandths: u32) -> Container {
        self.cpus = Some(thousandths);
        self
    }

    /// Processes and threads, below the grant's ceiling.
    pub fn pids(mut self, most: u32) -> Container {
        self.pids = Some(most);
        self
    }

    /// Feeds its standard input, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Container {
        self.stdin = bytes.into();
        self
    }

    /// Says what happens to standard output.
    pub fn stdout(mut self, output: Output) -> Container {
        self.stdout = output;
        self
    }

    /// Says what happens to standard error.
    pub fn stderr(mut self, output: Output) -> Container {
        self.stderr = output;
        self
    }

    /// Standard output goes to a file instead of the log; see [`Exit::stdout`].
    pub fn capture_stdout(self) -> Container {
        self.stdout(Output::Capture)
    }

    /// Standard error goes to a file instead of the log; see [`Exit::stderr`].
    pub fn capture_stderr(self) -> Container {
        self.stderr(Output::Capture)
    }

    /// After this long it is stopped. Without it, the stage's own limit stands.
    pub fn timeout(mut self, timeout: Duration) -> Container {
        self.timeout = timeout;
        self
    }

    /// A DNS label: others of [`Network::Stage`] and the stage's `http` requests find it as `<name>.stage`.
    pub fn name(mut self, name: impl Into<String>) -> Container {
        self.name = name.into();
        self
    }

    /// Starts it and does not wait for its end. It is removed when the [`Running`] is dropped.
    pub fn spawn(&self) -> Result<Running, Error> {
        crate::inside("docker");
        let mount = |mount: &Mount| wit::Mount { source: mount.source.clone(), target: mount.target.clone(), writable: mount.writable };
        let spec = wit::Spec {
            image: self.image.clone(),
            entrypoint: self.entrypoint.clone(),
            arguments: self.arguments.clone(),
            env: self.env.clone(),
            directory: self.directory.clone(),
            user: self.user.clone(),
            mounts: self.mounts.iter().map(mount).collect(),
            network: self.network.into(),
            read_only_root: self.read_only_root,
            memory: self.memory,
            cpus: self.cpus,
            pids: self.pids,
            stdin: self.stdin.clone(),
            stdout: self.stdout.into(),
            stderr: self.stderr.into(),
            timeout: nanoseconds(self.timeout),
            name: self.name.clone(),
        };
        Ok(Running { handle: wit::run(&spec)? })
    }

    /// Starts it, waits for its end, whatever that is ([`Exit::success`]), and removes it.
    pub fn run(&self) -> Result<Exit, Error> {
        self.spawn()?.wait()
    }
}

/// A further program in a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<String>,
    stdout: Output,
    stderr: Output,
    timeout: Duration,
}

impl Exec {
    /// A program and its arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Exec {
        let arguments = argv.into_iter().map(Into::into).collect();
        Exec { arguments, env: Vec::new(), directory: None, stdout: Output::Log, stderr: Output::Log, timeout: Duration::ZERO }
    }

    /// Sets a variable, on top of the container's.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Exec {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where it runs: an absolute path in the container.
    pub fn dir(mut self, directory: impl Into<String>) -> Exec {
        self.directory = Some(directory.into());
        self
    }

    /// Says what happens to standard output.
    pub fn stdout(mut self, output: Output) -> Exec {
        self.stdout = output;
        self
    }

    /// Says what happens to standard error.
    pub fn stderr(mut self, output: Output) -> Exec {
        self.stderr = output;
        self
    }

    /// After this long it is not waited for any more, and the container is killed: the engine has no way to end an `exec` alone.
    pub fn timeout(mut self, timeout: Duration) -> Exec {
        self.timeout = timeout;
        self
    }
}

/// A started container. It is removed when this is dropped or the stage ends.
#[derive(Debug)]
pub struct Running {
    handle: wit::Container,
}

impl Running {
    /// Counts from 1 within an attempt; the log shows it.
    pub fn number(&self) -> u32 {
        self.handle.number()
    }

    /// Waits for the end; the same answer every time.
    pub fn wait(&self) -> Result<Exit, Error> {
        Ok(self.handle.wait()?.into())
    }

    /// Asks it to end with its stop signal, and kills it after `grace`.
    pub fn stop(&self, grace: Duration) -> Result<Exit, Error> {
        Ok(self.handle.stop(nanoseconds(grace))?.into())
    }

    /// Runs a program in it and waits for its end.
    pub fn exec(&self, exec: &Exec) -> Result<Exit, Error> {
        let exec = wit::Exec {
            arguments: exec.arguments.clone(),
            env: exec.env.clone(),
            directory: exec.directory.clone(),
            stdout: exec.stdout.into(),
            stderr: exec.stderr.into(),
            timeout: nanoseconds(exec.timeout),
        };
        Ok(self.handle.exec(&exec)?.into())
    }

    /// Copies a file or folder of the stage (`/workspace/…`, `/scratch/…`) into a folder of the container that exists.
    pub fn copy_in(&self, source: impl AsRef<str>, target: impl AsRef<str>) -> Result<(), Error> {
        Ok(self.handle.copy_in(source.as_ref(), target.as_ref())?)
    }

    /// Copies a file or folder of the container into a folder of the stage that exists and may be written. Links and devices are left out.
    pub fn copy_out(&self, source: impl AsRef<str>, target: impl AsRef<str>) -> Result<(), Error> {
        Ok(self.handle.copy_out(source.as_ref(), target.as_ref())?)
    }

    /// How it stands.
    pub fn inspect(&self) -> Result<State, Error> {
        let wit::State { running, id, image, started, ended } = self.handle.inspect()?;
        Ok(State { running, id, image, started: started.map(Duration::from_nanos), ended: ended.map(Duration::from_nanos) })
    }
}

/// Waits until one of several has ended, or until `timeout` has passed (none: for ever).
///
/// Answers with the lowest index among those that have ended, or none on time-out. An empty list is answered with none at once.
pub fn wait_any(containers: &[&Running], timeout: Option<Duration>) -> Option<usize> {
    crate::inside("docker");
    let handles: Vec<&wit::Container> = containers.iter().map(|container| &container.handle).collect();
    // 0 means "for ever" to the host; a limit of nothing is the shortest one.
    let timeout = timeout.map_or(0, |limit| nanoseconds(limit).max(1));
    wit::wait_any(&handles, timeout).map(|index| index as usize)
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it runs.
    pub running: bool,
    /// The engine's id, 64 hex digits.
    pub id: String,
    /// The digest of the image that it was made from.
    pub image: String,
    /// Since 1970-01-01T00:00:00Z; none if it has not started.
    pub started: Option<Duration>,
    /// Since 1970-01-01T00:00:00Z; none if it has not ended.
    pub ended: Option<Duration>,
}

/// How a container, or a program in it, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// 128 and the number of the signal, if one ended it.
    pub code: i32,
    /// Whether it was ended because it reached its memory limit.
    pub out_of_memory: bool,
    /// Whether it was ended because of its `timeout`.
    pub timed_out: bool,
    /// From start to end.
    pub duration: Duration,
    /// What it wrote, if that was captured.
    pub stdout: Option<Captured>,
    /// What it wrote to standard error, if that was captured.
    pub stderr: Option<Captured>,
}

impl Exit {
    /// Whether it ended by itself, with exit code 0.
    pub fn success(&self) -> bool {
        self.code == 0 && !self.timed_out
    }
}

/// `exit code 1`, `out of memory (exit code 137)`, `timed out after 30s`.
impl Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.timed_out {
            write!(f, "timed out after {:.0?}", self.duration)
        } else if self.out_of_memory {
            write!(f, "out of memory (exit code {})", self.code)
        } else {
            write!(f, "exit code {}", self.code)
        }
    }
}

/// An image to build from a Dockerfile: no network for its steps, the engine's own platform, the engine's own cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    context: String,
    dockerfile: String,
    tags: Vec<String>,
    build_args: Vec<(String, String)>,
    target: String,
    labels: Vec<(String, String)>,
    platform: String,
    network: bool,
    cache_from: Vec<String>,
    cache_to: Vec<String>,
    no_cache: bool,
    pull: bool,
    timeout: Duration,
}

impl Build {
    /// With a folder of the stage (`/workspace/…`, `/scratch/…`) as its context.
    pub fn new(context: impl Into<String>) -> Build {
        Build {
            context: context.into(),
            dockerfile: String::new(),
            tags: Vec::new(),
            build_args: Vec::new(),
            target: String::new(),
            labels: Vec::new(),
            platform: String::new(),
            network: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            no_cache: false,
            pull: false,
            timeout: Duration::ZERO,
        }
    }

    /// Relative to the context; `Dockerfile` without it.
    pub fn dockerfile(mut self, path: impl Into<String>) -> Build {
        self.dockerfile = path.into();
        self
    }

    /// Adds a name for the image.
    pub fn tag(mut self, tag: impl Into<String>) -> Build {
        self.tags.push(tag.into());
        self
    }

    /// Sets an `ARG`.
    pub fn build_arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Build {
        self.build_args.push((name.into(), value.into()));
        self
    }

    /// The stage of the Dockerfile to build; the last without it.
    pub fn target(mut self, target: impl Into<String>) -> Build {
        self.target = target.into();
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Build {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Such as `linux/arm64`.
    pub fn platform(mut self, platform: impl Into<String>) -> Build {
        self.platform = platform.into();
        self
    }

    /// Gives `RUN` steps the network; the grant has to say `build-network = "full"`.
    pub fn network(mut self) -> Build {
        self.network = true;
        self
    }

    /// A registry's reference to take cached layers from.
    pub fn cache_from(mut self, reference: impl Into<String>) -> Build {
        self.cache_from.push(reference.into());
        self
    }

    /// A registry's reference to keep layers at. It counts as a push.
    pub fn cache_to(mut self, reference: impl Into<String>) -> Build {
        self.cache_to.push(reference.into());
        self
    }

    /// Runs every step anew.
    pub fn no_cache(mut self) -> Build {
        self.no_cache = true;
        self
    }

    /// Asks registries for newer base images.
    pub fn pull(mut self) -> Build {
        self.pull = true;
        self
    }

    /// After this long it is given up. Without it, the stage's own limit stands.
    pub fn timeout(mut self, timeout: Duration) -> Build {
        self.timeout = timeout;
        self
    }

    /// Builds and waits for the end. What the build prints goes into the stage's log.
    pub fn run(&self) -> Result<Built, Error> {
        crate::inside("docker");
        let spec = wit_builds::Spec {
            context: self.context.clone(),
            dockerfile: self.dockerfile.clone(),
            tags: self.tags.clone(),
            build_args: self.build_args.clone(),
            target: self.target.clone(),
            labels: self.labels.clone(),
            platform: self.platform.clone(),
            network: self.network,
            cache_from: self.cache_from.clone(),
            cache_to: self.cache_to.clone(),
            no_cache: self.no_cache,
            pull: self.pull,
            timeout: nanoseconds(self.timeout),
        };
        let wit_builds::Built { id, size, duration, cached, steps, buildkit } = wit_builds::build(&spec)?;
        Ok(Built { id, size, duration: Duration::from_nanos(duration), cached, steps, buildkit })
    }
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// `sha256:` and 64 hex digits.
    pub id: String,
    /// In bytes.
    pub size: u64,
    /// From start to end.
    pub duration: Duration,
    /// Steps that were taken from the cache.
    pub cached: u32,
    /// All steps.
    pub steps: u32,
    /// Whether BuildKit made it; otherwise the engine's classic builder.
    pub buildkit: bool,
}

/// Why something of Docker's did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The grants do not allow it.
    Denied(Denial),
    /// No such image, container or path in it.
    NotFound(String),
    /// The request cannot be meant: a reference that is none, a path that is not absolute.
    Invalid(String),
    /// A name that is taken, an image in use.
    Conflict(String),
    /// The registry refused or did not answer.
    Registry(String),
    /// The engine cannot be reached or said no.
    Engine(String),
    /// A limit of the stage or of the grant was reached.
    Limit(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(denial) => denial.fmt(f),
            Error::NotFound(text)
            | Error::Invalid(text)
            | Error::Conflict(text)
            | Error::Registry(text)
            | Error::Engine(text)
            | Error::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Denied(denial) => Failure::Denied(denial),
            Error::Invalid(text) => Failure::Misconfigured(text),
            other => Failure::errored(other),
        }
    }
}

impl From<wit_types::Error> for Error {
    fn from(error: wit_types::Error) -> Error {
        match error {
            wit_types::Error::Denied(denial) => Error::Denied(denial.into()),
            wit_types::Error::NotFound(text) => Error::NotFound(text),
            wit_types::Error::Invalid(text) => Error::Invalid(text),
            wit_types::Error::Conflict(text) => Error::Conflict(text),
            wit_types::Error::Registry(text) => Error::Registry(text),
            wit_types::Error::Engine(text) => Error::Engine(text),
            wit_types::Error::Limit(text) => Error::Limit(text),
        }
    }
}

impl From<Network> for wit::Network {
    fn from(network: Network) -> wit::Network {
        match network {
            Network::None => wit::Network::None,
            Network::Stage => wit::Network::Stage,
            Network::Granted => wit::Network::Granted,
        }
    }
}

impl From<Output> for wit::Output {
    fn from(output: Output) -> wit::Output {
        match output {
            Output::Log => wit::Output::Log,
            Output::Capture => wit::Output::Capture,
            Output::Both => wit::Output::Both,
            Output::Discard => wit::Output::Discard,
        }
    }
}

impl From<wit::Exit> for Exit {
    fn from(exit: wit::Exit) -> Exit {
        let captured = |wit: wit::Captured| Captured { path: wit.path.into(), size: wit.size };
        Exit {
            code: exit.code,
            out_of_memory: exit.out_of_memory,
            timed_out: exit.timed_out,
            duration: Duration::from_nanos(exit.duration),
            stdout: exit.stdout.map(captured),
            stderr: exit.stderr.map(captured),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_how() {
        let exit = |code, out_of_memory, timed_out| Exit {
            code,
            out_of_memory,
            timed_out,
            duration: Duration::from_secs(30),
            stdout: None,
            stderr: None,
        };
        for (exit, text, success) in [
            (exit(0, false, false), "exit code 0", true),
            (exit(137, false, false), "exit code 137", false),
            (exit(137, true, false), "out of memory (exit code 137)", false),
            (exit(0, false, true), "timed out after 30s", false),
        ] {
            assert_eq!((exit.to_string().as_str(), exit.success()), (text, success));
        }
    }

    #[test]
    fn each_error_fails_the_stage_in_its_own_way() {
        let denial = Denial {
            effect: "docker.run".into(),
            subject: "node:20".into(),
            code: "not-granted".into(),
            reason: "no pattern of `run` allows it".into(),
            remedy: None,
        };
        assert_eq!(Failure::from(Error::Denied(denial.clone())), Failure::Denied(denial));
        assert!(matches!(Failure::from(Error::Invalid("no reference".into())), Failure::Misconfigured(_)));
        assert!(matches!(Failure::from(Error::Registry("503".into())), Failure::Errored(text) if text == "503"));
    }

    #[test]
    #[should_panic(expected = "was called outside a stage")]
    fn outside_a_stage_it_says_so() {
        let _ = Container::new("busybox").run();
    }
}
