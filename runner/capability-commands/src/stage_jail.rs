//! The jail of one attempt: what is in it, and when it stands.
//!
//! Made when the first program needs it. Where the stage has services it is made before the component starts, and outlives the component's
//! room: services end last.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use capability::Setting;
use capability::state::{SCRATCH, WORKSPACE};
use tokio::sync::OnceCell;

use crate::grant::CommandsGrant;
use crate::jail::{Bind, HOME, Jail, JailSpec, Overlay};
use crate::launcher::ServiceRoom;
use crate::policy::StartError;

/// The jail of one attempt.
pub struct StageJail {
    warden: PathBuf,
    /// None: the stage starts no programs of its own.
    grant: Option<Arc<CommandsGrant>>,
    services: Vec<ServiceRoom>,
    jail: OnceCell<Arc<Jail>>,
    /// Empty folders that stand where a repository could be made up.
    stand_ins: Mutex<Vec<PathBuf>>,
}

impl StageJail {
    pub fn new(warden: PathBuf, grant: Option<Arc<CommandsGrant>>, services: Vec<ServiceRoom>) -> Self {
        StageJail { warden, grant, services, jail: OnceCell::new(), stand_ins: Mutex::default() }
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
        self.remove_stand_ins();
    }

    /// What programs see: the granted parts of the workspace, the scratch folder, the toolchains, the caches.
    fn spec(&self, setting: &Setting) -> Result<JailSpec, StartError> {
        let system = |what: &str, error: io::Error| StartError::System(format!("{what}: {error}"));
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
        let scratch = setting.scratch.path().map_err(|e| system("the scratch folder", e))?;
        spec.binds.push(Bind::directory(scratch, SCRATCH).writable());
        for service in &self.services {
            spec.binds.extend(service.toolchains.iter().flat_map(|toolchain| toolchain.binds.iter().cloned()));
            spec.binds.push(Bind::directory(&service.folder, service.inside()).writable());
            spec.names.extend([service.name.clone(), format!("{}.stage", service.name)]);
        }
        for cache in &setting.caches {
            let inside = Path::new(HOME).join(&cache.inside);
            match &cache.over {
                None => spec.binds.push(Bind::directory(&cache.folder, inside).writable()),
                Some((lower, work)) => {
                    spec.overlays.push(Overlay { lower: lower.clone(), upper: cache.folder.clone(), work: work.clone(), inside });
                }
            }
        }
        if let Some(workspace) = &setting.workspace {
            let workspace = workspace.canonicalize().map_err(|e| system("the workspace", e))?;
            for mount in &setting.mounts {
                if let Some(bind) = workspace_bind(&workspace, &mount.path, mount.writable)? {
                    spec.binds.push(bind);
                }
            }
            setting.protected.iter().for_each(|path| self.stand_in(setting, &workspace, path));
            let visible = |path: &String| workspace.join(path).symlink_metadata().is_ok() && within_mounts(setting, path);
            let inside = |path: &String| Path::new(WORKSPACE).join(path);
            spec.hidden = setting.hidden.iter().filter(|p| visible(p)).map(inside).collect();
            spec.read_only = setting.protected.iter().filter(|p| visible(p)).map(inside).collect();
        }
        Ok(spec)
    }

    /// The mount points of the workspace that the stage may write, as they are inside.
    pub(crate) fn writable_mounts(&self, setting: &Setting) -> Vec<PathBuf> {
        let Some(workspace) = &setting.workspace else { return Vec::new() };
        let there = setting.mounts.iter().filter(|mount| mount.writable && workspace.join(&mount.path).is_dir());
        there.map(|mount| inside(&mount.path)).collect()
    }

    /// What a bind covers has to be there. A folder that could be written and has no `.git` yet gets an empty one, shown read-only like any
    /// other: the next `git` in that folder would run the hooks of a repository that a stage made up. To `git` an empty `.git` is none.
    fn stand_in(&self, setting: &Setting, workspace: &Path, path: &str) {
        let place = workspace.join(path);
        let writable = setting.mounts.iter().any(|mount| mount.writable) && within_mounts(setting, path);
        if writable && place.file_name().is_some_and(|name| name == ".git") && std::fs::create_dir(&place).is_ok() {
            self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        }
    }

    fn remove_stand_ins(&self) {
        for place in self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // nobody could write into it; what is not empty is not ours
            let _ = std::fs::remove_dir(place);
        }
    }
}

impl Drop for StageJail {
    fn drop(&mut self) {
        self.remove_stand_ins();
    }
}

fn inside(path: &str) -> PathBuf {
    if path == "." { PathBuf::from(WORKSPACE) } else { Path::new(WORKSPACE).join(path) }
}

/// Where a granted part of the workspace is shown. Nothing if it does not exist; an error if it leads out.
fn workspace_bind(workspace: &Path, path: &str, writable: bool) -> Result<Option<Bind>, StartError> {
    let host = workspace.join(path);
    let Ok(real) = host.canonicalize() else { return Ok(None) };
    let inside = inside(path);
    let expected = if path == "." { workspace.to_owned() } else { workspace.join(path) };
    if real != expected {
        let message = format!("the granted path `{path}` is a symbolic link, or below one; grant `{}` instead", real.display());
        return Err(StartError::Invalid(message));
    }
    let bind = if real.is_dir() { Bind::directory(real, inside) } else { Bind::file(real, inside) };
    Ok(Some(if writable { bind.writable() } else { bind }))
}

/// Whether a path of the workspace is inside a granted part, so that there is something to hide or protect.
fn within_mounts(setting: &Setting, path: &str) -> bool {
    setting.mounts.iter().any(|mount| mount.path == "." || path == mount.path || path.starts_with(&format!("{}/", mount.path)))
}
