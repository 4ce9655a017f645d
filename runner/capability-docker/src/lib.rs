//! Containers, images and builds of a Docker engine, as far as a stage is granted them. A stage never has the engine's socket.
//!
//! ```toml
//! [stage.image.grants.docker]
//! build = ["ghcr.io/acme/shop:*"]               # names that a build may give
//! from  = ["node:20-alpine"]                    # what its Dockerfile may use
//! push  = ["ghcr.io/acme/shop:*"]
//! run   = ["ghcr.io/acme/shop:*"]
//! network = ["api.example:443"]                 # of containers: "none" (default), "stage", "full", or hosts
//! memory = "512MiB"
//! registries = [{ host = "ghcr.io", user = "acme", password = "${secret.registry}" }]
//! ```
//!
//! What is checked: each operation against the patterns of its key; the mounts of a container against what `files` grants; its ceilings, its user,
//! its network; every source of a Dockerfile, its base images' `ONBUILD` included, before the engine is asked to build it. What no grant can allow
//! (privileged containers, the host's namespaces, devices, capabilities, sockets) can't be asked for: no effect has a field for it.
//!
//! Whatever a stage makes is gone when its attempt ends, but for images that have a name. A runner that is killed leaves it for the next one.
//!
//! Deliberately absent: `--learn`, which would have to run what it does not know.

mod backend;
mod beneath;
mod build;
mod containers;
mod dockerfile;
mod effect;
mod grant;
mod host;
mod ignore;
mod lost;
mod network;
mod places;
mod policy;
mod reference;
mod transfer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Boundary, Capability, Revive, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::{HasSelf, Linker};

use containers::Attempt;
pub use grant::DockerGrant;
use lost::Revival;

/// The representation of `runner:docker/containers.container`: its number.
pub struct Handle(u32);

/// The capability.
pub struct Docker;

impl Capability for Docker {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(grant::Schema)
    }

    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        use host::bindings::runner::docker;
        docker::types::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        docker::containers::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        docker::images::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        docker::builds::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)
    }

    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn capability::Room>, EnterError> {
        let grant = grant.and_then(|grant| grant.as_any().downcast_ref::<DockerGrant>()).cloned().map(Arc::new);
        Ok(Box::new(Room { attempt: Arc::new(Attempt::new(setting.clone(), grant)), revival: None }))
    }
}

/// What one attempt has of the engine.
struct Room {
    attempt: Arc<Attempt>,
    revival: Option<Arc<Revival>>,
}

impl Room {
    /// Has containers taken up again where the record ends.
    fn revive_at(&mut self, boundary: &Boundary) {
        if self.revival.is_none() {
            let revival = Arc::new(Revival { attempt: self.attempt.clone(), boundary: boundary.clone() });
            let revive: Arc<dyn Revive> = revival.clone();
            boundary.on_live(Arc::downgrade(&revive));
            self.revival = Some(revival);
        }
    }
}

impl capability::Room for Room {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.attempt.end().await })
    }
}
