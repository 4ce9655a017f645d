//! The jail of one attempt: what is in it, and when it stands.
//!
//! Made when the first program needs it. Where the stage has services it is made before the component starts, and outlives the component's
//! room: services end last.

use std::path::PathBuf;
use std::sync::Arc;

use capability::Setting;
use tokio::sync::OnceCell;

use crate::grant::CommandsGrant;
use crate::jail::{Bind, Jail, JailSpec};
use crate::launcher::ServiceRoom;
use crate::policy::StartError;
use crate::seen::{Seen, StandIns, inside};

/// The jail of one attempt.
pub struct StageJail {
    warden: PathBuf,
    /// None: the stage starts no programs of its own.
    grant: Option<Arc<CommandsGrant>>,
    services: Vec<ServiceRoom>,
    jail: OnceCell<Arc<Jail>>,
    stand_ins: StandIns,
}

impl StageJail {
    pub fn new(warden: PathBuf, grant: Option<Arc<CommandsGrant>>, services: Vec<ServiceRoom>) -> Self {
        StageJail { warden, grant, services, jail: OnceCell::new(), stand_ins: StandIns::default() }
    }

    pub(crate) fn services(&self) -> &[ServiceRoom] {
        &self.services
    }

    /// The standing jail.
    pub(crate) async fn standing(&self, setting: &Setting) -> Result<&Arc<Jail>, StartError> {
        self.jail
            .get_or_try_init(|| async {
                let spec = self.spec(setting)?;
                Jail::start(spec).await.map(Arc::new).map_err(|error| StartError::System(error.to_string()))
            })
            .await
    }

    /// Ends everything in it at once.
    pub async fn end(&self) {
        if let Some(jail) = self.jail.get() {
            jail.kill();
            jail.gone().await;
        }
        self.stand_ins.remove();
    }

    /// What programs see: the granted parts of the workspace, the scratch folder, the toolchains, the caches.
    fn spec(&self, setting: &Setting) -> Result<JailSpec, StartError> {
        let mut spec = JailSpec::new(&self.warden);
        for (_, toolchain) in self.grant.iter().flat_map(|grant| &grant.toolchains) {
            spec.binds.extend(toolchain.binds.iter().cloned());
            spec.env.extend(toolchain.env.iter().cloned());
        }
        let own = self.grant.iter().flat_map(|grant| &grant.toolchains).flat_map(|(_, toolchain)| toolchain.path.iter().cloned());
        spec.path = own.chain(spec.path).collect();
        spec.path.dedup();
        // a secret is for the programs that policy lets have it, one by one
        spec.env.extend(setting.env.iter().filter(|(_, value)| !setting.secrets.stands_in(value.as_bytes())).cloned());
        spec.limits.processes = u64::from(setting.limits.processes);
        let Seen { binds, overlays, hidden, read_only } = Seen::of(setting, &self.stand_ins)?;
        spec.binds.extend(binds);
        (spec.overlays, spec.hidden, spec.read_only) = (overlays, hidden, read_only);
        for service in &self.services {
            spec.binds.extend(service.toolchains.iter().flat_map(|toolchain| toolchain.binds.iter().cloned()));
            spec.binds.push(Bind::directory(&service.folder, service.inside()).writable());
        }
        spec.names.extend(setting.services.iter().flat_map(|name| [name.clone(), format!("{name}.stage")]));
        Ok(spec)
    }

    /// The mount points of the workspace that the stage may write, as they are inside.
    pub(crate) fn writable_mounts(&self, setting: &Setting) -> Vec<PathBuf> {
        let Some(workspace) = &setting.workspace else { return Vec::new() };
        let there = setting.mounts.iter().filter(|mount| mount.writable && workspace.join(&mount.path).is_dir());
        there.map(|mount| inside(&mount.path)).collect()
    }
}
