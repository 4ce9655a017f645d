//! Services as confined processes: the jail behind the port of the crate `service`.
//!
//! They run in the stage's own jail, so that its programs reach them over loopback, each in its own pid namespace, with a folder of its own
//! as home and working directory, the workspace read-only, and none of the stage's variables.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use capability::state::SCRATCH;
use capability::{Endpoint, Setting};
use pipeline::plan::{Service, ServiceSource};
use service::{LaunchError, Launched, Launcher, Launching, Order, Stream};

use crate::grant::normal_program;
use crate::jail::toolchain::{self, Toolchain, ToolchainError};
use crate::jail::{ExitStatus, HOME, Jail, JailError, JailProcess, JailSpec, SERVICES, SpawnSpec, View};
use crate::name::{Door, Place};
use crate::stage_jail::StageJail;

/// What a service has for itself.
#[derive(Debug, Clone)]
pub struct ServiceRoom {
    pub name: String,
    /// On the host; it exists and is empty.
    pub folder: PathBuf,
    pub toolchains: Vec<Toolchain>,
}

impl ServiceRoom {
    /// Works out the toolchains of a service on this machine; without any, it sees the system's.
    ///
    /// # Errors
    /// A toolchain that is unknown or not installed.
    pub fn new(service: &Service, folder: PathBuf, root: &Path) -> Result<ServiceRoom, ToolchainError> {
        let env = |name: &str| std::env::var(name).ok();
        let system = ["system".to_owned()];
        let names = if service.toolchains.is_empty() { system.as_slice() } else { service.toolchains.as_slice() };
        let toolchains = names.iter().map(|name| toolchain::expand(name, root, &env)).collect::<Result<_, _>>()?;
        Ok(ServiceRoom { name: service.name.clone(), folder, toolchains })
    }

    /// Where its folder is bound.
    pub(crate) fn inside(&self) -> PathBuf {
        Path::new(SERVICES).join(&self.name)
    }

    /// Its toolchains' variables, and the folders of its programs.
    fn env(&self) -> Vec<(String, String)> {
        let system = JailSpec::new("").path;
        let mut path: Vec<String> =
            self.toolchains.iter().flat_map(|t| &t.path).chain(&system).map(|folder| folder.display().to_string()).collect();
        path.dedup();
        let own = self.toolchains.iter().flat_map(|t| t.env.iter().cloned());
        own.chain([("PATH".to_owned(), path.join(":"))]).collect()
    }
}

/// Starts services in a stage's jail.
pub struct JailLauncher {
    pub jail: Arc<StageJail>,
    pub setting: Arc<Setting>,
}

/// A service that was started.
struct Running {
    jail: Arc<Jail>,
    process: JailProcess,
    /// What its programs are started with.
    env: Vec<(String, String)>,
    view: View,
}

impl JailLauncher {
    async fn start(&self, order: Order<'_>) -> Result<Box<dyn Launched>, LaunchError> {
        let ServiceSource::Command(words) = &order.service.source else {
            return Err(LaunchError("it is a container, and no program".to_owned()));
        };
        let room = self.jail.services().iter().find(|room| room.name == order.service.name);
        let room = room.ok_or_else(|| LaunchError("it has no folder".to_owned()))?;
        let jail = self.jail.standing(&self.setting).await.map_err(|error| LaunchError(error.to_string()))?.clone();
        let view = View { home: room.inside(), read_only: self.jail.writable_mounts(&self.setting), hidden: vec![SCRATCH.into()] };
        let env: Vec<(String, String)> = room.env().into_iter().chain(order.service.env.iter().cloned()).collect();
        let null = || std::fs::File::open("/dev/null").map(OwnedFd::from).map_err(|error| LaunchError(format!("/dev/null: {error}")));
        let spec = spec(words, &env, &view, null()?, order.stdout, order.stderr)?;
        let process = jail.spawn(spec).await.map_err(|error| LaunchError(why(error)))?;
        let door = Arc::new(Door::new(Place::Jail(jail.clone()), false));
        if !self.setting.endpoints.insert(&order.service.name, door) {
            return Err(LaunchError("there is a process of its name already".to_owned()));
        }
        Ok(Box::new(Running { jail, process, env, view }))
    }
}

fn spec(
    words: &[String],
    env: &[(String, String)],
    view: &View,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<SpawnSpec, LaunchError> {
    let Some((program, arguments)) = words.split_first() else { return Err(LaunchError("its command is empty".to_owned())) };
    let Some(program) = normal_program(program) else { return Err(LaunchError(format!("`{program}` names no program"))) };
    let (args, env) = (arguments.to_vec(), env.to_vec());
    Ok(SpawnSpec { program, args, env, dir: HOME.into(), stdin, stdout, stderr, name: None, view: Some(view.clone()) })
}

fn why(error: JailError) -> String {
    match error {
        JailError::Spawn(error) => error.to_string(),
        other => other.to_string(),
    }
}

impl Launcher for JailLauncher {
    fn launch<'a>(&'a self, order: Order<'a>) -> Launching<'a> {
        Box::pin(self.start(order))
    }
}

impl Launched for Running {
    fn ended(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async move {
            match self.process.wait().await {
                ExitStatus::Code(code) => format!("exit {code}"),
                ExitStatus::Signal(signal) => format!("signal {signal}"),
            }
        })
    }

    fn run<'a>(&'a self, command: &'a [String]) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
            let io = |error: io::Error| format!("/dev/null: {error}");
            let spec = spec(command, &self.env, &self.view, null().map_err(io)?, null().map_err(io)?, null().map_err(io)?);
            let process = self.jail.spawn(spec.map_err(|error| error.to_string())?).await.map_err(why)?;
            match process.wait().await {
                ExitStatus::Code(0) => Ok("exit 0".to_owned()),
                ExitStatus::Code(code) => Err(format!("exit {code}")),
                ExitStatus::Signal(signal) => Err(format!("signal {signal}")),
            }
        })
    }

    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move {
            let door = Door::new(Place::Jail(self.jail.clone()), false);
            Ok(Box::new(door.connect(port).await?) as Box<dyn Stream>)
        })
    }

    fn stop(&self, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.process.terminate();
            if tokio::time::timeout(grace, self.process.wait()).await.is_err() {
                self.process.kill();
                self.process.wait().await;
            }
        })
    }
}
