//! Services from images: containers behind the port of the crate `service`.
//!
//! They join the stage's pod, so that its programs reach them over loopback under their names. Each is hardened like any container of ours, and keeps
//! what entrypoints need that make a folder theirs and give up root. Of the checkout it sees what the pipeline file names, as a copy: a folder that
//! somebody can plant a link in is nothing that an engine may resolve.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pipeline::plan::{ImageService, MountSource, Probe, Service, ServiceMount, ServiceSource};
use service::{LaunchError, Launched, Launcher, Launching, Order, Stream};

use crate::{Ceilings, Container, ContainerSpec, Ended, Engine, EngineError, ExecSpec, Kept, Mount, Owner, Pod, StagePod, digest, pour};

/// What the entrypoints of databases and servers need.
const KEPT: [Kept; 7] = [Kept::Chown, Kept::DacOverride, Kept::Fowner, Kept::Setuid, Kept::Setgid, Kept::Kill, Kept::NetBindService];
/// Of one folder in memory.
const TMPFS: u64 = 1 << 30;
/// Of one service, unless the file says more.
const PIDS: u32 = 2048;

/// Starts services from images.
pub struct ImageLauncher {
    pub pod: Arc<StagePod>,
    /// Where the copies of what services mount of the checkout are, under the paths that they have there. Nobody else writes in it.
    pub checkout: PathBuf,
    /// Tells of an image that has to be pulled.
    pub note: Box<dyn Fn(&str) + Send + Sync>,
}

/// A service that was started.
pub struct Serving {
    container: Arc<Container>,
    pod: Arc<Pod>,
    ports: Vec<u16>,
    /// The pipeline file says with what it is asked to end.
    asked_with: bool,
}

impl ImageLauncher {
    /// # Errors
    /// Why it can't be started.
    pub async fn start(&self, service: &Service, stdout: OwnedFd, stderr: OwnedFd) -> Result<Serving, LaunchError> {
        let ServiceSource::Image(wanted) = &service.source else {
            return Err(LaunchError("it is no container".to_owned()));
        };
        self.try_to(service, wanted, stdout, stderr).await.map_err(|error| LaunchError(error.to_string()))
    }

    async fn try_to(&self, service: &Service, wanted: &ImageService, stdout: OwnedFd, stderr: OwnedFd) -> Result<Serving, EngineError> {
        let engine = self.pod.engine().await?;
        let image = self.pod.image(&wanted.image, &*self.note).await?;
        let pod = self.pod.standing().await?.clone();
        let mut ports = image.tcp_ports();
        ports.extend(&wanted.ports);
        ports.extend(service.ready.iter().filter_map(|ready| match &ready.probe {
            Probe::Tcp(port) => Some(*port),
            _ => None,
        }));
        ports.sort_unstable();
        ports.dedup();
        let mut mounts: Vec<Mount> = wanted.tmpfs.iter().map(|to| Mount::Tmpfs { to: to.clone(), bytes: TMPFS }).collect();
        for mount in &wanted.mounts {
            mounts.push(self.mount(engine, mount).await?);
        }
        let spec = ContainerSpec {
            image: image.id,
            entrypoint: wanted.entrypoint.clone(),
            arguments: wanted.arguments.clone().unwrap_or_default(),
            env: service.env.clone(),
            directory: wanted.directory.clone(),
            user: wanted.user.clone(),
            mounts,
            network: pod.network(),
            limits: Ceilings {
                memory: wanted.ceilings.memory,
                cpus: wanted.ceilings.cpus,
                pids: Some(wanted.ceilings.pids.unwrap_or(PIDS)),
            },
            read_only_root: wanted.read_only,
            keep_capabilities: KEPT.to_vec(),
            init: wanted.init,
            stop_signal: wanted.stop_signal.clone(),
            ..ContainerSpec::default()
        };
        let container = Arc::new(engine.run(self.pod.owner(), &spec).await?);
        if let Some(output) = container.output() {
            tokio::spawn(pour(output, stdout, stderr));
        }
        Ok(Serving { container, pod, ports, asked_with: wanted.stop_signal.is_some() })
    }

    async fn mount(&self, engine: &Engine, mount: &ServiceMount) -> Result<Mount, EngineError> {
        let to = mount.to.clone();
        match &mount.from {
            MountSource::Volume { name, writable } => {
                let name = volume(self.pod.owner(), name);
                // the second service that names it gets the first one's
                engine.volume(self.pod.owner(), &name).await?;
                Ok(Mount::Volume { name, to, writable: *writable })
            }
            MountSource::Checkout(path) => Ok(Mount::Bind { from: self.checkout.join(path), to, writable: false }),
        }
    }
}

/// Engines have one set of names for all. A process of its own has volumes of its own: those of one that was killed are swept meanwhile.
fn volume(owner: &Owner, name: &str) -> String {
    let of = [owner.run.as_str(), &owner.stage, &owner.attempt.to_string(), &owner.process, name].join("\0");
    format!("runner-{}", &digest::hex(of.as_bytes())[..32])
}

impl Launcher for ImageLauncher {
    fn launch<'a>(&'a self, order: Order<'a>) -> Launching<'a> {
        Box::pin(async move {
            let serving = self.start(order.service, order.stdout, order.stderr).await?;
            Ok(Box::new(serving) as Box<dyn Launched>)
        })
    }
}

impl Serving {
    /// The ports that its image exposes and that the pipeline file names.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Whether its first process handles any of the signals that images are stopped with. The kernel holds back from a process 1 what that does not
    /// handle, so that waiting for it would only take time.
    async fn can_be_asked(&self) -> bool {
        if self.asked_with {
            return true;
        }
        let Ok(state) = self.container.inspect().await else { return false };
        let status = tokio::fs::read_to_string(format!("/proc/{}/status", state.pid)).await.unwrap_or_default();
        handles(&status).unwrap_or(true)
    }
}

/// INT, QUIT, TERM and WINCH: one of them is what an image names, or the engine's own choice.
const ASKING: u64 = 1 << 1 | 1 << 2 | 1 << 14 | 1 << 27;

/// None: it can't be told.
fn handles(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    Some(u64::from_str_radix(mask.trim(), 16).ok()? & ASKING != 0)
}

impl Launched for Serving {
    fn ended(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async move {
            match self.container.wait().await {
                Ok(Ended { out_of_memory: true, code }) => format!("exit {code}: its memory was not enough"),
                Ok(Ended { code, .. }) => format!("exit {code}"),
                Err(error) => error.to_string(),
            }
        })
    }

    fn run<'a>(&'a self, command: &'a [String]) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let spec = ExecSpec { command: command.to_vec(), ..ExecSpec::default() };
            let mut exec = self.container.exec(&spec).await.map_err(|error| error.to_string())?;
            // what it says is nobody's; but it stops when nobody reads
            if let Some(mut output) = exec.output() {
                while output.next().await.is_some() {}
            }
            match exec.code().await.map_err(|error| error.to_string())? {
                0 => Ok("exit 0".to_owned()),
                code => Err(format!("exit {code}")),
            }
        })
    }

    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move { Ok(Box::new(self.pod.connect(port).await?) as Box<dyn Stream>) })
    }

    fn stop(&self, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // one that can't be stopped is taken away with the attempt
            let _ = if self.can_be_asked().await { self.container.stop(grace).await } else { self.container.kill().await };
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_handles_no_signal_is_not_asked() {
        assert_eq!(handles("Name:\tsleep\nSigCgt:\t0000000000000000\n"), Some(false));
        assert_eq!(handles("SigIgn:\t0000000000004000\nSigCgt:\t0000000000004000\n"), Some(true));
        assert_eq!(handles("SigCgt:\t0000000000010001\n"), Some(false), "children that end, and a new configuration, are no reason");
        assert_eq!(handles(""), None);
    }
}
