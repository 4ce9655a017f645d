//! Containers: made, watched, removed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::harden;
use crate::owner::{EFFECT, Owner};
use crate::spec::ContainerSpec;
use crate::turn::turn;

/// How long somebody else's removal is waited for.
const REMOVAL: Duration = Duration::from_secs(10);

/// Which of a program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed {
    Stdout,
    Stderr,
}

/// What a program prints, as it comes, until the last of its processes has closed both outputs.
pub type Output = Pin<Box<dyn Stream<Item = Result<(Printed, Bytes), EngineError>> + Send>>;
type Input = Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// 128 and the number of the signal, if one ended it.
    pub code: i64,
    pub out_of_memory: bool,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: String,
    pub name: String,
    /// The id of the image that it was made from.
    pub image: String,
    pub running: bool,
    /// The number of its first process as the engine's machine counts; 0 when it does not run.
    pub pid: i64,
    pub started: Option<jiff::Timestamp>,
    pub ended: Option<jiff::Timestamp>,
    pub code: i64,
    pub out_of_memory: bool,
    pub labels: HashMap<String, String>,
}

/// A container of ours. Dropping it removes it, in the background: who can wait calls [`Container::remove`], who wants to leave it
/// [`Container::leave`].
pub struct Container {
    engine: Engine,
    id: String,
    output: Mutex<Option<Output>>,
    runtime: Handle,
    kept: bool,
}

impl Engine {
    /// Makes a container, attaches to it, and starts it. If the caller goes away meanwhile, so does the container.
    ///
    /// # Errors
    /// If the image is not there, the engine refuses, or the program can't be started. Nothing is left then.
    pub async fn run(&self, owner: &Owner, spec: &ContainerSpec) -> Result<Container, EngineError> {
        self.run_with(owner, spec, &[]).await
    }

    /// `hosts`: further lines of its `/etc/hosts`, as `name:address`.
    pub(crate) async fn run_with(&self, owner: &Owner, spec: &ContainerSpec, hosts: &[String]) -> Result<Container, EngineError> {
        let body = harden::create_body(owner, spec, hosts);
        let (engine, name, stdin) = (self.clone(), spec.name.clone(), spec.stdin.clone());
        let (made, waiting) = oneshot::channel();
        // A request to make a container can't be taken back: what a caller gave up waiting for is made all the same, and has to be removed by
        // somebody. If nobody takes the container, dropping it does that.
        tokio::spawn(async move {
            let _ = made.send(engine.make(name, body, stdin).await);
        });
        match waiting.await {
            Ok(made) => made,
            Err(_) => Err(EngineError::Lost {
                doing: format!("starting a container of {}", spec.image),
                endpoint: self.endpoint(),
                why: "the runner is ending".to_owned(),
            }),
        }
    }

    async fn make(
        &self,
        name: Option<String>,
        body: bollard::models::ContainerCreateBody,
        stdin: Vec<u8>,
    ) -> Result<Container, EngineError> {
        let image = body.image.clone().unwrap_or_default();
        let options = name.map(|name| CreateContainerOptionsBuilder::new().name(&name).build());
        let created = self.docker.create_container(options, body).await;
        let created = created.map_err(|error| self.failed(format!("making a container of {image}"), error))?;
        let container = Container::new(self.clone(), created.id, None);
        match container.start(stdin).await {
            Ok(()) => Ok(container),
            Err(error) => {
                // why it could not be started matters more than why it can't be removed; dropping tries once more
                let _ = container.remove().await;
                Err(error)
            }
        }
    }

    /// The container that an effect of an attempt made, in whichever process. This process is responsible for it from then on: another
    /// runner's sweep leaves it alone.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn find(&self, owner: &Owner, effect: u64) -> Result<Option<Container>, EngineError> {
        let _turn = turn().await;
        let mut filter = owner.filter();
        filter.entry("label".to_owned()).or_default().push(format!("{EFFECT}={effect}"));
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let found = self.docker.list_containers(Some(options)).await;
        let found = found.map_err(|error| self.failed("looking for the container of an effect", error))?;
        let Some(id) = found.into_iter().find_map(|found| found.id) else { return Ok(None) };
        let claim = RenameContainerOptionsBuilder::new().name(&Owner::claim(&id)).build();
        match self.docker.rename_container(&id, claim).await.map_err(|error| self.failed("taking over a container", error)) {
            // the second time it has that name already
            Ok(()) => {}
            Err(error) if error.is_conflict() || matches!(error, EngineError::Said { status: 400, .. }) => {}
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(Container::new(self.clone(), id, None)))
    }
}

impl Container {
    fn new(engine: Engine, id: String, output: Option<Output>) -> Container {
        Container { engine, id, output: Mutex::new(output), runtime: Handle::current(), kept: false }
    }

    /// 64 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it prints, from its start on. None the second time, and of a container that was found again: see [`Container::logs`].
    pub fn output(&self) -> Option<Output> {
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    async fn start(&self, stdin: Vec<u8>) -> Result<(), EngineError> {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdin(!stdin.is_empty()).stdout(true).stderr(true).build();
        let attached = self.engine.docker.attach_container(&self.id, Some(options)).await;
        let attached = attached.map_err(|error| self.failed("attaching to it", error))?;
        let started = self.engine.docker.start_container(&self.id, None::<StartContainerOptions>).await;
        started.map_err(|error| self.failed("starting it", error))?;
        let output = self.printed(attached.output, "reading what it prints");
        feed(attached.input, stdin);
        *self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(output);
        Ok(())
    }

    /// All that it has printed and prints, of the last 32 MiB.
    pub fn logs(&self) -> Output {
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
        self.printed(Box::pin(self.engine.docker.logs(&self.id, Some(options))), "reading its log")
    }

    /// Until it has ended; the same answer every time.
    ///
    /// # Errors
    /// If the container or the engine is gone.
    pub async fn wait(&self) -> Result<Ended, EngineError> {
        use bollard::errors::Error;
        const DOING: &str = "waiting for its end";
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut answers = self.engine.docker.wait_container(&self.id, Some(options));
        match answers.next().await {
            // whether memory was the reason is asked only where something went wrong: it is one more answer to wait for
            Some(Ok(answer)) if answer.status_code == 0 => return Ok(Ended { code: 0, out_of_memory: false }),
            // bollard takes every code but 0 for an error
            Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => {}
            Some(Err(error)) => return Err(self.failed(DOING, error)),
            None => return Err(self.lost(DOING, "it closed the connection without an answer")),
        }
        let state = self.inspect().await?;
        Ok(Ended { code: state.code, out_of_memory: state.out_of_memory })
    }

    /// `signal`: `TERM`, `USR1`, …
    ///
    /// # Errors
    /// If it does not run.
    pub async fn signal(&self, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.engine.docker.kill_container(&self.id, Some(options)).await;
        sent.map_err(|error| self.failed("sending it a signal", error))
    }

    /// Asks it to end with the signal that its image names, and kills it after the grace. Fine if it has ended.
    ///
    /// # Errors
    /// If the container or the engine is gone.
    pub async fn stop(&self, grace: Duration) -> Result<(), EngineError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
        let stopped = self.engine.patient().stop_container(&self.id, Some(options)).await;
        stopped.map_err(|error| self.failed("stopping it", error))
    }

    /// Ends it at once. Fine if it has ended.
    ///
    /// # Errors
    /// If the container or the engine is gone.
    pub async fn kill(&self) -> Result<(), EngineError> {
        match self.signal("KILL").await {
            Err(error) if error.is_conflict() => Ok(()), // it does not run
            other => other,
        }
    }

    /// Puts a tar archive into a folder of it that exists. As root: whoever may write to a mount inside of `folder` writes there as root too.
    ///
    /// # Errors
    /// If there is no such folder, or it can't be written.
    pub async fn copy_in(
        &self,
        folder: &str,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::new().path(folder).no_overwrite_dir_non_dir("true").build();
        let copied = self.engine.patient().upload_to_container(&self.id, Some(options), bollard::body_try_stream(archive)).await;
        copied.map_err(|error| self.failed(format!("copying into its {folder}"), error))
    }

    /// A file or folder of it as a tar archive. What is in it was made by whoever wrote in the container: links, devices, names with `..`.
    pub fn copy_out(&self, path: &str) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let archive = self.engine.patient().download_from_container(&self.id, Some(options));
        let (engine, doing) = (self.engine.clone(), self.doing(&format!("copying {path} out of it")));
        archive.map(move |piece| piece.map_err(|error| engine.failed(doing.clone(), error)))
    }

    /// # Errors
    /// If the container or the engine is gone.
    pub async fn inspect(&self) -> Result<State, EngineError> {
        let found = self.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await;
        let found = found.map_err(|error| self.failed("inspecting it", error))?;
        let state = found.state.unwrap_or_default();
        Ok(State {
            id: self.id.clone(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: found.image.unwrap_or_default(),
            running: state.running.unwrap_or_default(),
            pid: state.pid.unwrap_or_default(),
            started: time(state.started_at),
            ended: time(state.finished_at),
            code: state.exit_code.unwrap_or_default(),
            out_of_memory: state.oom_killed.unwrap_or_default(),
            labels: found.config.and_then(|config| config.labels).unwrap_or_default(),
        })
    }

    /// Ends it and takes it away, with its anonymous volumes. Fine if it is gone.
    ///
    /// # Errors
    /// If the engine refuses or is gone.
    pub async fn remove(mut self) -> Result<(), EngineError> {
        remove(&self.engine, &self.id).await?;
        self.kept = true;
        Ok(())
    }

    /// Waits until somebody has taken it away, for ten seconds at most; it need not be kept for that.
    pub fn removal(&self) -> impl Future<Output = ()> + Send + use<> {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        async move { removal(&engine, &id).await }
    }

    /// Leaves it as it is, for [`Engine::find`] or the sweep.
    pub fn leave(mut self) {
        self.kept = true;
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn printed<S>(&self, output: Pin<Box<S>>, doing: &str) -> Output
    where
        S: Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + ?Sized + 'static,
    {
        let (engine, doing) = (self.engine.clone(), self.doing(doing));
        Box::pin(output.map(move |piece| match piece {
            Ok(LogOutput::StdErr { message }) => Ok((Printed::Stderr, message)),
            Ok(piece) => Ok((Printed::Stdout, piece.into_bytes())),
            Err(error) => Err(engine.failed(doing.clone(), error)),
        }))
    }

    pub(crate) fn failed(&self, doing: impl AsRef<str>, error: bollard::errors::Error) -> EngineError {
        self.engine.failed(self.doing(doing.as_ref()), error)
    }

    pub(crate) fn lost(&self, doing: &str, why: &str) -> EngineError {
        EngineError::Lost { doing: self.doing(doing), endpoint: self.engine.endpoint(), why: why.to_owned() }
    }

    fn doing(&self, doing: &str) -> String {
        format!("container {}: {doing}", self.id.get(..12).unwrap_or(&self.id))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.kept {
            let (engine, id) = (self.engine.clone(), std::mem::take(&mut self.id));
            self.runtime.spawn(async move {
                // whoever wants to know calls `remove`; what stays behind is swept
                let _ = remove(&engine, &id).await;
            });
        }
    }
}

pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine.docker.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        // somebody else is at it: done when it is gone
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => {
            removal(engine, id).await;
            Ok(())
        }
        Err(error) => Err(engine.failed(format!("removing container {}", id.get(..12).unwrap_or(id)), error)),
    }
}

async fn removal(engine: &Engine, id: &str) {
    let options = WaitContainerOptionsBuilder::new().condition("removed").build();
    let mut gone = engine.docker.wait_container(id, Some(options));
    // one that the engine does not know is gone
    let _ = tokio::time::timeout(REMOVAL, gone.next()).await;
}

/// Writes what a program reads and closes its input. A program that does not read all of it loses nothing by that.
pub(crate) fn feed(mut input: Input, bytes: Vec<u8>) {
    tokio::spawn(async move {
        if bytes.is_empty() || input.write_all(&bytes).await.is_ok() {
            let _ = input.shutdown().await;
        }
        // the output comes over the same connection, whose writing half ends here alone
    });
}

/// Docker writes the year 1 for "never".
fn time(text: Option<String>) -> Option<jiff::Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    (time > jiff::Timestamp::UNIX_EPOCH).then_some(time)
}

/// The words of an error whose place is known.
pub(crate) fn words(error: &bollard::errors::Error) -> String {
    match error {
        bollard::errors::Error::DockerResponseServerError { message, .. } => message.clone(),
        bollard::errors::Error::DockerStreamError { error } => error.clone(),
        other => chain(other),
    }
}
