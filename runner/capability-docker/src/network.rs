//! The network that the containers of an attempt share: a pod's loopback, and through a proxy the granted hosts.
//!
//! A container of it has no interface but that loopback, so no rule has to keep anything back. Where hosts are granted, the pod passes what
//! connects to its port 3128 on to the host, where the allow-list proxy (`egress`) serves it. Each connection is an event when it ends; one that
//! is refused is a denial besides. None has a position in the record: they happen when a container wants them to.

use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use capability::outlet::{self, PORT};
use capability::{Boundary, Denial, Endpoint, Stream};
use docker::{Engine, NetworkMode, Pod, PodSpec, StagePod};
use egress::{AllowList, Contact, Host, Proxy, Refusal, Serving, Witness};
use tokio::net::{UnixListener, UnixStream};

use crate::containers::Attempt;
use crate::effect::{Answer, Fault};
use crate::grant::Network;

pub struct StageNetwork {
    pod: Arc<Pod>,
    /// The hosts that are granted.
    allow: AllowList,
    serving: Mutex<Option<Serving>>,
}

impl StageNetwork {
    /// `name`: of the first container that joins. Those that come later find each other on `localhost` alone, which all of them are.
    pub async fn open(engine: &Engine, attempt: &Attempt, name: Option<&str>, boundary: &Boundary) -> Answer<StageNetwork> {
        let setting = &attempt.setting;
        // services from images, and the stage's commands in containers, have a pod already
        let shared = setting.prepared.get::<StagePod>().filter(|_| attempt.grant().is_some_and(|grant| grant.network == Network::Stage));
        if let Some(shared) = shared {
            let pod = shared.standing().await?.clone();
            return Ok(StageNetwork { pod, allow: AllowList::default(), serving: Mutex::default() });
        }
        let allow = match attempt.grant().map(|grant| &grant.network) {
            Some(Network::Hosts(allow)) => allow.clone(),
            _ => AllowList::default(),
        };
        let broken = |error: io::Error| Fault::Engine(format!("the folder of the stage's network: {error}"));
        let scratch = setting.scratch.path().map_err(broken)?;
        let folder = scratch.with_file_name("docker-network");
        // what an attempt that was cut off left of it
        let _ = fs::remove_dir_all(&folder);
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(broken)?;
        let names = setting.services.iter().map(String::as_str).chain(name).map(str::to_owned).collect();
        let full = attempt.grant().is_some_and(|grant| grant.network == Network::Full);
        let spec = PodSpec { names, full, outlet: !allow.0.is_empty(), folder };
        let mut pod = Pod::start(engine, attempt.owner(), &spec).await?;
        let serving = pod.outlet().map(|listener| {
            let proxy = Proxy::new(allow.clone()).known_as(Host::V4(Ipv4Addr::LOCALHOST), PORT);
            let told = Arc::new(Told { stage: setting.name.clone(), allow: allow.clone(), boundary: boundary.clone() });
            Serving::start(WayOut { listener, proxy, told })
        });
        Ok(StageNetwork { pod: Arc::new(pod), allow, serving: Mutex::new(serving) })
    }

    pub fn mode(&self) -> NetworkMode {
        self.pod.network()
    }

    /// The variables by which programs find the proxy.
    pub fn variables(&self) -> Vec<(String, String)> {
        outlet::environment(&self.allow, &[])
    }

    /// By which the stage's own requests reach a container.
    pub fn door(&self) -> Arc<dyn Endpoint> {
        Arc::new(Door(self.pod.clone()))
    }

    pub async fn close(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(serving) = serving {
            serving.close().await;
        }
    }
}

struct Door(Arc<Pod>);

impl Endpoint for Door {
    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move { Ok(Box::new(self.0.connect(port).await?) as Box<dyn Stream>) })
    }
}

/// What comes out of the pod.
struct WayOut {
    listener: UnixListener,
    proxy: Proxy,
    told: Arc<Told>,
}

impl egress::Door for WayOut {
    type Client = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    async fn serve(self: Arc<Self>, stream: UnixStream) {
        self.proxy.serve(stream, self.told.clone()).await;
    }
}

/// Tells of the containers' connections.
struct Told {
    stage: String,
    allow: AllowList,
    boundary: Boundary,
}

impl Witness for Told {
    fn contact(&self, contact: Contact) {
        if let Some((host, port, refusal)) = outlet::tell(&self.boundary, None, contact) {
            self.boundary.tell(&self.denial(&host, port, &refusal));
        }
    }
}

impl Told {
    fn denial(&self, host: &Host, port: u16, refusal: &Refusal) -> Denial {
        let mut denial = Denial::new("network", refusal.to_string());
        denial.effect = event::CONNECT.to_owned();
        denial.subject = format!("{host}:{port}");
        let Some(wider) = outlet::wider(&self.allow, host, port, refusal) else { return denial };
        let list = wider.0.iter().map(outlet::written).collect::<Vec<_>>().join(", ");
        denial.remedy = Some(format!("[stage.{}.grants.docker]\nnetwork = [{list}]", self.stage));
        denial
    }
}
