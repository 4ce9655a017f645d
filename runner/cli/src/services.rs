//! The services of an attempt: up before its component starts, down after it has ended.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use capability::{Endpoint, Setting, Stream};
use capability_commands::{Bridge, JailLauncher, Place, ServiceRoom, StageContainers, StageJail, bridge};
use docker::{ImageLauncher, Owner, Pod, PodSpec, StagePod};
use event::{EventSink, FailureKind};
use host::{Finished, Stop};
use pipeline::plan::{Bound, MountSource, Plan, Service, ServiceSource, Stage};
use service::{LaunchError, Launched, Launcher, Launching, Order, Services};
use tokio::sync::watch;
use workspace::AttemptFolders;

use crate::{around, attempt, load};

/// At a hard stop services are not asked, and this is how long the kernel may take.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long an engine may take to remove what is left.
const REMOVED: Duration = Duration::from_secs(20);

/// What stands around an attempt's component: its services, and the jail and the containers that they share with its programs.
#[derive(Default)]
pub struct Beside {
    jail: Option<Arc<StageJail>>,
    pod: Option<Arc<StagePod>>,
    containers: Option<Arc<StageContainers>>,
    /// What services in containers see of the checkout, copied.
    checkout: PathBuf,
    services: Option<Services>,
    bridges: Arc<Mutex<Vec<Bridge>>>,
}

impl Beside {
    /// Makes the jail, if there are services, with the folder of each; and what containers share, if there will be any. `prepared` of the setting
    /// has them then. `again`: the attempt was cut off.
    ///
    /// # Errors
    /// In words for people.
    pub fn prepare(
        plan: &Plan,
        stage: &Stage,
        bound: &Bound,
        setting: &Setting,
        folders: &AttemptFolders,
        again: bool,
    ) -> Result<Beside, String> {
        let mut beside = Beside::default();
        let grant = around::commands(&bound.grants);
        let (images, programs): (Vec<&Service>, Vec<&Service>) = stage
            .services
            .iter()
            .map(|&index| &plan.services[index])
            .partition(|service| matches!(service.source, ServiceSource::Image(_)));
        if !stage.services.is_empty() && grant.is_some_and(|grant| grant.place == Place::Host) {
            setting.log.note("programs on the host can't reach the stage's services; its http requests can");
        }
        let within = grant.and_then(|grant| grant.place.container());
        if within.is_some() || !images.is_empty() {
            let folder = folders.work.join("containers");
            // of an attempt that was cut off: containers begin anew
            workspace::remove_tree(&folder).map_err(|error| error.to_string())?;
            let sockets = folder.join("pod");
            make(&sockets).map_err(|error| format!("{}: {error}", sockets.display()))?;
            beside.checkout = folder.join("checkout");
            let owner = Owner {
                run: setting.run.clone(),
                stage: setting.stage.as_str().to_owned(),
                attempt: setting.attempt,
                process: Owner::this_process(),
            };
            let spec = PodSpec {
                names: setting.services.clone(),
                full: within.is_some_and(|within| within.full_network),
                outlet: within.is_some() && grant.is_some_and(|grant| !grant.network.0.is_empty()),
                folder: sockets,
            };
            let pod = Arc::new(StagePod::new(owner, spec));
            let containers = Arc::new(StageContainers::new(pod.clone(), folder, again));
            if let Some(within) = within {
                containers.warm(within);
            }
            setting.prepared.insert(containers.clone());
            setting.prepared.insert(pod.clone());
            (beside.pod, beside.containers) = (Some(pod), Some(containers));
        }
        // confined programs reach the services in containers through the jail
        let confined = grant.is_some_and(|grant| grant.place == Place::Process);
        if programs.is_empty() && (images.is_empty() || !confined) {
            return Ok(beside);
        }
        let own = folders.work.join("services");
        // of an attempt that was cut off: a service begins anew
        workspace::remove_tree(&own).map_err(|error| error.to_string())?;
        let mut rooms = Vec::new();
        for service in programs {
            let folder = own.join(&service.name);
            make(&folder).map_err(|error| format!("service `{}`: {}: {error}", service.name, folder.display()))?;
            let room = ServiceRoom::new(service, folder, &plan.root);
            rooms.push(room.map_err(|error| format!("service `{}`: {error}", service.name))?);
        }
        let jail = Arc::new(StageJail::new(load::exe(), grant.cloned().map(Arc::new), rooms));
        setting.prepared.insert(jail.clone());
        beside.jail = Some(jail);
        Ok(beside)
    }

    /// Whether containers are what programs run in, or services.
    pub fn starts_containers(&self) -> bool {
        self.pod.is_some()
    }

    /// Whether there is anything of it that has to be taken away.
    pub fn leaves_files(&self) -> bool {
        self.jail.is_some() || self.pod.is_some()
    }

    /// Brings the services up. Err: the attempt has ended before its component could start.
    pub async fn start(
        &mut self,
        plan: &Plan,
        stage: &Stage,
        setting: &Arc<Setting>,
        folders: &AttemptFolders,
        sink: Arc<dyn EventSink>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Finished> {
        if stage.services.is_empty() {
            return Ok(());
        }
        copy_mounted(plan, stage, self.checkout.clone()).await?;
        let launcher = self.launchers(setting);
        let log = |name: &str| {
            let path = folders.log.with_extension(format!("service-{name}.log"));
            let shown = attempt::shown(&path);
            (path, shown)
        };
        let attempt = service::Attempt {
            stage: stage.id.clone(),
            attempt: setting.attempt,
            all: &plan.services,
            wanted: &stage.services,
            launcher: &launcher,
            log: &log,
            log_limit: stage.limits.log,
            mask: setting.secrets.mask().clone(),
            sink,
        };
        tokio::select! {
            biased;
            () = stopped(stop, Stop::Soft) => Err(Finished::stopped()),
            started = service::start(&attempt) => match started {
                Ok(services) => {
                    self.services = Some(services);
                    Ok(())
                }
                Err(error) => Err(Finished::failed(FailureKind::Errored, error.to_string())),
            },
        }
    }

    /// Ends everything. `keep`: the services' logs stay. What is left of containers in which nothing runs any more may still be on its way out.
    pub async fn end(self, keep: bool, stop: &mut watch::Receiver<Stop>) -> Leaving {
        if let Some(services) = self.services {
            tokio::select! {
                biased;
                () = services.stop(keep) => {}
                () = stopped(stop, Stop::Hard) => {}
            }
        }
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(jail) = self.jail {
            let _ = tokio::time::timeout(AT_ONCE, jail.end()).await;
        }
        let mut leaving = Leaving(self.containers);
        if leaving.0.as_ref().is_some_and(|containers| !containers.at_rest()) {
            std::mem::take(&mut leaving).gone().await;
        }
        leaving
    }

    fn launchers(&self, setting: &Arc<Setting>) -> Launchers {
        let jail = self.jail.as_ref().map(|jail| JailLauncher { jail: jail.clone(), setting: setting.clone() });
        let log = setting.log.clone();
        let images = self.pod.as_ref().map(|pod| ImageLauncher {
            pod: pod.clone(),
            checkout: self.checkout.clone(),
            note: Box::new(move |text: &str| log.note(text)),
        });
        Launchers { jail, images, setting: setting.clone(), bridges: self.bridges.clone() }
    }
}

/// What containers leave behind when they have ended.
#[derive(Default)]
pub struct Leaving(Option<Arc<StageContainers>>);

impl Leaving {
    /// Waits until the engine has taken it away.
    pub async fn gone(self) {
        if let Some(containers) = self.0 {
            // what an engine that is gone holds is swept when it is back
            let _ = tokio::time::timeout(REMOVED, containers.end()).await;
        }
    }
}

/// Copies what the services of a stage see of the checkout.
async fn copy_mounted(plan: &Plan, stage: &Stage, to: PathBuf) -> Result<(), Finished> {
    let paths = mounted(plan, stage);
    if paths.is_empty() {
        return Ok(());
    }
    let root = plan.root.clone();
    let copied = attempt::blocking(move || workspace::copy_parts(&root, paths.iter().map(String::as_str), &to)).await;
    match copied {
        Ok(_) => Ok(()),
        Err(error) => Err(Finished::failed(FailureKind::Errored, format!("what a service mounts can't be had: {error}"))),
    }
}

/// The paths of the checkout that a stage's services mount.
fn mounted(plan: &Plan, stage: &Stage) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for &index in &stage.services {
        let ServiceSource::Image(container) = &plan.services[index].source else { continue };
        for mount in &container.mounts {
            if let MountSource::Checkout(path) = &mount.from {
                paths.insert(path.clone());
            }
        }
    }
    paths
}

/// Each service by what can start it.
struct Launchers {
    jail: Option<JailLauncher>,
    images: Option<ImageLauncher>,
    setting: Arc<Setting>,
    bridges: Arc<Mutex<Vec<Bridge>>>,
}

impl Launcher for Launchers {
    fn launch<'a>(&'a self, order: Order<'a>) -> Launching<'a> {
        match (&order.service.source, &self.jail, &self.images) {
            (ServiceSource::Command(_), Some(jail), _) => jail.launch(order),
            (ServiceSource::Image(_), _, Some(images)) => Box::pin(self.contained(images, order)),
            _ => Box::pin(async { Err(LaunchError("the attempt was prepared for none of its kind".to_owned())) }),
        }
    }
}

impl Launchers {
    /// A container, with its name for http requests and its ports for confined programs.
    async fn contained(&self, images: &ImageLauncher, order: Order<'_>) -> Result<Box<dyn Launched>, LaunchError> {
        let serving = images.start(order.service, order.stdout, order.stderr).await?;
        let door: Arc<dyn Endpoint> = Arc::new(PodDoor(serving.pod().clone()));
        if !self.setting.endpoints.insert(&order.service.name, door.clone()) {
            return Err(LaunchError("there is a process of its name already".to_owned()));
        }
        if let Some(JailLauncher { jail, .. }) = &self.jail {
            let opened = bridge(jail, &self.setting, serving.ports(), door).await.map_err(|error| LaunchError(error.to_string()))?;
            self.bridges.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        }
        Ok(Box::new(serving))
    }
}

/// Ports of a stage's containers.
struct PodDoor(Arc<Pod>);

impl Endpoint for PodDoor {
    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move { Ok(Box::new(self.0.connect(port).await?) as Box<dyn Stream>) })
    }
}

/// Resolves once the attempt is asked to stop this hard.
async fn stopped(stop: &mut watch::Receiver<Stop>, hard: Stop) {
    let reached = |stop: &Stop| *stop == Stop::Hard || *stop == hard;
    if stop.wait_for(reached).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn make(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
