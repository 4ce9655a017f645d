//! Containers that share one loopback and nothing else.
//!
//! A pod is a network namespace that a small container of ours holds. The containers of a stage join it: they find each other on `127.0.0.1` under
//! the names that the pod was given, and where the network is `none` there is no interface besides: no bridge, no gateway, no name server, no
//! IPv6 way out, so that no rule has to keep anything back.
//!
//! What crosses the namespace's border does so in the holder (`holder/main.rs`), over sockets in a folder that no other container sees: out to
//! the runner's proxy where one was asked for, and in to any port for the runner itself ([`Pod::connect`]).
//!
//! Deliberately absent: the proxy and its decisions (the caller serves what [`Pod::outlet`] accepts), and pods on other machines, which can't
//! share a folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::container::{Container, Printed, State};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::holder;
use crate::owner::Owner;
use crate::spec::{Ceilings, ContainerSpec, Mount, NetworkMode};

/// Where the proxy is reached inside.
pub const PROXY: &str = "127.0.0.1:3128";

const SHARED: &str = "/run/runner";
const PATIENCE: Duration = Duration::from_secs(20);
const WHAT: &str = "a network that a stage's containers share";

/// What a pod is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSpec {
    /// Names that lead to the loopback: each as it is and as `<name>.stage`.
    pub names: Vec<String>,
    /// Whether there is the engine's bridge besides.
    pub full: bool,
    /// Whether [`PROXY`] leads to [`Pod::outlet`].
    pub outlet: bool,
    /// An empty folder of the runner's user, for the sockets. It has to exist, and nobody else may write to it.
    pub folder: PathBuf,
}

/// A network namespace that is held. Ends when it is dropped, as a [`Container`] does; those that joined it keep it until they end.
pub struct Pod {
    holder: Container,
    folder: OwnedFd,
    outlet: Option<UnixListener>,
}

impl Pod {
    /// # Errors
    /// If the engine is not on this machine or does not see its folders, or refuses.
    pub async fn start(engine: &Engine, owner: &Owner, spec: &PodSpec) -> Result<Pod, EngineError> {
        if !engine.is_local() {
            return Err(EngineError::NotLocal { what: WHAT, endpoint: engine.endpoint() });
        }
        let broken = |why: String| EngineError::Pod { what: WHAT, why };
        let at_folder = |error: io::Error| broken(format!("{}: {error}", spec.folder.display()));
        let path = spec.folder.canonicalize().map_err(at_folder)?;
        let opened = File::open(&path).map_err(at_folder)?;
        let is_of = opened.metadata().map_err(at_folder)?;
        let folder = OwnedFd::from(opened);
        let outlet = spec.outlet.then(|| UnixListener::bind(beside(&folder, "out"))).transpose().map_err(at_folder)?;

        let image = holder::image(engine).await?;
        // so that the sockets are the runner's; a rootless engine's root is the runner's user
        let user = if engine.about().await?.rootless { "0:0".to_owned() } else { format!("{}:{}", is_of.uid(), is_of.gid()) };
        let mut arguments = vec![SHARED.to_owned()];
        if outlet.is_some() {
            arguments.push("out".to_owned());
        }
        let container = ContainerSpec {
            image,
            arguments,
            user: Some(user),
            mounts: vec![Mount::Bind { from: path, to: SHARED.to_owned(), writable: true }],
            network: if spec.full { NetworkMode::Full } else { NetworkMode::None },
            limits: Ceilings { memory: Some(32 << 20), cpus: None, pids: Some(8) },
            read_only_root: true,
            ..ContainerSpec::default()
        };
        let hosts: Vec<String> =
            spec.names.iter().flat_map(|name| [format!("{name}:127.0.0.1"), format!("{name}.stage:127.0.0.1")]).collect();
        let holder = engine.run_with(owner, &container, &hosts).await?;
        let pod = Pod { holder, folder, outlet };
        pod.ready().await.map_err(|why| broken(why))?;
        Ok(pod)
    }

    /// For the other containers of the stage.
    pub fn network(&self) -> NetworkMode {
        NetworkMode::Pod(self.holder.id().to_owned())
    }

    /// What arrives at [`PROXY`] inside. None the second time, and where it was not asked for.
    pub fn outlet(&mut self) -> Option<UnixListener> {
        self.outlet.take()
    }

    /// Connects to a port of the loopback inside.
    ///
    /// # Errors
    /// As `connect` has them: nobody listens there, or the pod has ended.
    pub async fn connect(&self, port: u16) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(beside(&self.folder, "in")).await?;
        stream.write_all(&port.to_be_bytes()).await?;
        match stream.read_u8().await? {
            0 => Ok(stream),
            error => Err(io::Error::from_raw_os_error(i32::from(error))),
        }
    }

    /// How its holder stands.
    ///
    /// # Errors
    /// If the pod or the engine is gone.
    pub async fn state(&self) -> Result<State, EngineError> {
        self.holder.inspect().await
    }

    /// Ends it.
    ///
    /// # Errors
    /// If the engine refuses or is gone.
    pub async fn remove(self) -> Result<(), EngineError> {
        self.holder.remove().await
    }

    /// Until the holder listens, or has ended.
    async fn ready(&self) -> Result<(), String> {
        let listens = async {
            let mut pause = Duration::from_millis(1);
            while UnixStream::connect(beside(&self.folder, "in")).await.is_err() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::select! {
            () = listens => Ok(()),
            ended = self.holder.wait() => {
                let words = self.words().await;
                match ended {
                    Ok(ended) => Err(format!("its first process ended at once with {}: {}", ended.code, words.trim())),
                    Err(error) => Err(error.to_string()),
                }
            }
            () = tokio::time::sleep(PATIENCE) => Err(
                "the engine runs on this machine but does not see its folders, or shares no sockets in them: \
                 if the runner is in a container or the engine in a virtual machine, run them side by side"
                    .to_owned(),
            ),
        }
    }

    async fn words(&self) -> String {
        use futures::StreamExt;
        let mut words = String::new();
        let Some(mut output) = self.holder.output() else { return words };
        while let Some(Ok((Printed::Stderr | Printed::Stdout, piece))) = output.next().await {
            words.push_str(&String::from_utf8_lossy(&piece));
        }
        words
    }
}

/// A path that is short enough for a socket's address, however deep the folder is.
fn beside(folder: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
