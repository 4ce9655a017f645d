//! The services of an attempt: up before its component starts, down after it has ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capability::Setting;
use capability_commands::{JailLauncher, Place, ServiceRoom, StageJail};
use event::{EventSink, FailureKind};
use host::{Finished, Stop};
use pipeline::plan::{Bound, Plan, Stage};
use service::Services;
use tokio::sync::watch;
use workspace::AttemptFolders;

use crate::{around, attempt, load};

/// At a hard stop services are not asked, and this is how long the kernel may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The services of an attempt, and the jail that they share with its programs.
#[derive(Default)]
pub struct Beside {
    jail: Option<Arc<StageJail>>,
    services: Option<Services>,
}

impl Beside {
    /// Makes the jail, if there are services, and the folder of each. `prepared` of the setting has it then.
    ///
    /// # Errors
    /// In words for people.
    pub fn prepare(plan: &Plan, stage: &Stage, bound: &Bound, setting: &Setting, folders: &AttemptFolders) -> Result<Beside, String> {
        if stage.services.is_empty() {
            return Ok(Beside::default());
        }
        let grant = around::commands(&bound.grants);
        if grant.is_some_and(|grant| grant.place == Place::Host) {
            setting.log.note("programs on the host can't reach the stage's services; its http requests can");
        }
        let own = folders.work.join("services");
        // of an attempt that was cut off: a service begins anew
        workspace::remove_tree(&own).map_err(|error| error.to_string())?;
        let mut rooms = Vec::new();
        for index in &stage.services {
            let service = &plan.services[*index];
            let folder = own.join(&service.name);
            make(&folder).map_err(|error| format!("service `{}`: {}: {error}", service.name, folder.display()))?;
            let room = ServiceRoom::new(service, folder, &plan.root);
            rooms.push(room.map_err(|error| format!("service `{}`: {error}", service.name))?);
        }
        let jail = Arc::new(StageJail::new(load::exe(), grant.cloned().map(Arc::new), rooms));
        setting.prepared.insert(jail.clone());
        Ok(Beside { jail: Some(jail), services: None })
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
        let Some(jail) = &self.jail else { return Ok(()) };
        let launcher = JailLauncher { jail: jail.clone(), setting: setting.clone() };
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

    /// Ends everything. `keep`: the services' logs stay.
    pub async fn end(self, keep: bool, stop: &mut watch::Receiver<Stop>) {
        if let Some(services) = self.services {
            tokio::select! {
                biased;
                () = services.stop(keep) => {}
                () = stopped(stop, Stop::Hard) => {}
            }
        }
        if let Some(jail) = self.jail {
            let _ = tokio::time::timeout(AT_ONCE, jail.end()).await;
        }
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
